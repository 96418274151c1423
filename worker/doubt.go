package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"orderworker/dedupe"
	"orderworker/upstream"
)

const (
	// settledCheck is how often an order that waits for an operator is delivered
	// again, to see whether it was settled.
	settledCheck = 10 * time.Second
	// noticeRetry is the time after which an in_doubt event that could not be
	// stored is tried again.
	noticeRetry = time.Second
)

// doubtAfterSend hands an order back whose newest request, which ended with err,
// may have bought, or an earlier one may.
func (t *task) doubtAfterSend(hard context.Context, sent *dedupe.Sent, err error) outcome {
	d := sent.Doubt // "not found" about an earlier request proves nothing about this one
	if t.claim.Verdict == dedupe.InDoubt {
		d.Asked = t.claim.Doubt.Asked + 1
	}
	if e := upstreamError(err); e != nil {
		d.Bought, d.Exists = e.Bought, e.Exists
	}
	return t.recheckLater(hard, d, t.recheckDelay(d, time.Now()), err)
}

// handleDoubt goes on with an order in doubt, as UPSTREAM_RECONCILE says.
func (t *task) handleDoubt(grace, hard context.Context) outcome {
	d := t.claim.Doubt
	now := time.Now()
	switch {
	case t.rules.Reconcile == Hold:
		return t.recheckLater(hard, d, settledCheck, errors.New("waits for orderworker settle"))
	case t.rules.resends(d) && !t.expired(now):
		if now.Before(t.rules.certainlyOver(d)) {
			return t.recheckLater(hard, d, t.recheckDelay(d, now), errors.New("the earlier request may still be under way"))
		}
		return t.place(grace, hard)
	default:
		return t.reconcile(grace, hard)
	}
}

// reconcile looks the order up. An order that is found was bought. "Not found"
// twice, the second time from the provable time on, proves that it was not bought.
// Anything else proves nothing, and the order stays in doubt.
func (t *task) reconcile(grace, hard context.Context) outcome {
	d := t.claim.Doubt
	asked := time.Now() // before the lookup is sent, so that the answer is at least as new
	var f finding
	err := t.span.do(grace, "getOrderPackageDetails", func(ctx context.Context) (err error) { // one lookup is about many orders
		f, err = t.lookups.find(ctx, t.order.OutTradeNo)
		return errors.Join(err, f.err)
	})
	switch {
	case grace.Err() != nil && !f.found:
		return t.release(hard, StepReleased, 0, context.Cause(grace))
	case f.failed: // it does not count for the order's own schedule
		if !errors.Is(err, errNotAsked) {
			d.AskedAt, d.Answer = asked.UTC().Truncate(time.Millisecond), brief(f.err)
		}
		return t.recheckLater(hard, d, f.retryIn, err)
	case f.found:
		r := t.result(Succeeded, t.claim.Refusals+1).bought(f.purchase)
		r.Reconciled = true
		return t.finish(hard, r)
	case f.exists:
		d.Exists = true
	case f.missing && d.Missing && !d.Sold() && asked.After(t.rules.provable(d)):
		if err := t.claims.Disprove(hard, t.claim); err != nil {
			return failure(StepInterrupted, err)
		}
		return t.place(grace, hard)
	case f.missing:
		d.Missing = true
		err = t.rules.unproven(d)
	}
	d.Asked++
	d.AskedAt, d.Answer = asked.UTC().Truncate(time.Millisecond), brief(err)
	return t.recheckLater(hard, d, t.recheckDelay(d, time.Now()), err)
}

// brief is why a lookup did not end a doubt, as it is kept for people.
func brief(err error) string {
	return cut(strings.ReplaceAll(upstream.Brief(err), "\n", "; "), 160)
}

// unproven says why an order stays in doubt although the lookup did not find it.
func (r Rules) unproven(d dedupe.Doubt) error {
	switch {
	case d.Bought:
		return errors.New("the vendor said that it was bought, but the lookup does not show it")
	case d.Exists:
		return errors.New("the vendor said that it exists, but the lookup does not show it")
	}
	return fmt.Errorf("not found, which is proof when it is said again after %v", Time{r.provable(d)})
}

// recheckLater writes down what is known of an order in doubt, and hands it back
// for delay. Where the in_doubt event is due, it publishes that first; if the
// event cannot be stored, what is known is written down all the same, because it
// may include that the vendor called the order bought.
func (t *task) recheckLater(hard context.Context, d dedupe.Doubt, delay time.Duration, why error) outcome {
	noticeIn := t.rules.InDoubtNotice - time.Since(d.Since)
	known := t.claim.Doubt
	switch {
	case d.Noticed || noticeIn > 0:
	case d.Bought && !known.Bought, d.Exists && !known.Exists: // write that down first: storing the event may take long
		noticeIn = noticeRetry
	default:
		err := t.publishNotice(hard)
		d.Noticed = err == nil
		why, noticeIn = errors.Join(err, why), noticeRetry
		if unrecoverable(err) {
			noticeIn = repairDelay
		}
	}
	if !d.Noticed {
		delay = min(delay, noticeIn)
	}
	delay = max(delay, time.Millisecond)
	if err := t.claims.Doubt(hard, t.claim, d, delay); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	return handBack(StepInDoubt, delay, why)
}

// recheckDelay returns the time after which an order in doubt is delivered again.
func (t *task) recheckDelay(d dedupe.Doubt, now time.Time) time.Duration {
	switch {
	case t.rules.Reconcile == Hold:
		return settledCheck
	case t.rules.resends(d):
		return max(t.rules.certainlyOver(d).Sub(now), t.rules.Backoff.Delay(d.Asked, rand.Float64()))
	}
	return t.rules.lookupDelay(d, now)
}

// publishNotice publishes the in_doubt event. It renews the lease first: a
// process that was frozen may no longer own the order.
func (t *task) publishNotice(hard context.Context) error {
	if err := t.claims.Renew(hard, t.claim); err != nil {
		return err
	}
	r := t.result(InDoubt, t.claim.Refusals)
	if _, err := t.publish(hard, r.event(r.encode())); err != nil {
		return err
	}
	t.metrics.results.WithLabelValues(string(InDoubt)).Inc()
	return nil
}
