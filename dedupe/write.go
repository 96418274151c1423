package dedupe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// finalError is ErrLost, lost to a final.
type finalError struct {
	record Record
	rev    uint64
}

// errForgotten is ErrLost of a claim that nothing is known of any more.
var errForgotten = fmt.Errorf("%w, or nobody: the request is older than the journal remembers", ErrLost)

// errOverdue is ErrLost of a claim whose lease is over by our own clock.
var errOverdue = fmt.Errorf("%w, or nobody: the lease is over", ErrLost)

func (e *finalError) Error() string { return "its result is already written" }
func (e *finalError) Unwrap() error { return ErrLost }

// put writes r over what c knows: its revision, or a record that c itself has
// written and whose reply got lost. Anything else is ErrLost, and then Redis is
// told that only the journal knows of this order.
func (s *Store) put(ctx context.Context, c *Claim, r Record) error {
	if s.forgotten(c) {
		s.stepAside(ctx, c, errForgotten)
		return errForgotten
	}
	if c.revision() == 0 && c.overdue() {
		return errOverdue
	}
	err := s.swap(ctx, c, r, func(old Record) (Record, bool) { return r, old.Owner == c.Owner })
	if stands, ok := errors.AsType[*finalError](err); ok && stands.record.Owner == c.Owner {
		return err // ours; Finish takes it
	}
	s.stepAside(ctx, c, err)
	return err
}

// force writes r, which is a fact, over anything but a final: over a record that
// cannot be read, too, or what was bought would never get its result.
func (s *Store) force(ctx context.Context, c *Claim, r Record) error {
	return s.overBroken(ctx, c, &r, func(Record) (Record, bool) { return r, true })
}

// overBroken is swap of r, which over may change, over a record that cannot be read, too.
func (s *Store) overBroken(ctx context.Context, c *Claim, r *Record, over func(Record) (Record, bool)) error {
	for {
		err := s.swap(ctx, c, *r, over)
		broken, ok := errors.AsType[*unreadableError](err)
		if !ok || ctx.Err() != nil {
			return err
		}
		rev, err := s.journal.Write(ctx, c.OutTradeNo, *r, broken.rev)
		if err == nil {
			c.rev.Store(rev)
		}
		if !errors.Is(err, ErrLost) { // else look again what is written there
			return err
		}
	}
}

// unreadableError is what the journal has at rev, and nobody can read.
type unreadableError struct {
	err error
	rev uint64
}

func (e *unreadableError) Error() string { return e.err.Error() }
func (e *unreadableError) Unwrap() error { return e.err }

// writeFact writes down that the order was bought though its number is not
// known, or that it exists at the vendor. An intent of another that stands there
// is covered, not lost: the newest attempt, the latest SendBy and its facts stay.
func (s *Store) writeFact(ctx context.Context, c *Claim, d Doubt) error {
	r := c.record(StateIntent)
	r.Attempt = d.Attempt
	r.SendBy, r.Over, r.Since = ceilMillis(d.SendBy), ceilMillis(d.Over), floorMillis(d.Since)
	r.Open = c.Verdict == InDoubt
	r.Bought, r.Exists = d.Bought || c.bought, d.Exists || c.exists
	if s.forgotten(c) {
		s.stepAside(ctx, c, errForgotten)
		return errForgotten
	}
	err := s.overBroken(ctx, c, &r, func(old Record) (Record, bool) {
		r.Attempt = max(r.Attempt, old.Attempt)
		r.Refusals = max(r.Refusals, old.Refusals)
		r.Bought, r.Exists = r.Bought || old.Bought, r.Exists || old.Exists
		over := old.Over
		if old.SendBy.After(r.SendBy) {
			r.SendBy, r.Over, over = old.SendBy, old.Over, r.Over
		}
		if !r.Over.IsZero() && over.After(r.Over) { // where the later one's end is not known, neither is that of both
			r.Over = over
		}
		return r, true
	})
	if err == nil {
		c.bought, c.exists = r.Bought, r.Exists
	}
	s.stepAside(ctx, c, err)
	return err
}

// swap writes r over c's revision. Where something else stands there, over
// says what to write over it, if anything.
func (s *Store) swap(ctx context.Context, c *Claim, r Record, over func(Record) (Record, bool)) error {
	rev := c.revision()
	for {
		next, err := s.journal.Write(ctx, c.OutTradeNo, r, rev)
		if err == nil {
			c.rev.Store(next)
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
		if r, ok = over(old); !ok {
			return ErrLost
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		rev = oldRev
	}
}

// stepAside gives up the lease after ErrLost, and leaves word that only the
// journal knows about this order. If that fails the lease lapses, which says
// the same.
func (s *Store) stepAside(ctx context.Context, c *Claim, err error) {
	if errors.Is(err, ErrLost) {
		e := c.entry(StateClaimed)
		if e.Doubt == nil {
			e.Doubt = &Doubt{} // somebody has a record: if the journal has none any more, it was lost
		}
		_ = s.cache.Park(ctx, c.owned(), c.Owner, e, 0)
	}
}

// compact gives the spelling that encode keeps.
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
