package dedupe

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// Config holds a Store's times.
type Config struct {
	Lease    time.Duration // how long a claim lasts unless renewed, by Redis's clock; too short: an order at work is taken for dead, and settled in doubt
	FinalTTL time.Duration // DEDUPE_TTL: how long a finished order is remembered; 0: for ever

	JournalTTL time.Duration // JOURNAL_TTL: how long a final stays in the journal; 0: as long as FinalTTL
}

// Store reads and writes what is known of orders: the journal, the results and
// the cache. It is safe for concurrent use; a Claim is not (see there).
type Store struct {
	cache   Cache
	journal Journal
	results Results // nil: nothing is known there
	cfg     Config
	process string // random, so that two processes never make the same owner
	claims  atomic.Uint64
	used    atomic.Bool // the journal or the results: never changes back
}

// New returns a Store over records, journal and results, which may be nil.
func New(records Cache, journal Journal, results Results, cfg Config) *Store {
	var id [8]byte
	rand.Read(id[:]) // never fails: crypto/rand
	return &Store{cache: records, journal: journal, results: results, cfg: cfg, process: hex.EncodeToString(id[:])}
}

// NewOwner names one claim of one delivery; never use it for another. What an
// owner finds of its own in the journal it takes for a write of its claim whose
// reply got lost: under an owner used twice, an intent that was sent is sent again.
func (s *Store) NewOwner() string {
	return s.process + "-" + strconv.FormatUint(s.claims.Add(1), 10)
}

// Renew makes the claim's lease start anew. It may run beside another method
// of the same claim, and is meant to be called every third of the lease.
// ErrLost: another owner has the order, or nobody (parked, released, final).
// A missing record is recreated.
func (s *Store) Renew(ctx context.Context, c *Claim) error {
	if !c.held { // not by Verdict, which others may be writing
		return misuse("renew", c, "was never ours")
	}
	asked := time.Now()
	err := s.cache.Renew(ctx, c.owned(), c.Owner, c.revision(), s.cfg.Lease)
	if err == nil {
		c.leased(asked, s.cfg.Lease)
	}
	return wrap("renew", c, err)
}

// Intent journals the intent to send the next attempt, which c.Doubt describes
// from then on. No byte of the request leaves after sendBy, and the request has
// ended by over, one way or the other: other processes wait until that time, and
// do not reckon it from their own settings.
//
// Bytes may leave only after Intent has returned nil. A claim is granted one
// intent: whatever the vendor answers, call Wait, Doubt or Finish next. An error
// other than ErrLost means that the intent may have been written: call Intent
// again, or Release.
//
// Intent returns ErrLost also where the lease is over: claim again. The lease is
// checked before the write and after it, since a machine may stand still in
// between.
//
// Intent does not change c.Verdict: a claim in doubt stays in doubt, since this
// attempt says nothing about the earlier one.
func (s *Store) Intent(ctx context.Context, c *Claim, sendBy, over time.Time) error {
	switch {
	case !c.Verdict.open():
		return misuse("intent", c, "is not open")
	case c.Doubt.Bought:
		return misuse("intent", c, "was already bought")
	case c.Doubt.Exists:
		return misuse("intent", c, "exists at the vendor")
	case c.sent:
		return misuse("intent", c, "has its intent")
	case c.overdue():
		return wrap("intent", c, errOverdue)
	}
	r := c.record(StateIntent)
	r.Attempt++
	r.SendBy, r.Over = ceilMillis(sendBy), ceilMillis(over)
	if !c.tried { // tried again, it is the same record: one that was stored is not written once more
		c.since = floorMillis(time.Now())
	}
	r.Since = c.since
	r.Open = c.Verdict == InDoubt
	if r.Open && !c.Doubt.Since.IsZero() {
		r.Since = c.Doubt.Since
	}
	if r.Open && c.Doubt.Over.After(r.Over) {
		r.Over = c.Doubt.Over
	}
	c.tried = true
	if err := s.put(ctx, c, r); err != nil {
		return wrap("intent", c, err)
	}
	if c.overdue() { // what was written is an intent of nobody: a doubt
		return wrap("intent", c, errOverdue)
	}
	c.sent = true
	c.Attempt = r.Attempt
	c.Doubt = Doubt{Attempt: r.Attempt, SendBy: r.SendBy, Over: r.Over, Since: r.Since, Noticed: c.Doubt.Noticed}
	return nil
}

// Wait gives the order back until delay from now, after an attempt that is
// known not to have bought (refused, throttled, unreachable, not sent) or none
// at all. attempts is the new number of refusals. An order in doubt cannot
// Wait: the refusal says nothing about the earlier attempt, use Doubt.
func (s *Store) Wait(ctx context.Context, c *Claim, attempts int, delay time.Duration) error {
	if c.Verdict != Fresh && c.Verdict != Ready {
		return misuse("wait", c, "is not known to be unbought")
	}
	r := c.record(StateReady)
	r.Refusals, r.Waits = attempts, c.Waits+1
	r.Due = floorMillis(time.Now().Add(delay))
	if err := s.put(ctx, c, r); err != nil {
		return wrap("wait", c, err)
	}
	e := c.entry(StateReady)
	e.Refusals, e.Waits = r.Refusals, r.Waits
	return wrap("wait", c, s.cache.Park(ctx, c.owned(), c.Owner, e, delay))
}

