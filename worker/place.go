package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"orderworker/dedupe"
	"orderworker/upstream"
	"orderworker/upstream/pause"
)

// Line is an open connection to the vendor, reserved for one request:
// *upstream.Line.
type Line interface {
	Ready() bool // false: it was closed meanwhile; release it, and connect again
	Place(ctx context.Context, o upstream.Order, sendBy time.Time) (upstream.Purchase, error)
	Lookup(ctx context.Context, q upstream.Question, sendBy time.Time) (upstream.Page, error)
	Release() // unused; after Place or Lookup it does nothing
}

// slots paces the requests of all workers: *upstream.Quota. Ready runs before a
// slot is taken, so that nothing slow lies between the slot and the wire.
type slots interface {
	Wait(ctx context.Context, ready func(context.Context) error) error       // for an order
	WaitAgain(ctx context.Context, ready func(context.Context) error) error  // for an order whose slot was over before it could be sent
	WaitLookup(ctx context.Context, ready func(context.Context) error) error // for a lookup, which lets orders go first
	Over(slot time.Time) bool                                                // a slot of that time can no longer be used
	Slow(ctx context.Context, retryAfter time.Duration) error                // the vendor said "too fast": all workers slow down
	Spacing() time.Duration                                                  // between two requests of all workers, now
}

// claims is what is known about orders: *dedupe.Store.
type claims interface {
	NewOwner() string
	Claim(ctx context.Context, o dedupe.Order, owner string, redelivered bool) (*dedupe.Claim, error)
	Renew(ctx context.Context, c *dedupe.Claim) error
	Intent(ctx context.Context, c *dedupe.Claim, sendBy, over time.Time) error
	Wait(ctx context.Context, c *dedupe.Claim, attempts int, delay time.Duration) error
	Doubt(ctx context.Context, c *dedupe.Claim, d dedupe.Doubt, next time.Duration) error
	Disprove(ctx context.Context, c *dedupe.Claim) error
	Finish(ctx context.Context, c *dedupe.Claim, result []byte, succeeded bool) ([]byte, error)
	Remember(ctx context.Context, c *dedupe.Claim, result []byte) error
	Release(ctx context.Context, c *dedupe.Claim) error
}

// send is the right to send one request now.
type send struct {
	permit *pause.Permit
	line   Line
	slot   time.Time
}

func (s *send) release() {
	s.permit.GiveBack()
	if s.line != nil {
		s.line.Release()
	}
}

// place buys: it waits for the right to send, writes the intent, makes the call,
// and does what the answer asks for.
func (t *task) place(soft, hard context.Context) outcome {
	if t.expired(time.Now()) {
		return t.expire(soft, hard)
	}
	s, err := t.maySend(soft)
	if err != nil {
		return t.notSent(soft, hard, err)
	}
	defer s.release()
	inDoubt, earlier := t.claim.Verdict == dedupe.InDoubt, t.claim.Doubt
	sendBy := t.sendBy(s.slot)
	// From here on soft no longer counts: an intent that may have been stored
	// must be known to be, or the order would be in doubt for nothing.
	if err := t.claims.Intent(hard, t.claim, sendBy, t.rules.over(sendBy)); err != nil {
		return failure(StepInterrupted, err)
	}
	bought, sent, err := t.buy(hard, s, sendBy)
	t.noteAnswer(err)
	attempt := false
	if sent && hard.Err() == nil { // else the end is our own doing
		attempt = s.permit.End(t.order.OutTradeNo, err, func() error { return t.lookups.probe(hard, t.order.OutTradeNo) })
	}
	t.slow(hard, err)
	v := t.rules.decide(err, inDoubt, t.claim.Refusals, attempt)
	t.attempts = v.attempts
	if e := upstreamError(err); e != nil && slices.Contains(unsold, e.Class) {
		t.claim.Last = dedupe.Answer{Class: string(e.Class), Code: e.Code, Message: e.Message}
	}
	switch v.step {
	case StepSucceeded:
		return t.finish(hard, t.result(Succeeded, v.attempts).bought(bought))
	case StepFailed:
		return t.fail(hard, v.reason, v.attempts)
	case StepWaiting:
		return t.wait(hard, v.attempts, err)
	default:
		t.claim.Refusals = v.attempts
		return t.enterDoubt(hard, err, earlier)
	}
}

// unsold are the classes of answers by which the vendor says why it did not sell.
// The last is kept: a person who asks why an order waits, or has failed, is shown it.
var unsold = []upstream.Class{upstream.Refused, upstream.Account, upstream.Throttled}

// errPaused says that a pause began while the order waited for its slot.
var errPaused = errors.New("orders are paused")

