package worker

import (
	"errors"
	"time"

	"orderworker/dedupe"
)

// Step names how a delivery ended, for its log line and its span.
type Step string

// The steps. After succeeded, failed, rejected and duplicate the order request is
// acknowledged; after all others it is handed back.
const (
	StepSucceeded   Step = "succeeded"   // the final event is stored
	StepFailed      Step = "failed"      // the final event is stored
	StepRejected    Step = "rejected"    // never sent: a dead letter
	StepDuplicate   Step = "duplicate"   // its order has its result
	StepWaiting     Step = "waiting"     // certainly not bought; the next attempt comes later
	StepInDoubt     Step = "in_doubt"    // may have been bought; the next lookup comes later
	StepPaused      Step = "paused"      // nothing was sent: the account is paused, or an operator has paused
	StepBusy        Step = "busy"        // another delivery works on the order
	StepNotDue      Step = "not_due"     // the order waits, and was delivered too early
	StepReleased    Step = "released"    // the process stops, and nothing was sent
	StepInterrupted Step = "interrupted" // what is known could not be written down
)

// outcome is how a delivery ends. Only Worker.endDelivery acks or naks.
type outcome struct {
	step  Step
	ack   bool          // done: the stream may drop the message
	delay time.Duration // otherwise: deliver it again after this long
	err   error         // why; always on the log line
}

// acknowledge returns the outcome of a delivery that ends its order request.
func acknowledge(s Step, err error) outcome { return outcome{step: s, ack: true, err: err} }

// handBack returns the outcome of a delivery whose order request comes again
// after delay.
func handBack(s Step, delay time.Duration, err error) outcome {
	return outcome{step: s, delay: max(delay, time.Millisecond), err: err}
}

const (
	// repairDelay is the time after which an order is tried again that waits until
	// a person has repaired something.
	repairDelay = time.Minute
	// foreignDelay is the time after which an order is tried again whose open
	// attempt was made under another account.
	foreignDelay = time.Minute
)

var errForeign = errors.New("an attempt under another account may have gone through: the order waits until that account is used again, or for orderworker settle")

// failure returns the outcome of a delivery that a store has failed. Where trying
// again does not help, the order is handed back for a minute, so that it takes up
// none of the CONCURRENCY free slots until a person has repaired the store.
func failure(s Step, err error) outcome {
	if unrecoverable(err) {
		return handBack(StepInterrupted, repairDelay, err)
	}
	return handBack(s, 0, err)
}

// unrecoverable reports whether err is an error of a store that stays until a
// person has repaired something.
func unrecoverable(err error) bool {
	return errors.Is(err, dedupe.ErrBroken) || errors.Is(err, ErrRefused)
}

// endDelivery acknowledges a delivery or hands it back, counts its order among
// those in doubt or not, and logs the outcome.
func (w *Worker) endDelivery(t *task, o outcome) {
	var err error
	if o.ack {
		err = t.delivery.Msg.Ack()
	} else {
		err = t.delivery.Msg.NakWithDelay(o.delay)
	}
	var v dedupe.Verdict
	if t.claim != nil {
		v = t.claim.Verdict
	}
	switch {
	case v == dedupe.InDoubt && !o.ack, v == dedupe.Foreign:
		w.doubts.add(t.order.OutTradeNo, time.Now().Add(o.delay))
	case v.Owned(), v == dedupe.Done: // otherwise another delivery counts it
		w.doubts.remove(t.order.OutTradeNo)
	}
	w.log(t, o, err)
	t.span.finish(t, o)
}
