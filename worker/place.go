package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// place buys: leave of the breaker, slot, intent, call (steps 3 to 5 of the
// design), then what the answer asks for.
func (h *handling) place() (step, error) {
	pass, s, err := h.enter()
	if pass == nil {
		return s, err
	}
	defer pass.GiveBack()
	open, earlier := h.open(), h.claim.Doubt
	slot := time.Now()
	sendBy := slot.Add(h.rules.sendWindow())
	if expires := h.order.ExpiresAt; !expires.IsZero() && expires.Before(sendBy) {
		sendBy = expires
	}
	// From here on soft no longer counts: an intent that may have been stored
	// must be known to be, or the order would be in doubt for nothing.
	if err := h.keep("intent", func() error { return h.claims.Intent(h.hard, h.claim, sendBy) }); err != nil {
		return handBack, err
	}
	bought, err := upstream.Purchase{}, h.again(slot, sendBy)
	late := err != nil || time.Now().After(sendBy)
	if err == nil {
		bought, err = h.buy(sendBy)
	}
	h.note(err)
	blameless := false
	if !late && h.hard.Err() == nil { // else the end is our own doing
		blameless = pass.End(h.order.OutTradeNo, err, h.rules.own(codeOf(err)))
	}
	h.slow(h.hard, err)
	v := h.rules.decide(err, open, h.claim.Attempts, blameless)
	h.attempts = v.attempts
	if e := upstreamError(err); e != nil && e.Class == upstream.Refused {
		h.claim.Last = dedupe.Answer{Code: e.Code, Message: e.Message}
	}
	switch v.step {
	case succeed:
		r := h.result(Succeeded, v.attempts).bought(bought)
		return h.finish(r)
	case fail:
		return h.fail(v.reason, v.attempts)
	case wait:
		delay := h.rules.Backoff.Delay(h.claim.Waits)
		if e := upstreamError(err); e != nil && e.RetryAfter > 0 {
			delay = e.RetryAfter
		}
		if err := h.keep("wait", func() error { return h.claims.Wait(h.hard, h.claim, v.attempts, delay) }); err != nil {
			return unsettled, err
		}
		return wait, h.nak(delay)
	default:
		h.claim.Attempts = v.attempts
		return h.enterDoubt(err, earlier)
	}
}

// enter waits until one call may be made: for the vendor's health, then for a
// slot. Without a pass the order is done with for now, as the step says.
func (h *handling) enter() (*upstream.Pass, step, error) {
	ctx := h.soft
	if !h.order.ExpiresAt.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, h.order.ExpiresAt)
		defer cancel()
	}
	for {
		if h.order.expired(time.Now()) {
			s, err := h.expire()
			return nil, s, err
		}
		pass, err := h.breaker.Enter(ctx, h.order.PackageCode)
		begun := time.Now()
		if err == nil {
			err = h.slots.Wait(ctx, unconnected)
		}
		if err == nil && !h.order.expired(time.Now()) {
			h.metrics.quotaWait.Observe(time.Since(begun).Seconds())
			if pass.Begin() {
				return pass, "", nil
			}
			continue
		}
		if pass != nil {
			pass.GiveBack()
		}
		if away, ok := errors.AsType[*upstream.Held](err); ok {
			s, err := h.sendAway(away.For)
			return nil, s, err
		}
		if h.soft.Err() != nil || !h.order.expired(time.Now()) {
			s, err := h.release(err)
			return nil, s, err
		}
	}
}

// sendAway gives an order back whose packageCode is held, nothing sent.
func (h *handling) sendAway(delay time.Duration) (step, error) {
	if err := h.keep("release", func() error { return h.claims.Release(h.hard, h.claim) }); err != nil {
		return handBack, err
	}
	return held, h.nak(delay)
}

// again takes another slot where the intent took so long that the first is over:
// all that waited for the journal would else leave at once. The error is that
// nothing was sent.
func (h *handling) again(slot, sendBy time.Time) error {
	if !h.slots.Over(slot) {
		return nil
	}
	ctx, cancel := context.WithDeadline(h.hard, sendBy)
	defer cancel()
	if err := h.slots.WaitAgain(ctx, unconnected); err != nil {
		return &upstream.Error{Class: upstream.Unreachable, Err: fmt.Errorf("not sent: the slot was over before the intent was stored: %w", err)}
	}
	return nil
}

// open says that an earlier attempt may still have gone through.
func (h *handling) open() bool { return h.claim.Verdict == dedupe.InDoubt }

// buy makes the call and counts it.
func (h *handling) buy(sendBy time.Time) (p upstream.Purchase, err error) {
	begun := time.Now()
	err = h.within("orderPackage", trace.SpanKindClient, func(ctx context.Context) error {
		p, err = h.placer.Place(ctx, h.order.Order, sendBy)
		return err
	})
	h.metrics.call("orderPackage", begun, err)
	return p, err
}

// expire ends an order whose time is over; one in doubt is settled by the lookup.
func (h *handling) expire() (step, error) {
	if h.open() {
		return h.ask(h.claim.Doubt)
	}
	return h.fail(Expired, h.claim.Attempts)
}
