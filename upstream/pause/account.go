package pause

import (
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"orderworker/upstream"
)

const (
	// maxSilent is how many calls in a row without an answer begin a pause. An
	// answer is one that says what became of the order.
	maxSilent = 5
	// maxUnanswered is how many permits are given until there is an answer: as many
	// calls can be sent to a vendor that has just fallen silent.
	maxUnanswered = 10
	// knownFor is for how long a sale or an answered lookup shows that the account
	// works.
	knownFor = time.Minute
	// MaxReturn is the longest time for which an order is handed back.
	MaxReturn = 5 * time.Second
	minReturn = 100 * time.Millisecond
)

// cause is why a pause began: the values of Status.Cause.
type cause string

const (
	noPause        cause = ""
	accountRefused cause = "account"   // a code or status about the account
	allRefused     cause = "refused"   // an order was refused with an unlisted code, and then a lookup too
	vendorSilent   cause = "no_answer" // calls end without an answer
)

// end is what the end of a call for an order says about the account.
type end int

const (
	sold      end = iota // bought
	answered             // the answer is about this order alone
	refused              // with an unlisted code: the order, or the account
	forbidden            // the answer is about the account
	throttled            // the answer says "too fast"
	silent               // no answer
)

// endOf returns the end of a call for which Place returned err.
func endOf(err error) end {
	e, ok := errors.AsType[*upstream.Error](err)
	switch {
	case err == nil:
		return sold
	case !ok:
		return silent
	case e.Bought:
		return sold
	case e.Exists, e.Class == upstream.Refused && e.Permanent:
		return answered
	case e.Class == upstream.Refused:
		return refused
	case e.Class == upstream.Account:
		return forbidden
	case e.Class == upstream.Throttled:
		return throttled
	default:
		return silent
	}
}

// ruling says whether a refusal counts against MAX_ATTEMPTS.
type ruling int

const (
	counts       ruling = iota // it is about the order
	doesNotCount               // it is about the account, or nobody knows
	needsLookup                // a lookup must decide
)

// account collects what the ends of calls say about the account, and decides when
// orders are paused. The time is passed in; only the interval of probes is random.
type account struct {
	unanswered  int             // permits given since the last answer
	silentInRow int             // calls in a row that ended without an answer
	worked      time.Time       // the last sale or answered lookup
	answers     upstream.Streak // to orders; an unclear one is bad; the pause does not depend on it

	cause        cause
	why          string // why the pause began, or ended
	code         string // of the answer that began it; "" if there was none
	message      string
	since        time.Time
	due          time.Time // of the next probe
	interval     *backoff.ExponentialBackOff
	probing      bool // an order is being sent as the probe
	lookupWorked bool // the last lookup since the pause began was answered
	lookupNext   bool // the next probe is a lookup
	probes       int
}

func newAccount() *account {
	return &account{interval: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(time.Second),
		backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0.2),
		backoff.WithMaxInterval(time.Minute),
		backoff.WithMaxElapsedTime(0))}
}

// admit reports whether an order may be sent, and whether it is then the probe. If
// not, the order is handed back for that time, or waits until a call has ended if
// the time is 0.
func (a *account) admit(now time.Time) (ok, probe bool, handBack time.Duration) {
	switch {
	case a.cause == noPause && a.unanswered < maxUnanswered:
		a.unanswered++
		return true, false, 0
	case a.cause == noPause:
		return false, false, 0
	case a.probing || a.lookupNext || now.Before(a.due):
		return false, false, min(max(a.due.Sub(now), minReturn), MaxReturn)
	}
	a.unanswered++
	a.probing = true
	a.probes++
	return true, true, 0
}

// giveBack takes back a permit whose call was not made, or says nothing about the
// vendor.
func (a *account) giveBack(probe bool) {
	a.unanswered = max(0, a.unanswered-1)
	if probe {
		a.probing = false // the probe stays due: the next order is it
	}
}

func (a *account) knownToWork(now time.Time) bool {
	return !a.worked.IsZero() && now.Sub(a.worked) < knownFor
}

