package dedupe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrNotInDoubt refuses an operator's verdict on an order that is not in doubt.
var ErrNotInDoubt = errors.New("not in doubt")

// Known is what Redis and the journal know of an order; nil: nothing, or there
// is an error.
type Known struct {
	Cache      *Entry
	Journal    *Record
	JournalRev uint64
	CacheErr   error
	JournalErr error
}

// Look reads both stores at once and changes nothing. Where one cannot be read
// the other's half comes with the error.
func (s *Store) Look(ctx context.Context, outTradeNo string) (Known, error) {
	var k Known
	var both sync.WaitGroup
	both.Go(func() {
		e, ok, err := s.cache.Look(ctx, outTradeNo)
		if k.CacheErr = err; err == nil && ok {
			k.Cache = &e
		}
	})
	both.Go(func() {
		r, rev, err := s.journal.Read(ctx, outTradeNo)
		k.JournalRev = rev
		if k.JournalErr = err; err == nil && r.State != "" {
			k.Journal = &r
		}
	})
	both.Wait()
	if err := errors.Join(k.CacheErr, k.JournalErr); err != nil {
		return k, fmt.Errorf("look at %s: %w", outTradeNo, err)
	}
	return k, nil
}

// operatorPrefix begins the owner of a record that an operator's verdict wrote.
const operatorPrefix = "operator-"

// Ruling is an operator's verdict on an order in doubt.
type Ruling struct {
	Seen   uint64        // Known.JournalRev of the state that the operator ruled on
	Result []byte        // the final result (JSON): it was bought; nil: it was not
	Call   time.Duration // how long after its SendBy a request may still be under way, where its record does not say
}

// Settle writes r into the journal, where the next claim finds it.
// ErrNotInDoubt: see Known.Open. ErrLost: somebody wrote since the operator
// looked, or right now. Any other error means that it may have been written.
func (s *Store) Settle(ctx context.Context, outTradeNo string, r Ruling) error {
	k, err := s.Look(ctx, outTradeNo)
	if err != nil {
		return err
	}
	was, err := k.Open(time.Now(), r.Call, r.Result != nil)
	if err != nil {
		return fmt.Errorf("settle %s: %w", outTradeNo, err)
	}
	if k.JournalRev != r.Seen {
		return fmt.Errorf("settle %s: %w", outTradeNo, ErrLost)
	}
	settled := Record{
		State:       StateReady,
		Fingerprint: was.Fingerprint,
		Account:     was.Account, // whose attempt it was
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

// Verdict is what a claim will find once nobody holds the order and it is due, as
// far as the cache and the journal tell. A store that could not be asked counts as
// one that has nothing.
func (k Known) Verdict(now time.Time) Verdict {
	no := false
	e := evidence{now: now, redelivered: true, cacheLost: &no, journal: &Record{}, journalLost: &no, event: &FinalEvent{}}
	if k.Cache != nil {
		e.cache, e.order.Fingerprint = *k.Cache, k.Cache.Fingerprint
		e.cache.Left = 0
	}
	if j := k.Journal; j != nil {
		e.journal, e.order.Fingerprint = j, j.Fingerprint
		if e.cache.Fingerprint != "" && e.cache.Fingerprint != j.Fingerprint {
			e.cache = Entry{} // of another request with the number
		}
		e.cache.Fingerprint = j.Fingerprint
	}
	if k.JournalErr != nil { // else it would be a revision that the journal has lost
		e.cache.Rev = 0
	}
	return e.judge().verdict
}

// Open returns the open attempt that an operator may rule on: one whose request
// is certainly over: by what its record says, else call after its SendBy. Bought is what the operator is
// about to say. The error wraps ErrNotInDoubt and says why there is none.
func (k Known) Open(now time.Time, call time.Duration, bought bool) (Record, error) {
	no := func(format string, args ...any) (Record, error) {
		return Record{}, fmt.Errorf("%w: "+format, append([]any{ErrNotInDoubt}, args...)...)
	}
	e, inCache := k.Cache, k.Cache != nil && k.Cache.State == StateInDoubt && k.Cache.Doubt != nil
	var r Record
	switch v := k.Verdict(now); {
	case k.Journal == nil && e == nil:
		return no("nothing is known of it")
	case v == Final, v == Done:
		return no("it has its final result")
	case v == Ready && k.Journal != nil, v == Waiting:
		return no("it waits for its next attempt, every earlier one is known not to have bought")
	case v == Fresh:
		return no("it was never sent")
	case v != InDoubt:
		return no("no attempt of it is known to be open")
	case k.Journal != nil:
		r = *k.Journal
	case inCache: // the journal was lost, the doubt was not
		r = Record{Fingerprint: e.Fingerprint, Account: e.Account, Seq: e.Seq, Expires: e.Expires, Progress: e.Progress,
			SendBy: e.Doubt.SendBy, Over: e.Doubt.Over, Since: e.Doubt.Since}
	default:
		return no("no attempt of it is known to be open")
	}
	if e != nil && e.Fingerprint == r.Fingerprint {
		r.Refusals = max(r.Refusals, e.Refusals) // a refusal while in doubt is noted in Redis alone
	}
	over := r.Over
	if over.IsZero() {
		over = r.SendBy.Add(call)
	}
	switch {
	case now.Before(r.SendBy):
		return no("its request may leave until %s, and last until %s", clock(r.SendBy), clock(over))
	case now.Before(over):
		return no("its request may be under way until %s", clock(over))
	case e != nil && e.Owner != "" && e.Left > 0 && !inCache:
		return no("a worker has it, for %v more if it died", e.Left)
	case !bought && (r.Bought || inCache && e.Doubt.Bought):
		return no("the vendor has said that it was bought, so it cannot be settled as not bought")
	}
	return r, nil
}

// clock is a time as an operator reads it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
