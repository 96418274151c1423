package dedupe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNotInDoubt is returned to an operator who settles an order that is not in doubt.
var ErrNotInDoubt = errors.New("not in doubt")

// Known is what the stores know of an order.
type Known struct {
	Cache      *Entry      // nil: there is none, or CacheErr
	Journal    *Record     // nil: there is none, or JournalErr
	Event      *FinalEvent // nil: there is none, or EventErr
	JournalRev uint64
	CacheErr   error
	JournalErr error
	EventErr   error

	// How far back the journal remembers, and how old the order is: what nothing is known
	// of may have been forgotten.
	JournalTTL     time.Duration // how long the journal keeps a final; 0: for ever
	JournalCreated time.Time     // of a journal that has no record of the order; zero: it does not matter, or CreatedErr
	CreatedErr     error
	Stored         time.Time // when the order request was stored; zero: not known. Look leaves that to its caller
}

// Look reads the cache, the journal and the results, and changes nothing. If one of them
// fails, what the others know is returned with the error.
func (s *Store) Look(ctx context.Context, outTradeNo string) (Known, error) {
	k := Known{JournalTTL: s.journalTTL()}
	var all sync.WaitGroup
	all.Go(func() {
		e, ok, err := s.cache.Look(ctx, outTradeNo)
		if k.CacheErr = err; err == nil && ok {
			k.Cache = &e
		}
	})
	all.Go(func() {
		r, rev, err := s.journal.Read(ctx, outTradeNo)
		k.JournalRev = rev
		if k.JournalErr = err; err == nil && r.State != "" {
			k.Journal = &r
		}
		if k.JournalErr == nil && k.Journal == nil { // after the read: a journal that was made anew meanwhile shows
			k.JournalCreated, k.CreatedErr = s.journal.Created(ctx)
		}
	})
	all.Go(func() {
		if s.results == nil {
			return
		}
		f, ok, err := s.results.Final(ctx, outTradeNo)
		if k.EventErr = err; err == nil && ok {
			k.Event = &f
		}
	})
	all.Wait()
	if err := k.unread(); err != nil {
		return k, fmt.Errorf("look at %s: %w", outTradeNo, err)
	}
	return k, nil
}

// operatorPrefix begins the owner of a record that an operator's ruling wrote.
const operatorPrefix = "operator-"

// Ruling is an operator's decision about an order in doubt.
type Ruling struct {
	Seen    uint64        // Known.JournalRev that the operator decided on
	Result  []byte        // the final result as JSON, if it was bought; nil: it was not bought
	Timeout time.Duration // how long after its SendBy a request may last, if its record does not say
}

// Settle writes the ruling r into the journal, where the next claim finds it. It
// returns ErrNotInDoubt as Known.Settleable does, and ErrLost if the journal has
// changed since the operator looked. After any other error the ruling may have been
// written.
func (s *Store) Settle(ctx context.Context, outTradeNo string, r Ruling) error {
	k, err := s.Look(ctx, outTradeNo)
	if err != nil {
		return err
	}
	was, err := k.Settleable(time.Now(), r.Timeout, r.Result != nil)
	if err != nil {
		return fmt.Errorf("settle %s: %w", outTradeNo, err)
	}
	if k.JournalRev != r.Seen {
		return fmt.Errorf("settle %s: %w", outTradeNo, ErrLost)
	}
	settled := Record{
		State:       StateReady,
		Fingerprint: was.Fingerprint,
		Account:     was.Account, // of the attempt
		Owner:       operatorPrefix + s.NewOwner(),
		Seq:         was.Seq,
		Expires:     was.Expires,
		Progress:    was.Progress,
	}
	if r.Result != nil {
		settled.State = StateFinal
		if settled.Result, err = compact(r.Result); err != nil {
			return fmt.Errorf("settle %s: %w", outTradeNo, err)
		}
	}
	if _, err := s.journal.Write(ctx, outTradeNo, settled, k.JournalRev); err != nil {
		return fmt.Errorf("settle %s: %w", outTradeNo, err)
	}
	return nil
}

// unread is why not everything was read; nil: it was.
func (k Known) unread() error {
	return errors.Join(k.CacheErr, k.JournalErr, k.EventErr, k.CreatedErr)
}

// Verdict returns what a claim will find once the order has no owner and is due. It is what
// an operator is told, who decides about money on it, so it is more careful than a claim,
// whose intent would not be written over what the claim did not see:
//   - A store that could not be read may say that the order was sent: Unknown.
//   - The cache is not believed that nothing was sent, where the journal cannot be asked, or
//     has lost the revision that the cache names.
//   - An order request that is older than the journal may have been sent, although neither
//     knows of it: InDoubt.
func (k Known) Verdict(now time.Time) Verdict {
	if k.Event != nil && (k.Journal == nil || k.Journal.State != StateFinal) {
		return Done
	}
	e := k.evidence(now)
	var j judgement
	if k.Journal != nil && e.cache.State != StateFinal { // a claim trusts the cache, because its intent would find the record
		j = e.judgeByJournal()
	} else {
		j = e.judge()
	}
	intent := k.Journal != nil && k.Journal.State == StateIntent
	switch {
	case j.needs != noSource && (intent || k.doubtInCache()):
		return InDoubt
	case j.needs != noSource:
		return Unknown
	case j.verdict == Fresh && k.journalLost():
		return InDoubt
	case j.verdict == Fresh && k.unread() != nil:
		return Unknown
	}
	return j.verdict
}

