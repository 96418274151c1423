package dedupe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Four kinds of records are written. A conclusion of the owner (an intent, ready, a
// failed final) only replaces what the owner knows: writeOwned. A success replaces
// anything but a final: writeSuccess. "Bought" and "exists" are merged into whatever
// is stored: writeSold. An open intent is written again so that it does not expire:
// parkIntent. All of them are a compare-and-set.

// finalError is an ErrLost whose winner is a final.
type finalError struct {
	record Record
	rev    uint64
}

func (e *finalError) Error() string { return "its result is already written" }
func (e *finalError) Unwrap() error { return ErrLost }

// unreadableError says that the journal has a record of revision rev that cannot be
// decoded.
type unreadableError struct {
	err error
	rev uint64
}

func (e *unreadableError) Error() string { return e.err.Error() }
func (e *unreadableError) Unwrap() error { return e.err }

// These wrap ErrLost, though perhaps no other owner has written: a claim on which
// nothing can be built any more is lost as well.
var (
	errTooOld       = fmt.Errorf("%w, or nobody: the request is older than the journal remembers", ErrLost)
	errLeaseExpired = fmt.Errorf("%w, or nobody: the lease is over", ErrLost)
)

// writeOwned writes r over the revision that c knows, or over a record that c itself
// has written and whose reply was lost. Over anything else it returns ErrLost, and
// gives up the lease. So it does for an intent over another intent of c: somebody has
// parked that in doubt, since c stood still.
func (s *Store) writeOwned(ctx context.Context, c *Claim, r Record) error {
	if s.tooOld(c) {
		s.giveUpLease(ctx, c, errTooOld)
		return errTooOld
	}
	if c.revision() == 0 && c.leaseExpired() {
		return errLeaseExpired
	}
	err := s.compareAndSet(ctx, c, r, func(old Record) (Record, bool) {
		return r, old.Owner == c.Owner && (r.State != StateIntent || old.State != StateIntent)
	})
	if existing, ok := errors.AsType[*finalError](err); ok && existing.record.Owner == c.Owner {
		return err // the final of this claim: Finish returns it
	}
	s.giveUpLease(ctx, c, err)
	return err
}

// writeSuccess writes r, a succeeded final, over anything but a final. It replaces an
// unreadable record too, or the purchase would never get its result.
func (s *Store) writeSuccess(ctx context.Context, c *Claim, r Record) error {
	return s.writeOverUnreadable(ctx, c, &r, func(Record) (Record, bool) { return r, true })
}

// writeOverUnreadable is compareAndSet that also replaces an unreadable record. merge
// may change *r.
func (s *Store) writeOverUnreadable(ctx context.Context, c *Claim, r *Record, merge func(old Record) (Record, bool)) error {
	for {
		err := s.compareAndSet(ctx, c, *r, merge)
		unreadable, ok := errors.AsType[*unreadableError](err)
		if !ok || ctx.Err() != nil {
			return err
		}
		rev, err := s.journal.Write(ctx, c.OutTradeNo, *r, unreadable.rev)
		if err == nil {
			c.rev.Store(rev)
			c.known = *r
		}
		if !errors.Is(err, ErrLost) { // otherwise another record was written meanwhile: read that
			return err
		}
	}
}

// writeSold journals that the order was bought without an orderNumber, or exists at
// the vendor. It is merged with an intent of another owner: the newest attempt, the
// latest SendBy and the facts of both remain.
func (s *Store) writeSold(ctx context.Context, c *Claim, d Doubt) error {
	r := c.openIntent(d)
	r.Parked = c.parkedAt
	r.Bought, r.Exists = d.Bought || c.known.Bought, d.Exists || c.known.Exists
	if s.tooOld(c) {
		s.giveUpLease(ctx, c, errTooOld)
		return errTooOld
	}
	err := s.writeOverUnreadable(ctx, c, &r, func(old Record) (Record, bool) {
		r.Attempt = max(r.Attempt, old.Attempt)
		r.Refusals = max(r.Refusals, old.Refusals)
		r.Bought, r.Exists = r.Bought || old.Bought, r.Exists || old.Exists
		over := old.Over
		if old.SendBy.After(r.SendBy) {
			r.SendBy, r.Over, over = old.SendBy, old.Over, r.Over
		}
		if !r.Over.IsZero() && over.After(r.Over) { // r.Over stays zero, which is "not known", if the later request has none
			r.Over = over
		}
		return r, true
	})
	s.giveUpLease(ctx, c, err)
	return err
}

// openIntent returns a record of the attempt of doubt d, which may have bought.
func (c *Claim) openIntent(d Doubt) Record {
	r := c.record(StateIntent)
	r.Attempt = d.Attempt
	r.SendBy, r.Over, r.Since = ceilMillis(d.SendBy), ceilMillis(d.Over), floorMillis(d.Since)
	r.EarlierOpen = c.Verdict == InDoubt
	return r
}

// expires reports whether r would expire while its order is in doubt, so that it has to be
// written again. That holds for a parked record too, since a stream may have an age limit of
// its own, which is at least the journal's TTL.
func (s *Store) expires(r Record) bool {
	ttl := s.journalTTL()
	return r.State != StateIntent || r.Parked.IsZero() || ttl > 0 && time.Since(r.Parked) > ttl/2
}

// parkIntent writes the record of the open attempt so that it does not expire before the
// doubt ends. The record keeps its owner, who may still get an answer. If the journal has no
// record, parkIntent writes one: otherwise an order that only the cache knows to be in doubt
// would look new once the cache is lost.
func (s *Store) parkIntent(ctx context.Context, c *Claim, d Doubt) error {
	if c.leaseExpired() { // the next owner does it, and must not lose a compare-and-set to this claim
		s.giveUpLease(ctx, c, errLeaseExpired)
		return errLeaseExpired
	}
	r := c.known
	if r.State == StateIntent {
		r.Refusals, r.Last = c.Refusals, c.Last
	} else {
		r = c.openIntent(d)
	}
	r.Parked = c.parkedAt
	err := s.compareAndSet(ctx, c, r, func(old Record) (Record, bool) { return r, old.Owner == c.Owner })
	s.giveUpLease(ctx, c, err)
	return err
}

// compareAndSet writes r over the revision that c knows. If the journal has another
// record, merge returns what to write over it, or false for ErrLost. Over a final it
// returns a *finalError, over a record that cannot be read an *unreadableError.
func (s *Store) compareAndSet(ctx context.Context, c *Claim, r Record, merge func(old Record) (Record, bool)) error {
	rev := c.revision()
	for {
		next, err := s.journal.Write(ctx, c.OutTradeNo, r, rev)
		if err == nil {
			c.rev.Store(next)
			c.known = r
			return nil
		}
		if !errors.Is(err, ErrLost) {
			return err
		}
		old, oldRev, err := s.journal.Read(ctx, c.OutTradeNo)
		if errors.Is(err, ErrBroken) {
			return &unreadableError{err, oldRev}
		}
		if err != nil {
			return err
		}
		if old.State == StateFinal {
			return &finalError{old, oldRev}
		}
		var ok bool
		if r, ok = merge(old); !ok {
			return ErrLost
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		rev = oldRev
	}
}

// giveUpLease parks the order after ErrLost, as one of which only the journal knows
// more. Its own error does not matter: the lease then expires, with the same meaning.
func (s *Store) giveUpLease(ctx context.Context, c *Claim, err error) {
	if errors.Is(err, ErrLost) {
		e := c.entry(StateClaimed)
		if e.Doubt == nil {
			e.Doubt = &Doubt{} // another owner wrote a record: if it is missing later, the journal was lost
		}
		_ = s.cache.Park(ctx, c.storedOrder(), c.Owner, e, 0)
	}
}

// compact returns JSON without insignificant space, as Record.Encode needs it.
func compact(result []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, result); err != nil {
		return nil, fmt.Errorf("the result is not JSON: %w", err)
	}
	return b.Bytes(), nil
}

func floorMillis(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}

func ceilMillis(t time.Time) time.Time {
	if f := floorMillis(t); f.Equal(t) {
		return f
	} else {
		return f.Add(time.Millisecond)
	}
}
