package worker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"time"

	"orderworker/dedupe"
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

// succeed ends the order with r, a success that answers the request of sent.
func (t *task) succeed(hard context.Context, sent *dedupe.Sent, r Result) outcome {
	if !sent.EventSuffices() {
		return t.finish(hard, r)
	}
	return t.publishFinal(hard, r.event(r.encode()), &r)
}

// finish journals result r of the order, and publishes it.
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

// reportOtherResult logs an error if final, the order's result, differs from ours in status
// or order number. A result never changes, so if ours is a purchase, it is one too many.
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
// journalled.
func (t *task) publishRecorded(hard context.Context, payload []byte) outcome {
	e, err := event(payload)
	if err != nil { // this program did not write it
		return handBack(StepInterrupted, repairDelay, err)
	}
	return t.publishFinal(hard, e, nil)
}

// publishFinal publishes a final event, then stores its result in the cache; only then the
// request may be acknowledged. ours is the result if this delivery found it out, even if
// the delivery is one of a duplicate; otherwise nil. If the order has another final event
// already, that one counts.
//
// The cache comes second, although it could be told at the same time: a result in the cache
// lets every worker acknowledge the request, so its event has to be stored by then.
func (t *task) publishFinal(hard context.Context, e Event, ours *Result) outcome {
	e = t.describe(e)
	final, existed, err := t.publishOnce(hard, e)
	if errors.Is(err, ErrRefused) { // for now the event cannot be the record of a success; what is journalled already stays
		journalled, journalErr := t.claims.Finish(hard, t.claim, e.Payload, e.Status == Succeeded)
		if ours != nil && journalErr == nil {
			t.reportOtherResult(*ours, journalled)
		}
		return failure(StepInterrupted, errors.Join(err, journalErr))
	}
	if err != nil {
		return failure(StepInterrupted, err)
	}
	if ours != nil {
		t.reportOtherResult(*ours, final.Payload)
	}
	if err := t.claims.Remember(hard, t.claim, final.Payload); err != nil {
		return failure(StepInterrupted, err)
	}
	if e.Seq != t.delivery.Seq { // the result belongs to another request of the order
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

// describe returns e with the fields that become the headers about its order.
func (t *task) describe(e Event) Event {
	e.Seq, e.Fingerprint = cmp.Or(t.claim.ResultSeq, t.claim.First), t.claim.Fingerprint
	// The account is that of the worker that bought, which may be another than ours. A
	// purchase of another account must not become our control number: our lookups could
	// not show it, and would seem to be broken.
	e.Account = cmp.Or(t.claim.ResultBy, t.claim.Account)
	e.Operator = t.claim.Operator
	return e
}

// publishOnce publishes a final event unless the order has one. It returns the final event
// that the order then has, and whether it existed before.
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
