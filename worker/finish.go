package worker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
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

// finish writes a final result into the journal, then publishes it.
func (t *task) finish(hard context.Context, r Result) outcome {
	payload := r.encode()
	written, err := t.claims.Finish(hard, t.claim, payload, r.Status == Succeeded)
	if err != nil {
		return failure(StepInterrupted, err)
	}
	if !bytes.Equal(written, payload) { // another worker has written a result before
		t.reportDoublePurchase(r, written)
		return t.publishRecorded(hard, written)
	}
	return t.publishFinal(hard, r.event(payload), true)
}

// reportDoublePurchase reports the purchase of result ours where the result in
// the journal names another purchase, or none. The journal's result is final, so
// the money of ours was spent for nothing.
func (t *task) reportDoublePurchase(ours Result, written []byte) {
	var other Result
	if json.Unmarshal(written, &other) != nil || ours.Status != Succeeded || other.OrderNumber == ours.OrderNumber {
		return
	}
	t.metrics.doublePurchases.Inc()
	t.logger.Error().Str("out_trade_no", t.order.OutTradeNo).Strs("order_numbers", []string{other.OrderNumber, ours.OrderNumber}).
		Str("result", string(other.Status)).Msg("double purchase: another result was final when this one came; a refund within 24 hours is free")
}

// publishRecorded publishes a result that an earlier delivery or another worker
// wrote into the journal.
func (t *task) publishRecorded(hard context.Context, payload []byte) outcome {
	e, err := event(payload)
	if err != nil { // this program did not write it
		return handBack(StepInterrupted, repairDelay, err)
	}
	return t.publishFinal(hard, e, false)
}

// publishFinal publishes a result that the journal has, then remembers it, and
// only then acknowledges the request. ours says that this delivery wrote the
// result, also where it is the delivery of a duplicate.
func (t *task) publishFinal(hard context.Context, e Event, ours bool) outcome {
	e.Seq, e.Fingerprint = cmp.Or(t.claim.ResultSeq, t.delivery.Seq), t.claim.Fingerprint
	// The account is that of the worker that bought, which may have been another.
	// Its purchase as our control number would make our lookups look blind.
	e.Account = cmp.Or(t.claim.ResultBy, t.claim.Account)
	e.Operator = t.claim.Operator
	if err := t.publish(hard, e); err != nil {
		return failure(StepInterrupted, err)
	}
	if err := t.claims.Remember(hard, t.claim, e.Payload); err != nil {
		return failure(StepInterrupted, err)
	}
	if e.Seq != t.delivery.Seq { // this request is not the one that the result belongs to
		t.metrics.duplicates.Inc()
		if !ours {
			return acknowledge(StepDuplicate, nil)
		}
	}
	t.metrics.results.WithLabelValues(string(e.Status)).Inc()
	t.metrics.orderDuration.Observe(time.Since(t.delivery.Stored).Seconds())
	return acknowledge(Step(e.Status), nil)
}

// publish stores an event, with the traceparent of its span.
func (t *task) publish(hard context.Context, e Event) error {
	return t.span.do(hard, "publish", func(ctx context.Context) error {
		e.Trace = t.span.traceparent(ctx)
		return t.publisher.Publish(ctx, e)
	})
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
	if err := t.publish(hard, e); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	t.metrics.results.WithLabelValues(string(Rejected)).Inc()
	return acknowledge(StepRejected, why)
}
