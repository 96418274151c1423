package dedupe

import (
	"context"
	"time"
)

// Sent is the one request that an intent allows. Only Intent returns it, and nothing may be
// sent without it. After a refusal call Wait or Finish; if it is unclear whether the request
// bought, pass Sent.Doubt to Store.Doubt; after a success ask EventSuffices whether Finish
// is needed.
type Sent struct {
	SendBy time.Time // no byte of the request leaves after this
	Doubt  Doubt     // of the request, for as long as it is not known how it ended

	claim *Claim
	store *Store
}

// Intent journals that the next attempt may be sent. The request has ended by over; the
// journal keeps that time, so that other processes need not know this one's settings.
//
// A claim gets one intent. ErrLost means that another owner has written, or that the lease
// is over: claim again. The lease is checked before and after the write, since a machine
// may be suspended in between. After any other error the intent may have been written: call
// Intent again, or Release.
//
// Intent leaves c.Verdict and c.Doubt as they are: the new attempt says nothing about an
// earlier one that is open.
func (s *Store) Intent(ctx context.Context, c *Claim, sendBy, over time.Time) (*Sent, error) {
	switch {
	case !c.Verdict.unfinished():
		return nil, misuse("intent", c, "does not own an unfinished order")
	case c.Doubt.Sold():
		return nil, misuse("intent", c, "was bought, or exists at the vendor")
	case c.hasIntent():
		return nil, misuse("intent", c, "already has an intent")
	case c.leaseExpired():
		return nil, wrap("intent", c, errLeaseExpired)
	}
	if !c.mayHaveIntent() { // a repeated intent is the same record, which the journal recognizes
		c.intentAt = floorMillis(time.Now())
	}
	r := c.intent(sendBy, over)
	if err := s.writeOwned(ctx, c, r); err != nil {
		return nil, wrap("intent", c, err)
	}
	if c.leaseExpired() { // the intent stays: whoever claims the order next finds it in doubt
		return nil, wrap("intent", c, errLeaseExpired)
	}
	c.Attempt = r.Attempt
	d := Doubt{Attempt: r.Attempt, SendBy: r.SendBy, Over: r.Over, Since: r.Since, Noticed: c.Doubt.Noticed}
	return &Sent{SendBy: sendBy, Doubt: d, claim: c, store: s}, nil
}

// EventSuffices reports whether a success that answers the request needs no final in the
// journal: its event is its record, and the intent makes whoever claims the order later read
// the event. Otherwise Finish journals the success before its event is published:
//   - while an earlier attempt is open, because the record of a doubt does not expire by
//     itself,
//   - after the end of the lease, because another worker may be about to conclude something
//     else,
//   - where the store does not read the events.
func (s *Sent) EventSuffices() bool {
	return s.store.results != nil && s.claim.Verdict != InDoubt && !s.claim.leaseExpired()
}

// intent returns the record of c's next attempt. Where an earlier attempt is open,
// Since is that attempt's, and Over the later of the two.
func (c *Claim) intent(sendBy, over time.Time) Record {
	r := c.record(StateIntent)
	r.Attempt++
	r.SendBy, r.Over, r.Since = ceilMillis(sendBy), ceilMillis(over), c.intentAt
	r.EarlierOpen = c.Verdict == InDoubt
	if r.EarlierOpen && !c.Doubt.Since.IsZero() {
		r.Since = c.Doubt.Since
	}
	if r.EarlierOpen && c.Doubt.Over.After(r.Over) {
		r.Over = c.Doubt.Over
	}
	return r
}

// mayHaveIntent reports whether Intent was called, so that the journal may have an intent of
// this claim.
func (c *Claim) mayHaveIntent() bool { return !c.intentAt.IsZero() }

// hasIntent reports whether the journal has an intent of this claim: its request may have
// left.
func (c *Claim) hasIntent() bool { return c.known.State == StateIntent && c.known.Owner == c.Owner }
