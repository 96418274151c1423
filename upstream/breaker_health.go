package upstream

import (
	"fmt"
	"maps"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// lifelessMost is how many calls in a row may end without an answer that
	// says what became of the order.
	lifelessMost = 5
	// refusedMost is how many orders in a row may be refused with one code.
	refusedMost = 20
	// unprovenMost is how many calls may have begun, or be about to, since the
	// last answer: what a vendor that falls silent can still be hit with.
	unprovenMost = 10
	// returnGap keeps the orders that come back to a held packageCode from
	// crowding out all others.
	returnGap = 5 * time.Millisecond
	// ownMost bounds what is remembered of packageCodes that are refused for
	// their own sake.
	ownMost = 1000
)

// health is what the ends of calls say about the vendor. It is pure but for the
// chance in the interval of probes: the time is passed in.
type health struct {
	lifeless run             // ends without an answer
	refused  run             // refusals with one code, of different orders
	code     string          // that code
	numbers  map[string]bool // those orders

	holds map[string]*hold // by packageCode
	own   map[ownTrouble]bool
	pace  *backoff.ExponentialBackOff // of a hold on everything: it grows until a success, over openings

	idle, unproven int // calls that are about to begin, and that began since the last answer

	lookupPace *backoff.ExponentialBackOff
	lookupDue  time.Time

	changes []Change // not told yet
}

// everything is the key of a hold on all orders.
const everything = ""

// run is a row of ends of one kind.
type run struct {
	n           int
	packageCode string // of them all; everything where there are several, or it is not about orders
}

func (r *run) add(packageCode string) {
	if r.n > 0 && r.packageCode != packageCode {
		packageCode = everything
	}
	r.packageCode = packageCode
	r.n++
}

// ownTrouble is a packageCode that is refused while others are sold.
type ownTrouble struct{ packageCode, code string }

// hold keeps orders back until a probe ends well.
type hold struct {
	code    string // of the refusals; "" where no answer came
	since   time.Time
	pace    *backoff.ExponentialBackOff
	wait    time.Duration // the interval now
	due     time.Time     // of the next probe
	probing bool
	probes  int
	back    time.Time // when the last order that was sent away comes back
}

// probePace grows from 1 s to a minute.
func probePace() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(time.Second),
		backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0.2),
		backoff.WithMaxInterval(time.Minute),
		backoff.WithMaxElapsedTime(0))
}

func newHold(code string, now time.Time, pace *backoff.ExponentialBackOff) *hold {
	h := &hold{code: code, since: now, pace: pace}
	h.later(now)
	return h
}

// later puts the next probe off.
func (h *hold) later(now time.Time) {
	h.wait = h.pace.NextBackOff()
	h.due = now.Add(h.wait)
}

// take makes the caller the probe, if one is due.
func (h *hold) take(now time.Time) bool {
	if h.probing || now.Before(h.due) {
		return false
	}
	h.probing = true
	h.probes++
	return true
}

// sendAway says when an order should come back: not before the next probe, and
// after all that were sent away before it.
func (h *hold) sendAway(now time.Time) time.Duration {
	next := h.due
	if h.probing {
		next = now.Add(h.wait)
	}
	if h.back.Before(next) {
		h.back = next
	}
	h.back = h.back.Add(returnGap)
	return h.back.Sub(now)
}

func newHealth() *health {
	return &health{
		numbers: make(map[string]bool), holds: make(map[string]*hold), own: make(map[ownTrouble]bool),
		pace: probePace(), lookupPace: probePace(),
	}
}

