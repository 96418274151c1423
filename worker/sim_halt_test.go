package worker

import (
	"context"
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

func (s simHalts) Status() halt.Status {
	h := s.p.w.halted()
	return halt.Status{Lasts: h != nil && !h.unread}
}

// checkHalt is called where a process begins to write an intent, or to send.
func (w *simWorld) checkHalt(o *simOrder, what string) {
	if h := w.halted(); h != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.violate(o, "%s while an operator pauses (the bucket cannot be read: %v)", what, h.unread)
	}
}

// Halt is not asked: the process has simHalts.
func (s simStream) Halt(context.Context) (halt.State, error) { return halt.State{}, nil }
