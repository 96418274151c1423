package worker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

func (t *task) result(status Status, attempts int) Result {
	return result(t.order, status, attempts, t.delivery.Stored, time.Now())
}

// fail finishes an order that was certainly not bought.
func (t *task) fail(hard context.Context, reason Reason, refusals int) outcome {
	r := t.result(Failed, refusals)
	r.Reason = reason
	r.Code, r.Message = t.claim.Last.Code, t.claim.Last.Message
	return t.finish(hard, r)
}

// finish publishes a final result. One that the event alone does not prove is written
// into the journal before.
func (t *task) finish(hard context.Context, r Result) outcome {
	payload := r.encode()
	recorded, err := t.claims.Finish(hard, t.claim, payload, r.Status == Succeeded)
	if err != nil {
		return failure(StepInterrupted, err)
	}
	if !bytes.Equal(recorded, payload) { // another worker has written a result before
		t.reportOtherResult(r, recorded)
		return t.publishRecorded(hard, recorded)
	}
	return t.publishFinal(hard, r.event(payload), &r)
}

// reportOtherResult reports that result ours is not the order's, which names another
// purchase or another end. A result is final, so the money of a purchase that it does not
// name was spent for nothing.
func (t *task) reportOtherResult(ours Result, final []byte) {
	var other Result
	if json.Unmarshal(final, &other) != nil || other.Status == ours.Status && other.OrderNumber == ours.OrderNumber {
		return
	}
	line := t.logger.Error().Str("out_trade_no", t.order.OutTradeNo).Strs("order_numbers", []string{other.OrderNumber, ours.OrderNumber}).
		Str("result", string(other.Status))
	if ours.Status != Succeeded {
		line.Msg("the order was about to fail, but it was bought before")
		return
	}
	t.metrics.doublePurchases.Inc()
	line.Msg("double purchase: another result was final when this one came; a refund within 24 hours is free")
}

// publishRecorded publishes a result that an earlier delivery or another worker has
// written down.
func (t *task) publishRecorded(hard context.Context, payload []byte) outcome {
	e, err := event(payload)
	if err != nil { // this program did not write it
		return handBack(StepInterrupted, repairDelay, err)
	}
	return t.publishFinal(hard, e, nil)
}

// publishFinal publishes a final result and remembers it, and only then acknowledges the
// request. ours is the result, where this delivery came to it, also where it is the
// delivery of a duplicate. Where the order has another final event, that one counts.
func (t *task) publishFinal(hard context.Context, e Event, ours *Result) outcome {
	e = t.describe(e)
	remembered := make(chan error, 1)
	beside := !t.claim.Recorded
	if beside { // one wait less for each order that is bought at once
		go func() { remembered <- t.claims.Remember(hard, t.claim, e.Payload) }()
	}
	final, existed, err := t.publishOnce(hard, e)
	if ours != nil && err == nil {
		t.reportOtherResult(*ours, final.Payload)
	}
	if !beside && err == nil {
		remembered <- t.claims.Remember(hard, t.claim, final.Payload)
	}
	if beside || err == nil {
		err = errors.Join(err, <-remembered)
	}
	if err != nil {
		return failure(StepInterrupted, err)
	}
	if e.Seq != t.delivery.Seq { // this request is not the one that the result belongs to
		t.metrics.duplicates.Inc()
		if ours == nil {
			return acknowledge(StepDuplicate, nil)
		}
	}
	if !existed || ours != nil {
		t.metrics.results.WithLabelValues(string(final.Status)).Inc()
		t.metrics.orderDuration.Observe(time.Since(t.delivery.Stored).Seconds())
	}
	return acknowledge(Step(final.Status), nil)
}

// publishRemembered ends a delivery whose order is finished, as the cache or the results
// say. The cache is told of a success while its event is being published. So the request
// that the result belongs to stays in its stream until the event is known to be stored:
// where only the cache knows the result, the event is published again before the
// acknowledgement, which stores nothing where there is one.
func (t *task) publishRemembered(hard context.Context) outcome {
	c := t.claim
	if c.ResultSeq != t.delivery.Seq {
		t.metrics.duplicates.Inc()
		return acknowledge(StepDuplicate, nil)
	}
	if c.Published {
		return acknowledge(StepDuplicate, nil)
	}
	e, err := event(c.Result)
	if err == nil && (e.Subject != t.order.OutTradeNo || !e.Status.final()) {
		err = fmt.Errorf("the remembered result is no final result of %s: %s", t.order.OutTradeNo, shown(c.Result))
	}
	if err != nil { // this program did not write it
		return handBack(StepInterrupted, repairDelay, err)
	}
	final, existed, err := t.publishOnce(hard, t.describe(e))
	switch {
	case err != nil:
		return failure(StepInterrupted, err)
	case existed:
		return acknowledge(StepDuplicate, nil)
	}
	t.metrics.results.WithLabelValues(string(final.Status)).Inc()
	t.metrics.orderDuration.Observe(time.Since(t.delivery.Stored).Seconds())
	return acknowledge(Step(final.Status), nil)
}

// describe returns e with what its headers say of the order.
func (t *task) describe(e Event) Event {
	e.Seq, e.Fingerprint = cmp.Or(t.claim.ResultSeq, t.delivery.Seq), t.claim.Fingerprint
	// The account is that of the worker that bought, which may have been another.
	// Its purchase as our control number would make our lookups look blind.
	e.Account = cmp.Or(t.claim.ResultBy, t.claim.Account)
	e.Operator = t.claim.Operator
	return e
}

// publishOnce publishes a final event. It returns the final event that the order has then,
// and whether it had one before.
func (t *task) publishOnce(hard context.Context, e Event) (final Event, existed bool, err error) {
	existing, err := t.publish(hard, e)
	if err != nil || existing == nil {
		return e, false, err
	}
	if final, err = event(existing); err != nil { // this program did not write it
		return e, true, nil
	}
	return final, true, nil
}

// publish stores an event, with the traceparent of its span.
func (t *task) publish(hard context.Context, e Event) (existing []byte, err error) {
	err = t.span.do(hard, "publish", func(ctx context.Context) (err error) {
		e.Trace = t.span.traceparent(ctx)
		existing, err = t.publisher.Publish(ctx, e)
		return err
	})
	return existing, err
}

// reject stores the request as a dead letter and, where its outTradeNo is valid,
// publishes a rejected event. It does not touch the order of that number.
//
// Source: contract, section 2.
func (t *task) reject(hard context.Context, reason Reason, why error) outcome {
	text := cut(oneLine(why), 1024)
	if err := t.publisher.PublishDead(hard, DeadLetter{Delivery: t.delivery, Reason: reason, Error: text, At: time.Now()}); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	t.metrics.deadLetters.WithLabelValues(string(reason)).Inc()
	if t.order.OutTradeNo == "" {
		return acknowledge(StepRejected, why)
	}
	r := t.result(Rejected, 0)
	r.Reason, r.Message = reason, text
	e := r.event(r.encode())
	e.ID = RejectedID(r.OutTradeNo, t.delivery.Data)
	if _, err := t.publish(hard, e); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	t.metrics.results.WithLabelValues(string(Rejected)).Inc()
	return acknowledge(StepRejected, why)
}
