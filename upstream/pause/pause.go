package pause

import (
	"context"
	"fmt"
	"sync"
	"time"

	"orderworker/upstream"
)

// Status describes a pause, or that there is none.
type Status struct {
	Paused    bool
	Cause     string // "account", "refused" or "no_answer"
	Why       string // why the pause began, or ended
	Code      string // of the answer that began the pause, with its message; "" if there was none
	Message   string
	Since     time.Time
	NextProbe time.Time
	Probes    int
	Answers   upstream.Streak // to orders, whether there is a pause or not; an unclear one is bad
}

// Pause stops and restarts the sending of orders. It is safe for concurrent use.
type Pause struct {
	notify func(Status)
	due    chan struct{} // has a value when a lookup is due as the probe

	mu       sync.Mutex
	ended    *sync.Cond // a call has ended
	account  *account
	timer    *time.Timer
	number   string // of an order whose call failed: the lookup of a probe asks for it
	notified time.Time

	deciding int           // refusals that wait for a lookup to decide whether they count
	lookup   chan struct{} // a semaphore of one: at most one such lookup is made at a time
	decided  time.Time     // when the last such lookup ended
	ruling   ruling        // what it decided
}

// New returns a Pause that is not paused. It calls notify when a pause begins or ends
// and, while one lasts, each minute (see Remind). Notify must not call p.
func New(notify func(Status)) *Pause {
	p := &Pause{notify: notify, due: make(chan struct{}, 1), lookup: make(chan struct{}, 1), account: newAccount()}
	p.ended = sync.NewCond(&p.mu)
	p.timer = time.AfterFunc(time.Hour, p.signalDue)
	p.timer.Stop()
	return p
}

// Error says that orders are paused, and why.
type Error struct {
	For time.Duration // how long to hand the order back for
	Why string
}

func (e *Error) Error() string { return "orders are paused: " + e.Why }

// Permit allows one call for an order. It ends with End or GiveBack.
type Permit struct {
	pause       *Pause
	probe, over bool
}

// Enter returns a permit. It waits while too many calls are unanswered, and while a
// lookup finds out whether the account works. The error is an *Error if orders are
// paused, and otherwise wraps the cause of ctx.
func (p *Pause) Enter(ctx context.Context) (*Permit, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for waiting := false; ctx.Err() == nil; waiting = true {
		if p.deciding == 0 {
			ok, probe, handBack := p.account.admit(time.Now())
			switch {
			case ok:
				return &Permit{pause: p, probe: probe}, nil
			case handBack > 0:
				return nil, &Error{For: handBack, Why: p.account.why}
			}
		}
		if !waiting {
			defer context.AfterFunc(ctx, p.ended.Broadcast)()
		}
		p.ended.Wait()
	}
	return nil, fmt.Errorf("wait for the vendor: %w", context.Cause(ctx))
}

// Valid reports whether the call may still be made: a pause may have begun since
// Enter. Call it before connecting, and again before the intent is written.
func (t *Permit) Valid() bool {
	t.pause.mu.Lock()
	defer t.pause.mu.Unlock()
	return t.probe || t.pause.account.cause == noPause && t.pause.deciding == 0
}

// GiveBack ends a permit whose call was not made, or says nothing about the vendor.
// After End it does nothing.
func (t *Permit) GiveBack() {
	if !t.over {
		t.over = true
		t.pause.change(func(a *account, _ time.Time) { a.giveBack(t.probe) })
	}
}

// End ends a permit whose call was made: Place returned err. It reports whether a
// refusal counts against MAX_ATTEMPTS. If nothing shows that the account works, End
// calls lookUp to find out. Until that has returned, no other call begins, and other
// refusals wait for its result.
func (t *Permit) End(outTradeNo string, err error, lookUp func() error) (refusalCounts bool) {
	if t.over {
		return false
	}
	t.over = true
	p, v := t.pause, doesNotCount
	p.change(func(a *account, now time.Time) {
		if err != nil {
			p.number = outTradeNo
		}
		if v = a.ended(err, t.probe, now); v == needsLookup {
			p.deciding++
		}
	})
	if v == needsLookup {
		v = p.decide(time.Now(), err, lookUp)
	}
	return v == counts
}

// decide rules on a refusal that came at ended. Refusals that come while a lookup is
// being made share its result.
func (p *Pause) decide(ended time.Time, refusal error, lookUp func() error) (v ruling) {
	p.lookup <- struct{}{}
	defer func() { <-p.lookup }()
	if v = p.ruling; ended.After(p.decided) {
		err := lookUp()
		p.change(func(a *account, now time.Time) { v = a.ruleByLookup(refusal, err, now) })
		p.ruling, p.decided = v, time.Now()
	}
	p.change(func(*account, time.Time) { p.deciding-- })
	return v
}

// LookedUp notes the end of any lookup, which returned err.
func (p *Pause) LookedUp(err error) {
	p.change(func(a *account, now time.Time) { a.lookedUp(err, now) })
}

// Due returns a channel that has a value when a lookup is to be made as the probe.
// Receive it, then call Probe.
func (p *Pause) Due() <-chan struct{} { return p.due }

// Probe returns the number to look up; false: no lookup is due. Call LookedUp when the
// lookup has ended.
func (p *Pause) Probe() (outTradeNo string, ok bool) {
	p.change(func(a *account, now time.Time) { outTradeNo, ok = p.number, a.probeLookup(now) })
	return outTradeNo, ok
}

// ProbeNow makes a lookup due at once. Call it when something has changed that may end
// the pause, such as the account's secret.
func (p *Pause) ProbeNow() {
	p.change(func(a *account, now time.Time) {
		a.due, a.lookupNext, a.lookupWorked = now, true, false
		a.interval.Reset()
	})
}

// Remind notifies of a pause again if the last notification was a minute ago.
func (p *Pause) Remind(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.account.cause != noPause && now.Sub(p.notified) >= time.Minute {
		p.notified = now
		p.notify(p.status())
	}
}

// Status describes the pause, or that there is none.
func (p *Pause) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status()
}

func (p *Pause) status() Status {
	a := p.account
	s := Status{Paused: a.cause != noPause, Cause: string(a.cause), Why: a.why, Code: a.code, Message: a.message, Since: a.since, Probes: a.probes, Answers: a.answers}
	if s.Paused {
		s.NextProbe = a.due
	}
	return s
}

// change changes the account, notifies of a pause that begins or ends, wakes those
// that wait in Enter, and sets the timer of the next lookup.
func (p *Pause) change(do func(a *account, now time.Time)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, now := p.account, time.Now()
	was := a.cause
	do(a, now)
	if a.cause != was {
		p.notified = now
		p.notify(p.status())
	}
	switch {
	case a.cause == noPause:
		for range maxUnanswered - a.unanswered {
			p.ended.Signal()
		}
		p.timer.Stop()
	case a.lookupNext:
		p.ended.Broadcast() // those that wait are handed back
		p.timer.Reset(max(a.due.Sub(now), 0))
	default:
		p.ended.Broadcast()
		p.timer.Stop()
	}
}

// signalDue puts a value into Due, unless there is one.
func (p *Pause) signalDue() {
	select {
	case p.due <- struct{}{}:
	default:
	}
}
