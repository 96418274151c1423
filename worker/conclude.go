package worker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
)

func (t *task) fail(hard context.Context, reason Reason, attempts int) outcome {
	r := t.result(Failed, attempts)
	r.Reason = reason
	r.Code, r.Message = t.claim.Last.Code, t.claim.Last.Message
	return t.finish(hard, r)
}

func (t *task) result(status Status, attempts int) Result {
	return result(t.order, status, attempts, t.delivery.Stored, time.Now())
}

// finish writes a final result into the journal, then publishes it.
func (t *task) finish(hard context.Context, r Result) outcome {
	payload := r.encode()
	written, err := t.claims.Finish(hard, t.claim, payload, r.Status == Succeeded)
	if err != nil {
		return failure(StepInterrupted, err)
	}
	if !bytes.Equal(written, payload) { // another worker was first
		t.compare(r, written)
		return t.publishAgain(hard, written)
	}
	return t.conclude(hard, r.event(payload), true)
}

// compare reports a purchase that the result which stands does not name: that one
// is final, and this is money spent once more, or for an order that is "failed".
func (t *task) compare(ours Result, written []byte) {
	var other Result
	if json.Unmarshal(written, &other) != nil || ours.Status != Succeeded || other.OrderNumber == ours.OrderNumber {
		return
	}
	t.metrics.doublePurchases.Inc()
	t.logger.Error().Str("out_trade_no", t.order.OutTradeNo).Strs("order_numbers", []string{other.OrderNumber, ours.OrderNumber}).
		Str("result", string(other.Status)).Msg("double purchase: another result was final when this one came; a refund within 24 hours is free")
}

// publishAgain concludes an order whose result was written before: by the
// delivery that died after it, or by another worker.
func (t *task) publishAgain(hard context.Context, payload []byte) outcome {
	e, err := event(payload)
	if err != nil {
		return again(StepInterrupted, brokenDelay, err) // not ours, not to be guessed at
	}
	return t.conclude(hard, e, false)
}

// conclude publishes a result that the journal has, then remembers it. Only then
// is the request acknowledged. Ours says that this delivery wrote the result; a
// duplicate may have, of an order that it drove on.
func (t *task) conclude(hard context.Context, e Event, ours bool) outcome {
	e.Seq, e.Fingerprint = cmp.Or(t.claim.ResultSeq, t.delivery.Seq), t.claim.Fingerprint
	// Not ours, where another account's worker died before it could publish: as a
	// control number, what that one bought would show that our lookup is blind.
	e.Account = cmp.Or(t.claim.ResultBy, t.claim.Account)
	e.Operator = t.claim.Operator
	if err := t.publish(hard, e); err != nil {
		return failure(StepInterrupted, err)
	}
	if err := t.claims.Remember(hard, t.claim, e.Payload); err != nil {
		return failure(StepInterrupted, err)
	}
	t.countDuplicate(e.Seq)
	if !ours && e.Seq != t.delivery.Seq {
		return done(StepDuplicate, nil)
	}
	t.metrics.results.WithLabelValues(string(e.Status)).Inc()
	t.metrics.orderDuration.Observe(time.Since(t.delivery.Stored).Seconds())
	return done(Step(e.Status), nil)
}

// publish stores an event.
func (t *task) publish(hard context.Context, e Event) error {
	return t.span.publish(hard, func(ctx context.Context, traceparent string) error {
		e.Trace = traceparent
		return t.publisher.Publish(ctx, e)
	})
}

// countDuplicate counts the delivery as a duplicate, unless its request, of
// sequence resultSeq, is the one that the result belongs to.
func (t *task) countDuplicate(resultSeq uint64) {
	if resultSeq != t.delivery.Seq {
		t.metrics.duplicates.Inc()
	}
}

// reject stores the request as a dead letter, and tells its publisher where it
// can be named. The order that the number may belong to is not touched.
func (t *task) reject(hard context.Context, reason Reason, why error) outcome {
	text := oneLine(why)
	if err := t.publisher.Bury(hard, DeadLetter{Delivery: t.delivery, Reason: reason, Error: cut(text, 1024), At: time.Now()}); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	t.metrics.deadLetters.WithLabelValues(string(reason)).Inc()
	if t.order.OutTradeNo == "" {
		return done(StepRejected, why)
	}
	r := t.result(Rejected, 0)
	r.Reason, r.Message = reason, cut(text, 1024)
	e := r.event(r.encode())
	sum := sha256.Sum256(t.delivery.Data)
	e.ID = r.OutTradeNo + ".rejected." + hex.EncodeToString(sum[:16])
	if err := t.publish(hard, e); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	t.metrics.results.WithLabelValues(string(Rejected)).Inc()
	return done(StepRejected, why)
}
