package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"orderworker/dedupe"
)

// holdPoll is how often an order that waits for an operator looks whether
// there is a verdict.
const holdPoll = 10 * time.Second

// enterDoubt parks an order whose newest request may have gone through, or
// whose earlier one still may; earlier is what was known of that.
func (t *task) enterDoubt(hard context.Context, err error, earlier dedupe.Doubt) outcome {
	d := t.claim.Doubt // of the newest intent: what "not found" said of the earlier one proves nothing for it
	if t.claim.Verdict == dedupe.InDoubt {
		d.Asked = earlier.Asked + 1
	}
	if e := upstreamError(err); e != nil {
		d.Bought, d.Exists = e.Bought, e.Exists
	}
	return t.park(hard, d, t.nextLook(d, time.Now()), err)
}

// resolve goes on with an order in doubt by the policy.
func (t *task) resolve(soft, hard context.Context) outcome {
	d := t.claim.Doubt
	now := time.Now()
	switch {
	case t.rules.Reconcile == Hold:
		return t.park(hard, d, holdPoll, errors.New("waits for orderworker settle"))
	case t.rules.resends(d) && !t.expired(now):
		if now.Before(t.rules.certainlyOver(d)) {
			return t.park(hard, d, t.nextLook(d, now), errors.New("the earlier request may still be under way"))
		}
		return t.place(soft, hard)
	default:
		return t.ask(soft, hard, d)
	}
}

// ask has the vendor looked up, and draws the conclusion: found is bought; "not
// found" twice, the second time from the provable time on, is not bought;
// anything else proves nothing.
func (t *task) ask(soft, hard context.Context, d dedupe.Doubt) outcome {
	asked := time.Now() // before it is sent: an answer is never younger than it looks
	var a finding
	err := t.span.within(soft, "getOrderPackageDetails", func(ctx context.Context) (err error) { // the call is that of many orders
		a, err = t.lookups.ask(ctx, t.order.OutTradeNo)
		return errors.Join(err, a.err)
	})
	switch {
	case soft.Err() != nil && !a.found:
		return t.release(hard, StepReleased, 0, context.Cause(soft))
	case a.failed: // the order's own schedule stays as it is
		return t.park(hard, d, a.retry, err)
	case a.found:
		r := t.result(Succeeded, t.claim.Refusals+1).bought(a.purchase)
		r.Reconciled = true
		return t.finish(hard, r)
	case a.exists:
		d.Exists = true
	case a.missing && d.Missing && !d.Sold() && asked.After(t.rules.provable(d)):
		if err := t.claims.Disprove(hard, t.claim); err != nil {
			return failure(StepInterrupted, err)
		}
		return t.place(soft, hard)
	case a.missing:
		d.Missing = true
		err = t.rules.unproven(d)
	}
	d.Asked++
	return t.park(hard, d, t.nextLook(d, time.Now()), err)
}

// unproven says why the order stays in doubt although the lookup did not find it.
func (r Rules) unproven(d dedupe.Doubt) error {
	switch {
	case d.Bought:
		return errors.New("the vendor said that it was bought, but the lookup does not show it")
	case d.Exists:
		return errors.New("the vendor said that it exists, but the lookup does not show it")
	}
	return fmt.Errorf("not found, which is proof when it is said again after %v", Time{r.provable(d)})
}

// park leaves an order in doubt until it is worth another look, and tells the
// world once that it has been so for long. Where that cannot be told, what is
// known of the order is written down all the same: the vendor may have said that
// it was bought.
func (t *task) park(hard context.Context, d dedupe.Doubt, next time.Duration, why error) outcome {
	noticeIn := t.rules.InDoubtNotice - time.Since(d.Since)
	known := t.claim.Doubt
	switch {
	case d.Noticed || noticeIn > 0:
	case d.Bought && !known.Bought, d.Exists && !known.Exists: // that first: the event may take long
		noticeIn = noticeRetry
	default:
		err := t.notice(hard)
		d.Noticed = err == nil
		why, noticeIn = errors.Join(err, why), noticeRetry
		if unhealable(err) {
			noticeIn = brokenDelay
		}
	}
	if !d.Noticed {
		next = min(next, noticeIn)
	}
	next = max(next, time.Millisecond)
	if err := t.claims.Doubt(hard, t.claim, d, next); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	return again(StepInDoubt, next, why)
}

// nextLook is how long an order in doubt is left alone.
func (t *task) nextLook(d dedupe.Doubt, now time.Time) time.Duration {
	switch {
	case t.rules.Reconcile == Hold:
		return holdPoll
	case t.rules.resends(d):
		return max(t.rules.certainlyOver(d).Sub(now), t.rules.Backoff.Delay(d.Asked))
	}
	return t.rules.nextAsk(d, now)
}

// noticeRetry is when an in_doubt event is tried again that could not be stored.
const noticeRetry = time.Second

// notice publishes the in_doubt event, where the order is still this worker's: one
// that stood still for long may have been overtaken.
func (t *task) notice(hard context.Context) error {
	if err := t.claims.Renew(hard, t.claim); err != nil {
		return err
	}
	r := t.result(InDoubt, t.claim.Refusals)
	if err := t.publish(hard, r.event(r.encode())); err != nil {
		return err
	}
	t.metrics.results.WithLabelValues(string(InDoubt)).Inc()
	return nil
}
