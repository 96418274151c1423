package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/worker/halt"
)

// simHalt is a time in which an operator pauses, or the bucket cannot be read.
type simHalt struct {
	from, to time.Duration
	unread   bool
}

// halted is what stops the sending now; nil: nothing does.
func (w *simWorld) halted() *simHalt {
	at := time.Since(w.begun)
	for i := range w.halts {
		if h := &w.halts[i]; h.from <= at && at < h.to {
			return h
		}
	}
	return nil
}

// simHalts is the operator's word as one process knows it: at once, so that an intent or
// a request that comes after it shows that the process did not look.
type simHalts struct{ p *simProc }

func (s simHalts) Run(context.Context) {}

func (s simHalts) Enter(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return s.Allows()
}

func (s simHalts) Allows() error {
	switch h := s.p.w.halted(); {
	case h == nil:
		return nil
	case h.unread:
		return &halt.Error{For: time.Second, Why: "simulated: the bucket cannot be read"}
	default:
		return &halt.Error{For: halt.MaxReturn, Why: "simulated: an operator pauses"}
	}
}

func (s simHalts) Until() (time.Time, error) { return time.Now().Add(simWord), s.Allows() }

// simWord is for how long the operator's word allows a request to be written.
const simWord = 900 * time.Millisecond

func (s simHalts) Status() halt.Status {
	switch h := s.p.w.halted(); {
	case h == nil:
		return halt.Status{}
	case h.unread:
		return halt.Status{Err: s.Allows()}
	}
	return halt.Status{Lasts: true}
}

// checkHalt is called where a process begins to write an intent, or to send.
func (w *simWorld) checkHalt(o *simOrder, what string) {
	if h := w.halted(); h != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.violate(o, "%s while an operator pauses (the bucket cannot be read: %v)", what, h.unread)
	}
}

// checkSendBy is called where a process begins to send. It may be frozen before it writes.
func (w *simWorld) checkSendBy(o *simOrder, sendBy time.Time) {
	if left := time.Until(sendBy); left > simWord {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.violate(o, "may be sent in %v, however long ago an operator was asked", left)
	}
}

// Halt is not asked: the process has simHalts.
func (s simStream) Halt(context.Context) (halt.State, error) { return halt.State{}, nil }

// An operator's pause, or a bucket that cannot be read, that begins at any moment of an
// order's life: no intent is written and nothing is sent from then on, no attempt is
// spent, and the order is bought when it is over. The same while the journal's leader is
// away, so that the intent is tried again and again.
func TestSimHaltAtEachMoment(t *testing.T) {
	simAlone(t)
	const arrives = 2 * time.Second
	for _, journalAway := range []bool{false, true} {
		for after := time.Duration(0); after < 30*time.Millisecond; after += 250 * time.Microsecond {
			synctest.Test(t, func(t *testing.T) {
				c := simConfig{
					seed: 7, slots: 1, concurrency: 4, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(),
					orders: []simSpec{{arrives: arrives, answers: []simAnswer{buys}}},
					halts:  []simHalt{{from: arrives + after, to: arrives + after + 20*time.Second, unread: after%500*time.Microsecond == 0}},
				}
				if journalAway {
					c.fault = func(pt simPoint) simFault {
						if pt.op == opIntent && pt.at < arrives+3*time.Second {
							return failBefore
						}
						return fine
					}
				}
				w := simulate(c)
				if len(w.violations) > 0 {
					t.Errorf("%v after it arrived, the journal away: %v: %s", after, journalAway, w.report())
				}
				if calls := len(w.orders[0].book.sends); calls != 1 {
					t.Errorf("%v after it arrived: %d calls, want 1", after, calls)
				}
			})
		}
	}
}
