package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Breaker holds orders back while the vendor is ill: after a run of calls that
// ended without an answer, or after a run of refusals with one code for many
// different orders without a success or another code between. One probe at a
// time, at growing intervals, finds out whether it is over. It is safe for
// concurrent use; its memory is one process's own.
//
// A run about one packageCode holds back the orders of that one only. If others
// are refused with the same code, all are held; if others are sold, the refusals
// are that packageCode's own trouble, and none is held.
//
// A gobreaker.CircuitBreaker does not fit: its open state has a fixed length
// where probes are to come at growing intervals, it knows one scope where a
// packageCode needs its own, it takes a call as a function where the slot and
// the intent lie between leave and call, and its callers are refused, not held.
//
// Source: design, section 7, "Breaker".
type Breaker struct {
	tell func(Change)

	mu      sync.Mutex
	health  *health
	changed chan struct{} // closed when those who wait should look again; nil: nobody does
}

// Change says that orders are held back now that were not, or that go on now.
type Change struct {
	Opened bool
	Paused bool   // some orders are held back
	Reason string // what an operator needs to know
}

// NewBreaker returns a breaker that is closed. Each change is told once, in
// order; tell must not call the breaker.
func NewBreaker(tell func(Change)) *Breaker {
	return &Breaker{tell: tell, health: newHealth()}
}

// Held says that orders of this packageCode are held back, and when to ask again.
type Held struct{ For time.Duration }

func (e *Held) Error() string { return "orders of this packageCode are held back" }

// Pass is the leave for one call. It ends with End or GiveBack.
type Pass struct {
	breaker     *Breaker
	packageCode string
	probe       *hold
	begun, over bool
}

// Enter waits until a call for an order may be made. The error is a *Held where
// the order should not wait here, else ctx's cause.
func (b *Breaker) Enter(ctx context.Context, packageCode string) (*Pass, error) {
	for {
		b.mu.Lock()
		probe, ok, away, wait := b.health.admit(packageCode, time.Now())
		if !ok && b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		switch {
		case ok:
			return &Pass{breaker: b, packageCode: packageCode, probe: probe}, nil
		case away > 0:
			return nil, &Held{away}
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("wait for the vendor: %w", context.Cause(ctx))
		}
	}
}

// update changes the health, tells of it, and wakes those who wait.
func (b *Breaker) update(change func(h *health, now time.Time)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b.health, time.Now())
	b.wake()
	for _, c := range b.health.changes {
		c.Paused = len(b.health.holds) > 0
		b.tell(c)
	}
	b.health.changes = nil
}

// wake is called with the lock held.
func (b *Breaker) wake() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// Begin says whether the call may still be made; if not, the pass is over, and
// Enter is to be asked again. Call it last before the intent: what was held back
// meanwhile must not be sent.
func (p *Pass) Begin() bool {
	b := p.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	p.begun = b.health.begin(p.packageCode, p.probe)
	if !p.begun {
		p.over = true
		b.wake()
	}
	return p.begun
}

// GiveBack returns a pass whose call was not made, or says nothing about the
// vendor. After End it does nothing.
func (p *Pass) GiveBack() {
	if p.over {
		return
	}
	p.over = true
	p.breaker.update(func(h *health, _ time.Time) { h.giveBack(p.begun, p.probe) })
}

// End takes the end of the call in: err is what Place returned. OwnCode says
// that a refusal is about this order, by what the settings say of its code.
// Blameless means that it is not: the vendor refuses everybody, so it is no
// attempt.
func (p *Pass) End(outTradeNo string, err error, ownCode bool) (blameless bool) {
	if p.over {
		return false
	}
	p.over = true
	c := call{outTradeNo: outTradeNo, packageCode: p.packageCode, probe: p.probe}
	c.ending, c.code = endingOf(err, ownCode)
	if e, ok := errors.AsType[*Error](err); ok && e.Class == Refused {
		c.text = fmt.Sprintf("refused with code %s: %s", e.Code, e.Message)
	} else if err != nil {
		c.text = err.Error()
	}
	p.breaker.update(func(h *health, now time.Time) { blameless = h.end(c, now) })
	return blameless
}

func endingOf(err error, ownCode bool) (as ending, code string) {
	if err == nil {
		return wasSold, ""
	}
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return silent, ""
	case e.Bought:
		return wasSold, ""
	case e.Class == Throttled:
		return tooFast, ""
	case e.Class == Unreachable:
		return unreached, ""
	case e.Class == Refused && ownCode:
		return refusedOne, e.Code
	case e.Class == Refused:
		return refusedAny, e.Code
	default:
		return silent, ""
	}
}

// MayLookUp says whether a lookup may be sent now. After lookups that ended
// without an answer they come at growing intervals.
func (b *Breaker) MayLookUp() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.health.mayLookUp(time.Now())
}

// LookedUp takes the end of a lookup in; found says that it showed an order that
// was bought.
func (b *Breaker) LookedUp(found bool, err error) {
	silent, text := false, ""
	if err != nil {
		class := ClassOf(err)
		silent, text = class == Ambiguous || class == Unreachable, err.Error()
	}
	b.update(func(h *health, now time.Time) { h.lookedUp(silent, found, text, now) })
}