// admit asks for one call. It is granted where ok is true, as the probe of a
// hold where probe is set. Else the order is to be sent away for a while, or
// where that is 0, to wait here: for a change, and for wait at most.
func (h *health) admit(packageCode string, now time.Time) (probe *hold, ok bool, away, wait time.Duration) {
	all, one := h.holds[everything], h.holds[packageCode]
	switch {
	case all != nil:
		if !all.take(now) {
			wait = untilChange
			if !all.probing {
				wait = max(all.due.Sub(now), time.Millisecond)
			}
			return nil, false, 0, wait
		}
		probe = all
	case one != nil:
		if !one.take(now) {
			return nil, false, one.sendAway(now), 0
		}
		probe = one
	case h.idle+h.unproven >= unprovenMost:
		return nil, false, 0, untilChange
	}
	h.idle++
	return probe, true, 0, 0
}

// begin says whether a call that was granted may still begin.
func (h *health) begin(packageCode string, probe *hold) bool {
	h.idle--
	if probe == nil && (h.holds[everything] != nil || h.holds[packageCode] != nil) {
		return false
	}
	if probe == nil { // a probe is counted by its interval
		h.unproven++
	}
	return true
}

// giveBack returns a call that ended before the vendor had any part in it.
func (h *health) giveBack(begun bool, probe *hold) {
	switch {
	case !begun:
		h.idle--
	case probe == nil:
		h.unproven = max(0, h.unproven-1)
	}
	if probe != nil {
		probe.probing = false // due as it was: the next order takes its place
	}
}

// untilChange is a wait that ends with a change.
const untilChange = time.Hour

// ending is what the end of a call says about the vendor.
type ending int

const (
	wasSold    ending = iota
	tooFast           // it lives, no more
	refusedOne        // with a code that is about this order, by what the settings say
	refusedAny        // with any other code
	silent            // no answer that says what became of the order
	unreached         // the same, and it is not about the packageCode
)

// call is an order's call that has ended.
type call struct {
	outTradeNo, packageCode string
	ending                  ending
	code                    string // of a refusal
	text                    string // for people
	probe                   *hold
}

// end takes the end of a call in. Blameless says that a refusal is the vendor's
// trouble, not the order's: it is no attempt.
func (h *health) end(c call, now time.Time) (blameless bool) {
	if c.probe != nil {
		c.probe.probing = false
	}
	if c.ending == silent || c.ending == unreached {
		if c.probe != nil {
			c.probe.later(now)
		}
		packageCode := c.packageCode
		if c.ending == unreached {
			packageCode = everything
		}
		h.silence(packageCode, c.text, now)
		return false
	}
	h.alive(c.packageCode, now)
	switch c.ending {
	case wasSold:
		h.success(c.packageCode, now)
	case tooFast:
		if c.probe != nil {
			c.probe.later(now)
		}
	case refusedOne:
		h.forget()
		h.liftProbed(c.probe, now)
	case refusedAny:
		return h.refusal(c, now)
	}
	return false
}

// alive notes that an answer came: silence is over.
func (h *health) alive(packageCode string, now time.Time) {
	h.unproven = 0
	h.lifeless = run{}
	for _, scope := range []string{everything, packageCode} {
		if hold := h.holds[scope]; hold != nil && hold.code == "" {
			h.lift(scope, "the vendor answers again", now)
		}
	}
}

// forget ends the run of refusals.
func (h *health) forget() {
	h.refused, h.code = run{}, ""
	clear(h.numbers)
}

// success opens the door. Where one packageCode is sold, the refusals of another
// are its own: its orders go on, and spend their attempts.
func (h *health) success(packageCode string, now time.Time) {
	h.forget()
	h.pace.Reset()
	h.lift(everything, "an order was sold", now)
	h.lift(packageCode, "an order was sold", now)
	maps.DeleteFunc(h.own, func(t ownTrouble, _ bool) bool { return t.packageCode == packageCode })
	for other, hold := range h.holds {
		if hold.code == "" {
			continue
		}
		if len(h.own) >= ownMost {
			clear(h.own)
		}
		h.own[ownTrouble{other, hold.code}] = true
		h.lift(other, "others are sold, so the refusals are its own and count as attempts", now)
	}
}

