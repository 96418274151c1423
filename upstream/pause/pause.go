package pause

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Status describes a pause, or that there is none.
type Status struct {
	Paused    bool
	Cause     string // "account", "refused" or "no_answer"
	Why       string // it began, or ended
	Code      string // of the answer that began it, and its message; "" where there was none
	Message   string
	Since     time.Time
	NextProbe time.Time
	Probes    int
}

// Pause stops and restarts the sending of orders. It is safe for concurrent use.
type Pause struct {
	tell func(Status)
	due  chan struct{} // a lookup is due as the probe

	mu      sync.Mutex
	ended   *sync.Cond // somebody's call has ended
	account *account
	timer   *time.Timer
	number  string // an order that was refused: what a probe asks for
	told    time.Time

	deciding int           // refusals that wait for a lookup to decide whether they count
	lookup   chan struct{} // a semaphore of one: at most one such lookup is made at a time
	asked    time.Time     // when the last such lookup ended
	verdict  verdict       // what it decided
}

// New returns a Pause that does not pause. Tell gets each change and, while a
// pause lasts, the same again each minute (see Remind); it must not call p.
func New(tell func(Status)) *Pause {
	p := &Pause{tell: tell, due: make(chan struct{}, 1), lookup: make(chan struct{}, 1), account: newAccount()}
	p.ended = sync.NewCond(&p.mu)
	p.timer = time.AfterFunc(time.Hour, p.signalDue)
	p.timer.Stop()
	return p
}

// Error says that orders are paused.
type Error struct {
	For time.Duration // how long to hand the order back for
	Why string
}

func (e *Error) Error() string { return "orders are paused: " + e.Why }

// Permit is the leave for one call. It ends with End or GiveBack.
type Permit struct {
	pause       *Pause
	probe, over bool
}

// Enter waits until a call for an order may be made: while many calls are
// unanswered, and while a lookup finds out whether the account works. The error
// is an *Error where orders are paused, else ctx's cause.
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

// Valid reports whether the call may still be made; a pause may have begun since
// Enter. Call it before connecting, and last before the intent.
func (t *Permit) Valid() bool {
	t.pause.mu.Lock()
	defer t.pause.mu.Unlock()
	return t.probe || t.pause.account.cause == noPause && t.pause.deciding == 0
}

// GiveBack returns a permit whose call was not made, or says nothing about the
// vendor. After End it does nothing.
func (t *Permit) GiveBack() {
	if !t.over {
		t.over = true
		t.pause.change(func(a *account, _ time.Time) { a.giveBack(t.probe) })
	}
}

// End takes in how the call ended: err is what Place returned. It says whether a
// refusal is one of the order's attempts. Where nothing shows that the account
// works, it makes a lookup to find out, with lookUp; while that is under way no
// other call begins, and other refusals wait for its answer.
func (t *Permit) End(outTradeNo string, err error, lookUp func() error) (attempt bool) {
	if t.over {
		return false
	}
	t.over = true
	p, v := t.pause, notItsOwn
	p.change(func(a *account, now time.Time) {
		if err != nil {
			p.number = outTradeNo
		}
		if v = a.ended(err, t.probe, now); v == ask {
			p.deciding++
		}
	})
	if v == ask {
		v = p.judge(time.Now(), err, lookUp)
	}
	return v == counts
}

// judge says what a refusal that came at ended means. Refusals that come while a
// lookup is under way share its answer.
func (p *Pause) judge(ended time.Time, refusal error, lookUp func() error) (v verdict) {
	p.lookup <- struct{}{}
	defer func() { <-p.lookup }()
	if v = p.verdict; ended.After(p.asked) {
		err := lookUp()
		p.change(func(a *account, now time.Time) { v = a.judged(refusal, err, now) })
		p.verdict, p.asked = v, time.Now()
	}
	p.change(func(*account, time.Time) { p.deciding-- })
	return v
}

// LookedUp takes the end of any lookup in.
func (p *Pause) LookedUp(err error) {
	p.change(func(a *account, now time.Time) { a.lookedUp(err, now) })
}

// Due has a value when a lookup is to be made as the probe: take it, then call
// Probe.
func (p *Pause) Due() <-chan struct{} { return p.due }

// Probe returns the number to look up, where a lookup is due as the probe. Tell
// LookedUp how it ended.
func (p *Pause) Probe() (outTradeNo string, ok bool) {
	p.change(func(a *account, now time.Time) { outTradeNo, ok = p.number, a.probeLookup(now) })
	return outTradeNo, ok
}

// ProbeNow makes a lookup due at once: something has changed that may end the
// pause, such as the account's secret.
func (p *Pause) ProbeNow() {
	p.change(func(a *account, now time.Time) {
		a.due, a.lookupNext, a.lookupWorked = now, true, false
		a.interval.Reset()
	})
}

// Remind tells again of a pause that was told of a minute ago.
func (p *Pause) Remind(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.account.cause != noPause && now.Sub(p.told) >= time.Minute {
		p.told = now
		p.tell(p.status())
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
	s := Status{Paused: a.cause != noPause, Cause: string(a.cause), Why: a.why, Code: a.code, Message: a.message, Since: a.since, Probes: a.probes}
	if s.Paused {
		s.NextProbe = a.due
	}
	return s
}

// change changes the account, tells of a pause that begins or ends, lets as many
// go on as may, and sets the timer of the next lookup.
func (p *Pause) change(do func(a *account, now time.Time)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, now := p.account, time.Now()
	was := a.cause
	do(a, now)
	if a.cause != was {
		p.told = now
		p.tell(p.status())
	}
	switch {
	case a.cause == noPause:
		for range maxUnanswered - a.unanswered {
			p.ended.Signal()
		}
		p.timer.Stop()
	case a.lookupNext:
		p.ended.Broadcast() // whoever waits is to be handed back
		p.timer.Reset(max(a.due.Sub(now), 0))
	default:
		p.ended.Broadcast()
		p.timer.Stop()
	}
}

// signalDue makes Due ready, unless it already is.
func (p *Pause) signalDue() {
	select {
	case p.due <- struct{}{}:
	default:
	}
}
