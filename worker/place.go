package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	Release() // without a request; after Place or Lookup it does nothing
}

// slots hands out the slots of the account's quota, for all workers together:
// *quota.Limiter. The waits call ready before they take a slot, so that nothing
// slow lies between the slot and the request.
type slots interface {
	Wait(ctx context.Context, ready func(context.Context) error) error       // for an order
	WaitAgain(ctx context.Context, ready func(context.Context) error) error  // for an order whose slot was over before it could be sent
	WaitLookup(ctx context.Context, ready func(context.Context) error) error // for a lookup, which lets orders go first
	Over(slot time.Time) bool                                                // a slot of that time can no longer be used
	Slow(ctx context.Context, retryAfter time.Duration) error                // the vendor said "too fast": all workers slow down
	Spacing() time.Duration                                                  // between two requests of all workers, now
}

// claims is the store of orders: *dedupe.Store.
type claims interface {
	NewOwner() string
	Claim(ctx context.Context, o dedupe.Order, owner string, redelivered bool) (*dedupe.Claim, error)
	Renew(ctx context.Context, c *dedupe.Claim) error
	Intent(ctx context.Context, c *dedupe.Claim, sendBy, over time.Time) (*dedupe.Sent, error)
	Wait(ctx context.Context, c *dedupe.Claim, refusals int, delay time.Duration) error
	Doubt(ctx context.Context, c *dedupe.Claim, d dedupe.Doubt, next time.Duration) error
	Disprove(ctx context.Context, c *dedupe.Claim) error
	Finish(ctx context.Context, c *dedupe.Claim, result []byte, succeeded bool) ([]byte, error)
	Remember(ctx context.Context, c *dedupe.Claim, result []byte) error
	Release(ctx context.Context, c *dedupe.Claim) error
}

// reservation is what one request needs before it may be sent.
type reservation struct {
	permit *pause.Permit // the account is not paused
	line   Line          // nil: not connected yet
	slot   time.Time
}

func (r *reservation) release() {
	r.permit.GiveBack()
	if r.line != nil {
		r.line.Release()
	}
}

// place buys the order: it reserves one request, writes the intent, sends the
// request, and does what the answer asks for.
func (t *task) place(grace, hard context.Context) outcome {
	if t.expired(time.Now()) {
		return t.expire(grace, hard)
	}
	r, err := t.reserve(grace)
	if err != nil {
		return t.notReserved(grace, hard, err)
	}
	defer r.release()
	sendBy := r.slot.Add(t.rules.sendWindow())
	if at := t.expiresAt(); at != nil && at.Before(sendBy) {
		sendBy = *at
	}
	// From here on grace does not count. An interrupted Intent may have been
	// stored, and the order would be in doubt although nothing was sent.
	sent, err := t.claims.Intent(hard, t.claim, sendBy, t.rules.over(sendBy))
	if err != nil {
		return t.notIntended(hard, err)
	}
	inDoubt := t.claim.Verdict == dedupe.InDoubt // by an earlier attempt
	purchase, counts, err := t.send(hard, r, sent)
	if halted := haltError(err); halted != nil {
		if !inDoubt { // release revokes the intent
			return t.release(hard, StepPaused, halted.For, err)
		}
		err = &upstream.Error{Class: upstream.Unreachable, Err: err} // the earlier attempt is open all the same
	}
	d := t.rules.decide(err, inDoubt, t.claim.Refusals, counts)
	t.refusals = d.refusals
	switch d.step {
	case StepSucceeded:
		return t.succeed(hard, sent, t.result(Succeeded, d.refusals).bought(purchase))
	case StepFailed:
		return t.fail(hard, d.reason, d.refusals)
	case StepWaiting:
		return t.backOff(hard, d.refusals, err)
	default:
		t.claim.Refusals = d.refusals
		return t.doubtAfterSend(hard, sent, err)
	}
}

// errPaused says that a pause, of the account or by an operator, began while the order
// waited for its slot.
var errPaused = errors.New("orders are paused")

// notIntended returns the outcome of a delivery whose intent was not written, or perhaps
// was. One that an operator's pause has stopped is given back, and its intent revoked.
func (t *task) notIntended(hard context.Context, err error) outcome {
	if halted := haltError(err); halted != nil {
		return t.release(hard, StepPaused, halted.For, err)
	}
	return failure(StepInterrupted, err)
}