// maySend waits until one request may be sent: until the account is not paused,
// a connection is open and a slot is due, in this order.
func (t *task) maySend(soft context.Context) (*send, error) {
	ctx := soft
	if expires := t.expiresAt(); expires != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, *expires)
		defer cancel()
	}
	for {
		permit, err := t.pause.Enter(ctx)
		if err != nil {
			return nil, err
		}
		s := &send{permit: permit}
		begun := time.Now()
		err = t.slots.Wait(ctx, func(ctx context.Context) error { return t.ready(ctx, s) })
		s.slot = time.Now()
		switch {
		case ctx.Err() != nil || t.expired(s.slot):
			s.release()
			return nil, fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
		case err == nil && permit.Valid():
			t.metrics.quotaWait.Observe(s.slot.Sub(begun).Seconds())
			return s, nil
		case upstreamError(err) != nil: // no connection could be opened
			t.noteAnswer(err)
			t.metrics.call("orderPackage", begun, err)
			permit.End(t.order.OutTradeNo, err, nil)
		}
		s.release()
		if err != nil && !errors.Is(err, errPaused) {
			return nil, err
		}
	}
}

// ready has a connection open, where the order may still be sent.
func (t *task) ready(ctx context.Context, s *send) (err error) {
	if !s.permit.Valid() {
		return errPaused
	}
	if s.line != nil && s.line.Ready() {
		return nil
	}
	if s.line != nil {
		s.line.Release()
	}
	s.line, err = t.connect(ctx)
	return err
}

// notSent is the outcome where there was no right to send.
func (t *task) notSent(soft, hard context.Context, err error) outcome {
	paused, isPaused := errors.AsType[*pause.Error](err)
	switch {
	case isPaused:
		return t.release(hard, StepPaused, paused.For, err)
	case soft.Err() == nil && t.expired(time.Now()):
		return t.expire(soft, hard)
	case upstreamError(err) == nil:
		return t.release(hard, StepReleased, 0, err)
	case t.claim.Verdict == dedupe.InDoubt:
		return t.park(hard, t.claim.Doubt, t.nextLook(t.claim.Doubt, time.Now()), err)
	default:
		return t.wait(hard, t.claim.Refusals, err)
	}
}

// sendBy is the latest moment at which the request may leave.
func (t *task) sendBy(slot time.Time) time.Time {
	by := slot.Add(t.rules.sendWindow())
	if expires := t.expiresAt(); expires != nil && expires.Before(by) {
		return *expires
	}
	return by
}

// buy makes the call and counts it. Sent is false where it was not made, because
// its time was over.
func (t *task) buy(hard context.Context, s *send, sendBy time.Time) (p upstream.Purchase, sent bool, err error) {
	// Requests that waited for a slow journal write would leave in one burst,
	// after their slots.
	if t.slots.Over(s.slot) || !s.line.Ready() {
		ctx, cancel := context.WithDeadline(hard, sendBy)
		defer cancel()
		if err := t.slots.WaitAgain(ctx, func(ctx context.Context) error { return t.ready(ctx, s) }); err != nil {
			return p, false, &upstream.Error{Class: upstream.Unreachable, Err: fmt.Errorf("not sent: the slot was over before the intent was stored: %w", err)}
		}
	}
	begun := time.Now()
	sent = !begun.After(sendBy)
	err = t.span.call(hard, "orderPackage", func(ctx context.Context) error {
		p, err = s.line.Place(ctx, t.order.Order, sendBy)
		return err
	})
	t.metrics.call("orderPackage", begun, err)
	return p, sent, err
}

// wait gives an order back that is certainly not bought, until its next attempt.
func (t *task) wait(hard context.Context, attempts int, why error) outcome {
	delay := t.rules.Backoff.Delay(t.claim.Waits)
	if e := upstreamError(why); e != nil && e.RetryAfter > 0 {
		delay = e.RetryAfter
	} else if e != nil && e.Class == upstream.Account {
		delay = min(delay, pause.MaxReturn) // the pause decides when it goes on
	}
	if err := t.claims.Wait(hard, t.claim, attempts, delay); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	return again(StepWaiting, delay, why)
}

// expire ends an order whose time is over; one in doubt is settled by the lookup.
func (t *task) expire(soft, hard context.Context) outcome {
	if t.claim.Verdict == dedupe.InDoubt {
		return t.ask(soft, hard, t.claim.Doubt)
	}
	return t.fail(hard, Expired, t.claim.Refusals)
}

// expiresAt is after when the order is not sent any more; nil: never. Only the
// first request's counts, where a duplicate drives the order, too.
func (t *task) expiresAt() *time.Time {
	if t.claim.First != t.delivery.Seq {
		return t.claim.Expires
	}
	return t.order.ExpiresAt
}

func (t *task) expired(now time.Time) bool {
	at := t.expiresAt()
	return at != nil && now.After(*at)
}
