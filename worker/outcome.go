package worker

import (
	"context"
	"errors"
	"time"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// Step is what happened to a delivery, one word for the log line, the span and
// whoever greps.
type Step string

// The steps. After succeeded, failed, rejected and duplicate the request is
// acknowledged; after all others it is delivered again.
const (
	StepSucceeded   Step = "succeeded"   // final
	StepFailed      Step = "failed"      // final
	StepRejected    Step = "rejected"    // never sent: a dead letter
	StepDuplicate   Step = "duplicate"   // its order has its result
	StepWaiting     Step = "waiting"     // certainly not bought: tried again later
	StepInDoubt     Step = "in_doubt"    // may have been bought: the vendor is asked again later
	StepPaused      Step = "paused"      // nothing was sent: the vendor serves nobody of this account now
	StepBusy        Step = "busy"        // another delivery has the order
	StepNotDue      Step = "not_due"     // waiting, and came too early
	StepReleased    Step = "released"    // the process stops, and nothing was sent
	StepInterrupted Step = "interrupted" // what is known could not be written down
)

// outcome is how a delivery ends. Only Worker.answer acks or naks.
type outcome struct {
	step  Step
	ack   bool          // done: the stream may drop the message
	delay time.Duration // otherwise: deliver it again after this long
	err   error         // why; always on the log line
}

// done is the outcome of a delivery whose request needs no other.
func done(s Step, err error) outcome { return outcome{step: s, ack: true, err: err} }

// again is the outcome of a delivery whose request is to be delivered again.
func again(s Step, delay time.Duration, err error) outcome {
	return outcome{step: s, delay: max(delay, time.Millisecond), err: err}
}

// brokenDelay is the delay before an order that needs a person is tried again.
const brokenDelay = time.Minute

// failure is the outcome of a failed store call. An order whose record cannot be
// read, or whose event a store refuses for good, holds no slot: it is tried again
// each minute, until a person has mended it.
func failure(s Step, err error) outcome {
	if unhealable(err) {
		return again(StepInterrupted, brokenDelay, err)
	}
	return again(s, 0, err)
}

// foreignDelay is when an order is looked at again whose open attempt was made
// under another account.
const foreignDelay = time.Minute

var errForeign = errors.New("an attempt under another account may have gone through: the order waits until that account is used again, or for orderworker settle")

// unhealable says that trying again does not help.
func unhealable(err error) bool {
	return errors.Is(err, dedupe.ErrBroken) || errors.Is(err, ErrRefused)
}

// task is one delivery on its way to its outcome.
type task struct {
	*Worker
	delivery *Delivery
	order    Order
	invalid  error // which rules the payload breaks
	claim    *dedupe.Claim
	began    time.Time
	span     span

	// For the log line: of the vendor's last answer, and of the order after it.
	class         upstream.Class
	code, message string
	attempts      int
}

// receive begins with a delivery: it is decoded, in the order of the stream.
func (w *Worker) receive(d *Delivery) *task {
	t := &task{Worker: w, delivery: d, began: time.Now()}
	t.order, t.invalid = DecodeOrder(d.Data)
	t.span = w.follow(d, t.began)
	return t
}

// run takes the delivery to its outcome. Until soft ends it may wait; what has
// begun by then goes on until hard ends.
func (t *task) run(soft, hard context.Context) outcome {
	if t.invalid != nil {
		return t.reject(hard, Invalid, t.invalid)
	}
	for redelivered := t.delivery.redelivered(); ; redelivered = true {
		// A new owner each time: what the last one wrote is not this one's, its
		// intent least of all.
		owner := t.claims.NewOwner()
		err := t.span.within(soft, "claim", func(ctx context.Context) (err error) {
			t.claim, err = t.claims.Claim(ctx, t.key(), owner, redelivered)
			return err
		})
		if err != nil {
			return failure(StepReleased, err)
		}
		t.attempts = t.claim.Refusals
		if why := t.claim.Replaced; why != "" {
			t.logger.Error().Str("out_trade_no", t.order.OutTradeNo).Str("why", why).
				Msg("unreadable Redis record replaced")
		}
		t.inFlight.claimed(t)
		o := t.proceed(soft, hard)
		if !errors.Is(o.err, dedupe.ErrLost) {
			return o
		}
		t.doubts.remove(t.order.OutTradeNo) // whoever has it now counts it
	}
}

func (t *task) key() dedupe.Order {
	return dedupe.Order{OutTradeNo: t.order.OutTradeNo, Fingerprint: t.order.Fingerprint(), Account: t.account,
		Seq: t.delivery.Seq, Stored: t.delivery.Stored, Expires: t.order.ExpiresAt}
}

// proceed does what the claim's verdict asks for.
func (t *task) proceed(soft, hard context.Context) outcome {
	switch c := t.claim; c.Verdict {
	case dedupe.Conflict:
		return t.reject(hard, Conflict, &InvalidError{Field: "outTradeNo", Value: shown([]byte(t.order.OutTradeNo)),
			Rule: "it was already used with another " + differences(c.Fingerprint, c.UsedWith)})
	case dedupe.Done:
		t.countDuplicate(c.ResultSeq)
		return done(StepDuplicate, nil)
	case dedupe.Final:
		return t.publishAgain(hard, c.Result)
	case dedupe.Busy:
		return again(StepBusy, min(c.Left, time.Second), nil) // its holder is at work: look again soon
	case dedupe.Waiting:
		return again(StepNotDue, c.Left, nil)
	case dedupe.Foreign:
		return again(StepInDoubt, foreignDelay, errForeign)
	case dedupe.InDoubt:
		t.doubts.add(t.order.OutTradeNo, t.began.Add(time.Hour)) // it is counted here while it is looked up
		return t.resolve(soft, hard)
	default:
		return t.place(soft, hard)
	}
}

// release hands a claimed order back, nothing sent.
func (t *task) release(hard context.Context, s Step, delay time.Duration, why error) outcome {
	if err := t.claims.Release(hard, t.claim); err != nil {
		return failure(StepInterrupted, errors.Join(err, why))
	}
	return again(s, delay, why)
}

// noteAnswer keeps what the vendor said for the log line.
func (t *task) noteAnswer(err error) {
	t.class, t.code, t.message = classSuccess, "200", ""
	if err != nil {
		t.class = upstream.ClassOf(err)
		t.code, t.message = "", ""
	}
	if e := upstreamError(err); e != nil {
		t.code, t.message = e.Code, e.Message
	}
}

func upstreamError(err error) *upstream.Error {
	e, _ := errors.AsType[*upstream.Error](err)
	return e
}