// reserve waits until one request may be sent: until no operator pauses, the account is
// not paused, a connection is open and a slot is due, in this order.
func (t *task) reserve(grace context.Context) (*reservation, error) {
	ctx := grace
	if at := t.expiresAt(); at != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, *at)
		defer cancel()
	}
	for {
		if err := t.halts.Enter(ctx); err != nil {
			return nil, err
		}
		permit, err := t.pause.Enter(ctx)
		if err != nil {
			return nil, err
		}
		r := &reservation{permit: permit}
		begun := time.Now()
		err = t.slots.Wait(ctx, func(ctx context.Context) error { return t.connectFor(ctx, r) })
		r.slot = time.Now()
		switch {
		case ctx.Err() != nil || t.expired(r.slot):
			r.release()
			return nil, fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
		case err == nil && permit.Valid() && t.halts.Allows() == nil:
			t.metrics.quotaWait.Observe(r.slot.Sub(begun).Seconds())
			return r, nil
		case upstreamError(err) != nil: // no connection could be opened
			t.noteAnswer(err)
			t.metrics.request("orderPackage", begun, err)
			permit.End(t.order.OutTradeNo, err, nil)
		}
		r.release()
		if err != nil && !errors.Is(err, errPaused) {
			return nil, err
		}
	}
}

// connectFor makes sure that r has an open connection, unless a pause has begun.
func (t *task) connectFor(ctx context.Context, r *reservation) (err error) {
	if !r.permit.Valid() || t.halts.Allows() != nil {
		return errPaused
	}
	r.line, err = upstream.Reconnect(ctx, r.line, t.connect)
	return err
}

// notReserved returns the outcome of a delivery for which reserve failed with err.
func (t *task) notReserved(grace, hard context.Context, err error) outcome {
	paused, isPaused := errors.AsType[*pause.Error](err)
	halted := haltError(err)
	switch {
	case halted != nil:
		return t.release(hard, StepPaused, halted.For, err)
	case isPaused:
		return t.release(hard, StepPaused, paused.For, err)
	case grace.Err() == nil && t.expired(time.Now()):
		return t.expire(grace, hard)
	case upstreamError(err) == nil:
		return t.release(hard, StepReleased, 0, err)
	case t.claim.Verdict == dedupe.InDoubt:
		return t.recheckLater(hard, t.claim.Doubt, t.recheckDelay(t.claim.Doubt, time.Now()), err)
	default:
		return t.backOff(hard, t.claim.Refusals, err)
	}
}

// send sends the one request that the intent allows, and tells the metrics, the
// pause and the quota how it ended. counts says that a refusal is about this
// order, and not about the account.
func (t *task) send(hard context.Context, r *reservation, sent *dedupe.Sent) (p upstream.Purchase, counts bool, err error) {
	// Requests that waited for a slow journal write would leave in one burst,
	// after their slots.
	if t.slots.Over(r.slot) || !r.line.Ready() {
		ctx, cancel := context.WithDeadline(hard, sent.SendBy)
		defer cancel()
		if err := t.slots.WaitAgain(ctx, func(ctx context.Context) error { return t.connectFor(ctx, r) }); err != nil {
			err = &upstream.Error{Class: upstream.Unreachable, Err: fmt.Errorf("not sent: the slot was over before the intent was stored: %w", err)}
			if halted := t.halts.Allows(); halted != nil {
				return p, false, halted
			}
			t.noteAnswer(err)
			return p, false, err
		}
	}
	until, err := t.halts.Until()
	if err != nil { // storing the intent may have taken long
		return p, false, err
	}
	sendBy := sent.SendBy
	if until.Before(sendBy) { // this process may be frozen before it writes
		sendBy = until
	}
	begun := time.Now()
	err = t.span.do(hard, "orderPackage", func(ctx context.Context) error {
		p, err = r.line.Place(ctx, t.order.Order, sendBy)
		return err
	})
	t.metrics.request("orderPackage", begun, err)
	t.noteAnswer(err)
	if !begun.After(sendBy) && hard.Err() == nil { // otherwise this process ended the request, not the vendor
		counts = r.permit.End(t.order.OutTradeNo, err, func() error { return t.lookups.probe(hard, t.order.OutTradeNo) })
	}
	t.throttle(hard, err)
	return p, counts, err
}

// backOff hands an order back that is certainly not bought, until its next attempt.
func (t *task) backOff(hard context.Context, refusals int, why error) outcome {
	delay := t.rules.Backoff.Delay(t.claim.Waits, rand.Float64())
	if e := upstreamError(why); e != nil && e.RetryAfter > 0 {
		delay = e.RetryAfter
	} else if e != nil && e.Class == upstream.Account {
		delay = min(delay, pause.MaxReturn) // the pause decides when it is sent again
	}
	if err := t.claims.Wait(hard, t.claim, refusals, delay); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	return handBack(StepWaiting, delay, why)
}

// expire fails an order whose time is over. One in doubt may have been bought
// before, and is looked up.
func (t *task) expire(grace, hard context.Context) outcome {
	if t.claim.Verdict == dedupe.InDoubt {
		return t.reconcile(grace, hard)
	}
	return t.fail(hard, Expired, t.claim.Refusals)
}

// expiresAt returns the time after which the order is not sent any more; nil
// means never. It is that of the order's first request, also where a duplicate
// is the one that is delivered now.
//
// Source: contract, section 2.
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