// Disprove turns InDoubt into Ready: the lookup proved that no attempt went
// through. The claim stays ours.
func (s *Store) Disprove(ctx context.Context, c *Claim) error {
	switch {
	case c.Verdict != InDoubt:
		return misuse("disprove", c, "is not in doubt")
	case c.Doubt.Bought:
		return misuse("disprove", c, "was bought")
	case c.Doubt.Exists:
		return misuse("disprove", c, "exists at the vendor")
	case c.sent:
		return misuse("disprove", c, "has sent since")
	}
	if err := s.put(ctx, c, c.record(StateReady)); err != nil {
		return wrap("disprove", c, err)
	}
	c.Verdict, c.Doubt = Ready, Doubt{}
	return nil
}

// Doubt gives the order back, in doubt, until next from now. d is what is
// known by then, c.Doubt with what was learned; c.Attempts and c.Waits ride
// along. The journal is written only where d.Bought or d.Exists is new, which
// then is a fact like a success, whoever holds the order (ErrLost all the same
// where that is not us).
func (s *Store) Doubt(ctx context.Context, c *Claim, d Doubt, next time.Duration) error {
	if !c.Verdict.open() {
		return misuse("doubt", c, "is not open")
	}
	d.Attempt = cmp.Or(d.Attempt, c.Attempt)
	if d.SendBy.IsZero() {
		d.SendBy, d.Over = c.Doubt.SendBy, c.Doubt.Over
	}
	d.Since = cmp.Or(d.Since, c.Doubt.Since)
	if d.Bought && !c.bought || d.Exists && !c.exists {
		if err := s.writeFact(ctx, c, d); err != nil {
			return wrap("doubt", c, err)
		}
	}
	c.Verdict, c.Doubt = InDoubt, d
	return wrap("doubt", c, s.cache.Park(ctx, c.owned(), c.Owner, c.entry(StateInDoubt), next))
}

// Finish writes the result down and returns the one that now stands in the
// journal; publish that one. result is JSON and comes back compact.
//
// A success is a fact: it is written whoever holds the order, until a final
// stands there. A failure is a conclusion, and only as good as what we know:
// ErrLost where anybody else has written, or the lease is over. A final that stands there already
// never changes; it is what Finish returns, with c.ResultSeq set to its request's.
func (s *Store) Finish(ctx context.Context, c *Claim, result []byte, succeeded bool) ([]byte, error) {
	switch {
	case c.Verdict == Final:
		return c.Result, nil
	case !c.Verdict.open():
		return nil, misuse("finish", c, "is not ours")
	case !succeeded && c.Verdict == InDoubt:
		return nil, misuse("finish", c, "may have been bought")
	case !succeeded && c.overdue():
		return nil, wrap("finish", c, errOverdue)
	}
	result, err := compact(result)
	if err != nil {
		return nil, wrap("finish", c, err)
	}
	r := c.record(StateFinal)
	r.Result = result
	write := s.put
	if succeeded {
		write = s.force
	}
	err = write(ctx, c, r)
	if err == nil {
		c.finish(r, c.revision())
		return c.Result, nil
	}
	if stands, ok := errors.AsType[*finalError](err); ok && (succeeded || stands.record.Owner == c.Owner) {
		c.finish(stands.record, stands.rev)
		return c.Result, nil
	}
	return nil, wrap("finish", c, err)
}

// Remember notes that result was published, for Config.FinalTTL. That is a
// fact too: it does not matter who holds the order. A final that Redis has
// already never changes.
func (s *Store) Remember(ctx context.Context, c *Claim, result []byte) error {
	o := c.owned()
	if c.ResultSeq != 0 {
		o.Seq = c.ResultSeq
	}
	return wrap("remember", c, s.cache.Remember(ctx, o, result, s.cfg.FinalTTL))
}

// Release gives the order back at once. Nothing must have been sent under this
// claim; its intent, if there is one, is taken back. A claim that holds nothing
// has nothing to give back.
func (s *Store) Release(ctx context.Context, c *Claim) error {
	if !c.Verdict.Ours() {
		return nil
	}
	state := StateClaimed // Final: the next claim asks the journal
	switch c.Verdict {
	case InDoubt:
		state = StateInDoubt
	case Ready:
		state = StateReady
	case Fresh:
		unsent, err := s.neverSent(ctx, c)
		if err != nil {
			return wrap("release", c, err)
		}
		if unsent {
			state = StateReady // for as long as Redis remembers, whatever the journal forgets
		}
	}
	if c.tried && (c.Verdict == Fresh || c.Verdict == Ready) {
		if err := s.put(ctx, c, c.record(StateReady)); err != nil {
			return wrap("release", c, err)
		}
		state = StateReady
	}
	return wrap("release", c, s.cache.Park(ctx, c.owned(), c.Owner, c.entry(state), 0))
}

// wrap names the act and the order; nil stays nil.
func wrap(act string, c *Claim, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", act, c.OutTradeNo, err)
}

// misuse is a fault of the caller. Going on would risk a second purchase.
func misuse(act string, c *Claim, why string) error {
	return fmt.Errorf("%s %s: %w: the claim (%s) %s", act, c.OutTradeNo, ErrBroken, c.Verdict, why)
}
