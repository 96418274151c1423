package worker

import (
	"context"
	"errors"
	"time"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// task is one delivery on its way to its outcome.
//
// Its methods have two contexts. An order may wait (for a slot, a connection, a
// lookup) until grace ends, which is up to 2 s after soft, the stop of the
// process. What must not be interrupted halfway goes on until hard ends.
type task struct {
	*Worker
	delivery *Delivery
	order    Order
	invalid  error // joins one *InvalidError for each rule that the payload breaks
	claim    *dedupe.Claim
	began    time.Time
	span     span

	// For the log line: the vendor's last answer, and the refusals after it.
	class         upstream.Class
	code, message string
	refusals      int
}

// receive decodes a delivery and starts its span. Deliveries are received in the
// order of the stream.
func (w *Worker) receive(d *Delivery) *task {
	t := &task{Worker: w, delivery: d, began: time.Now()}
	t.order, t.invalid = DecodeOrder(d.Data)
	t.span = w.startSpan(d, t.began)
	return t
}

// run takes the delivery to its outcome. Where another worker's write superseded
// the claim, it claims the order again.
func (t *task) run(grace, hard context.Context) outcome {
	if t.invalid != nil {
		return t.reject(hard, Invalid, t.invalid)
	}
	for redelivered := t.delivery.Count > 1; ; redelivered = true {
		// A new owner for each claim: under the old one, an intent of the claim
		// that was lost would look like a write of this claim.
		owner := t.claims.NewOwner()
		err := t.span.do(grace, "claim", func(ctx context.Context) (err error) {
			t.claim, err = t.claims.Claim(ctx, t.key(), owner, redelivered)
			return err
		})
		if err != nil {
			return failure(StepReleased, err)
		}
		t.refusals = t.claim.Refusals
		if why := t.claim.Replaced; why != "" {
			t.logger.Error().Str("out_trade_no", t.order.OutTradeNo).Str("why", why).
				Msg("unreadable Redis record replaced")
		}
		t.inFlight.setClaim(t)
		o := t.proceed(grace, hard)
		if !errors.Is(o.err, dedupe.ErrLost) {
			return o
		}
		t.doubts.remove(t.order.OutTradeNo) // the new owner counts it
	}
}

// key returns what the stores know the order request by.
func (t *task) key() dedupe.Order {
	return dedupe.Order{OutTradeNo: t.order.OutTradeNo, Fingerprint: t.order.Fingerprint(), Account: t.account,
		Seq: t.delivery.Seq, Stored: t.delivery.Stored, Expires: t.order.ExpiresAt}
}

// proceed does what the claim's verdict asks for: section 3 of the design.
func (t *task) proceed(grace, hard context.Context) outcome {
	switch c := t.claim; c.Verdict {
	case dedupe.Conflict:
		return t.reject(hard, Conflict, ConflictError(t.order.OutTradeNo, c.Fingerprint, c.UsedWith))
	case dedupe.Done:
		if c.ResultSeq != t.delivery.Seq { // otherwise it is the result's own request
			t.metrics.duplicates.Inc()
		}
		return acknowledge(StepDuplicate, nil)
	case dedupe.Final:
		return t.publishRecorded(hard, c.Result)
	case dedupe.Busy:
		return handBack(StepBusy, min(c.Left, time.Second), nil) // its owner may finish long before its lease ends
	case dedupe.Waiting:
		return handBack(StepNotDue, c.Left, nil)
	case dedupe.Foreign:
		return handBack(StepInDoubt, foreignDelay, errForeign)
	case dedupe.InDoubt:
		t.doubts.add(t.order.OutTradeNo, t.began.Add(time.Hour)) // counted while it is looked up; endDelivery sets the time
		return t.handleDoubt(grace, hard)
	default:
		return t.place(grace, hard)
	}
}

// release gives the claim back, of which nothing was sent, and hands the order
// request back.
func (t *task) release(hard context.Context, s Step, delay time.Duration, why error) outcome {
	if err := t.claims.Release(hard, t.claim); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	return handBack(s, delay, why)
}

// noteAnswer keeps how a request ended, for the log line. An answer by which the
// vendor declined to sell is kept in the store too, for a person who asks why the
// order waits or failed.
func (t *task) noteAnswer(err error) {
	t.class, t.code, t.message = classSuccess, "200", ""
	if err == nil {
		return
	}
	t.class, t.code = upstream.ClassOf(err), ""
	ending := dedupe.Ending{At: time.Now(), Attempt: t.claim.Attempt, Class: string(t.class), Message: cut(oneLine(err), 160)}
	e := upstreamError(err)
	if e == nil {
		t.claim.Note(ending)
		return
	}
	t.code, t.message = e.Code, e.Message
	if e.Code != "" {
		ending.Code, ending.Message = e.Code, cut(e.Message, 160)
	} else if e.Err != nil {
		ending.Message = cut(oneLine(e.Err), 160)
	}
	t.claim.Note(ending)
	switch e.Class {
	case upstream.Refused, upstream.Account, upstream.Throttled:
		t.claim.Last = dedupe.Answer{Class: string(e.Class), Code: e.Code, Message: e.Message}
	}
}

// upstreamError returns the *upstream.Error in err, or nil.
func upstreamError(err error) *upstream.Error {
	e, _ := errors.AsType[*upstream.Error](err)
	return e
}