// evidence returns what judge decides by. What could not be read is missing in it.
func (k Known) evidence(now time.Time) evidence {
	untrusted := k.JournalErr != nil || k.EventErr != nil || k.Journal == nil && k.Cache != nil && k.Cache.Rev != 0
	e := evidence{now: now, redelivered: true, cacheLost: &untrusted, journalTTL: k.JournalTTL}
	e.order.Stored = k.Stored
	if k.Cache != nil {
		e.cache, e.order.Fingerprint = *k.Cache, k.Cache.Fingerprint
		e.cache.Left = 0
	}
	if k.JournalErr == nil {
		e.journal = &Record{}
	}
	if k.EventErr == nil {
		e.event = &FinalEvent{}
	}
	if k.CreatedErr == nil {
		lost := k.journalLost()
		e.journalLost = &lost
	}
	if j := k.Journal; j != nil {
		e.journal, e.order.Fingerprint = j, j.Fingerprint
		if e.cache.Fingerprint != "" && e.cache.Fingerprint != j.Fingerprint {
			e.cache = Entry{} // it is another order request's
		}
		e.cache.Fingerprint = j.Fingerprint
	}
	return e
}

// journalLost reports whether the journal is younger than the order request.
func (k Known) journalLost() bool { return younger(k.JournalCreated, k.Stored) }

// Settleable returns the record of the open attempt, if an operator may settle it: its
// request must be over, by its record or else timeout after its SendBy. bought is what
// the operator is going to say. The error wraps ErrNotInDoubt and says why not.
func (k Known) Settleable(now time.Time, timeout time.Duration, bought bool) (Record, error) {
	r, err := k.openAttempt(now)
	if err != nil {
		return Record{}, err
	}
	e, inCache := k.Cache, k.doubtInCache()
	if e != nil && e.Fingerprint == r.Fingerprint {
		r.Refusals = max(r.Refusals, e.Refusals) // only the cache notes a refusal while in doubt
	}
	over := r.Over
	if over.IsZero() {
		over = r.SendBy.Add(timeout)
	}
	switch {
	case now.Before(r.SendBy):
		return Record{}, notInDoubt("its request may leave until %s, and last until %s", formatTime(r.SendBy), formatTime(over))
	case now.Before(over):
		return Record{}, notInDoubt("its request may be under way until %s", formatTime(over))
	case e != nil && e.Owner != "" && e.Left > 0 && !inCache:
		return Record{}, notInDoubt("a worker has it, for %v more if it died", e.Left)
	case !bought && (r.Bought || inCache && e.Doubt.Bought):
		return Record{}, notInDoubt("the vendor has said that it was bought, so it cannot be settled as not bought")
	}
	return r, nil
}

// openAttempt returns the record of the open attempt. If the journal was lost, the
// record is made from the doubt in the cache.
func (k Known) openAttempt(now time.Time) (Record, error) {
	switch v := k.Verdict(now); {
	case k.Journal == nil && k.Cache == nil && k.Event == nil:
		return Record{}, notInDoubt("nothing is known of it")
	case v == Final, v == Done:
		return Record{}, notInDoubt("it has its final result")
	case v == Ready && k.Journal != nil, v == Waiting:
		return Record{}, notInDoubt("it waits for its next attempt, every earlier one is known not to have bought")
	case v == Fresh:
		return Record{}, notInDoubt("it was never sent, as far as anybody remembers")
	case v == Unknown:
		return Record{}, notInDoubt("not everything can be read: %v", k.unread())
	case v == InDoubt && k.Journal != nil && k.Journal.State == StateIntent:
		return *k.Journal, nil
	case v == InDoubt && k.doubtInCache():
		e := k.Cache
		return Record{Fingerprint: e.Fingerprint, Account: e.Account, Seq: e.Seq, Expires: e.Expires, Progress: e.Progress,
			SendBy: e.Doubt.SendBy, Over: e.Doubt.Over, Since: e.Doubt.Since}, nil
	}
	return Record{}, notInDoubt("no attempt of it is known to be open")
}

func (k Known) doubtInCache() bool {
	return k.Cache != nil && k.Cache.State == StateInDoubt && k.Cache.Doubt != nil
}

func notInDoubt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrNotInDoubt}, args...)...)
}

// formatTime formats t for an operator.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