func (h *health) refusal(c call, now time.Time) (blameless bool) {
	if h.own[ownTrouble{c.packageCode, c.code}] {
		h.liftProbed(c.probe, now)
		return false
	}
	if c.probe != nil && c.probe.code == c.code {
		c.probe.later(now)
	} else {
		h.liftProbed(c.probe, now) // an answer about this order
	}
	for scope, hold := range h.holds {
		switch {
		case hold.code != c.code:
		case scope != everything && scope != c.packageCode && h.holds[everything] == nil:
			// So it is not about that packageCode.
			h.hold(everything, c.code, fmt.Sprintf("orders of packageCode %s too are %s", c.packageCode, c.text), now)
			return true
		case scope == everything || scope == c.packageCode:
			return true
		}
	}
	if h.code != c.code {
		h.forget()
		h.code = c.code
	}
	if h.numbers[c.outTradeNo] {
		return false
	}
	h.numbers[c.outTradeNo] = true
	h.refused.add(c.packageCode)
	if h.refused.n >= refusedMost {
		h.hold(h.refused.packageCode, c.code, fmt.Sprintf("%d orders in a row were %s", h.refused.n, c.text), now)
		h.forget()
	}
	return false
}

func (h *health) silence(packageCode, text string, now time.Time) {
	h.lifeless.add(packageCode)
	if h.lifeless.n >= lifelessMost {
		h.unproven = 0 // the hold stands for them; who is not held may go on
		h.hold(h.lifeless.packageCode, "", fmt.Sprintf("%d calls in a row ended without an answer that says what became of the order, the last: %s", h.lifeless.n, text), now)
	}
}

// hold keeps the orders of a packageCode back, or everything: then that takes
// the place of holds on packageCodes for the same reason.
func (h *health) hold(scope, code, why string, now time.Time) {
	if h.holds[scope] != nil || h.holds[everything] != nil {
		return
	}
	pace := h.pace
	if scope != everything {
		pace = probePace()
		why += "; all of packageCode " + scope + ", only its orders are held back"
	} else {
		maps.DeleteFunc(h.holds, func(_ string, one *hold) bool { return one.code == code })
		why += "; all orders are held back"
	}
	h.holds[scope] = newHold(code, now, pace)
	h.changes = append(h.changes, Change{Opened: true, Reason: why})
}

func (h *health) lift(scope, why string, now time.Time) {
	one := h.holds[scope]
	if one == nil {
		return
	}
	delete(h.holds, scope)
	what := "orders go on"
	if scope != everything {
		what = "orders of packageCode " + scope + " go on"
	}
	h.changes = append(h.changes, Change{Reason: fmt.Sprintf("%s; %s after %v and %d probes", why, what, now.Sub(one.since).Round(time.Millisecond), one.probes)})
}

// liftProbed lifts the hold that a probe was for.
func (h *health) liftProbed(probe *hold, now time.Time) {
	for scope, one := range h.holds {
		if one == probe {
			h.lift(scope, "another answer came", now)
		}
	}
}

// mayLookUp says whether a lookup may be sent now.
func (h *health) mayLookUp(now time.Time) bool { return !now.Before(h.lookupDue) }

// lookedUp takes the end of a lookup in. Silence of lookups alone holds no order
// back, but adds to that of orders. An answer says nothing about orders, unless
// it shows one that was bought.
func (h *health) lookedUp(silent, found bool, text string, now time.Time) {
	if silent {
		h.lookupDue = now.Add(h.lookupPace.NextBackOff())
		if h.lifeless.n > 0 {
			h.silence(everything, text, now)
		}
		return
	}
	h.lookupPace.Reset()
	h.lookupDue = time.Time{}
	if found {
		h.alive(everything, now)
		for scope, one := range h.holds {
			if one.code == "" {
				h.lift(scope, "a lookup found orders that were bought", now)
			}
		}
	}
}