// ended notes the end of a call for an order, for which Place returned err, and rules
// on the refusal if it is one.
func (a *account) ended(err error, probe bool, now time.Time) ruling {
	e := endOf(err)
	if probe {
		a.probing = false
		a.postpone(now)
	}
	if e == silent {
		a.endedSilently(err, now)
		return doesNotCount
	}
	a.unanswered, a.silentInRow, a.answers = 0, 0, a.answers.AfterGood(now)
	if a.cause == vendorSilent && e != forbidden {
		a.stop("the vendor answers again")
	}
	switch e {
	case sold:
		a.worked = now
		a.stop("an order was sold")
	case answered:
		if probe && a.cause != noPause { // the interval is not reset: nothing shows that the account works
			a.cause, a.why = noPause, "an order was answered for its own sake"
		}
		return counts
	case forbidden:
		if a.cause != accountRefused {
			a.start(accountRefused, "the vendor refuses the account", err, now)
		}
	case refused:
		return a.ruleOnRefusal(probe, now)
	}
	return doesNotCount
}

// endedSilently notes a call without an answer.
func (a *account) endedSilently(err error, now time.Time) {
	a.silentInRow++
	a.answers = a.answers.AfterBad(upstream.Brief(err), now)
	if a.silentInRow >= maxSilent && a.cause == noPause {
		a.start(vendorSilent, fmt.Sprintf("%d calls in a row ended without an answer that says what became of the order, the last: %v", a.silentInRow, err), err, now)
	}
}

// ruleOnRefusal rules on a refusal with a code that is in no list.
func (a *account) ruleOnRefusal(probe bool, now time.Time) ruling {
	switch {
	case probe && a.lookupWorked: // the account works, as the lookup shows: such refusals are the orders' own
		a.stop("lookups work, so refusals are the orders' own")
		return doesNotCount
	case probe, a.cause != noPause:
		return doesNotCount
	case a.knownToWork(now):
		return counts
	}
	return needsLookup
}

// ruleByLookup rules on a refusal by the lookup that was made because of it, which
// returned err.
func (a *account) ruleByLookup(refusal, err error, now time.Time) ruling {
	a.lookedUp(err, now)
	switch {
	case err == nil:
		return counts
	case refusedLookup(err) && a.cause == noPause:
		a.start(allRefused, fmt.Sprintf("an order was refused with a code that is in no list, and a lookup is refused too: %v", err), refusal, now)
	}
	return doesNotCount
}

// refusedLookup reports whether a lookup was refused, and not just unanswered.
func refusedLookup(err error) bool {
	class := upstream.ClassOf(err)
	return class == upstream.Refused || class == upstream.Account
}

// lookedUp notes the end of any lookup. Failing lookups never start a pause.
func (a *account) lookedUp(err error, now time.Time) {
	if err != nil {
		a.lookupWorked = false
		return
	}
	a.worked = now
	if a.silentInRow < 2 { // otherwise it answers lookups, and does not sell
		a.answers = a.answers.AfterGood(now)
	}
	switch {
	case a.cause == allRefused:
		a.stop("a lookup works again")
	case a.cause != noPause && !a.lookupWorked:
		a.lookupNext = false
		a.due = now // an order is the next probe, at once: it may show what the lookup cannot
	}
	a.lookupWorked = a.cause != noPause
}

// probeLookup reports whether a lookup is to be made now as the probe.
func (a *account) probeLookup(now time.Time) bool {
	if a.cause == noPause || !a.lookupNext || now.Before(a.due) {
		return false
	}
	a.probes++
	a.postpone(now)
	return true
}

// postpone sets when the next probe is due, and what it is: a lookup and an order in
// turn, and always an order while the last lookup was answered.
func (a *account) postpone(now time.Time) {
	a.due = now.Add(a.interval.NextBackOff())
	a.lookupNext = !a.lookupNext && !a.lookupWorked
}

// start begins a pause, or changes the cause of one.
func (a *account) start(c cause, why string, because error, now time.Time) {
	if a.cause == noPause {
		a.since, a.probes = now, 0
	}
	a.cause, a.why, a.lookupWorked = c, why, false
	a.code, a.message = "", ""
	if e, ok := errors.AsType[*upstream.Error](because); ok {
		a.code, a.message = e.Code, e.Message
	}
	a.lookupNext = false
	a.postpone(now)
}

// stop ends a pause, if there is one. It resets the interval: the first probe of the
// next pause comes after a second.
func (a *account) stop(why string) {
	if a.cause != noPause {
		a.cause, a.why, a.unanswered = noPause, why, 0
	}
	a.interval.Reset()
}
