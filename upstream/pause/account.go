package pause

import (
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"orderworker/upstream"
)

const (
	// maxSilent is how many calls in a row may end without an answer that says
	// what became of the order.
	maxSilent = 5
	// maxUnanswered is how many calls may have begun, or be about to, since the
	// last answer: what a vendor that falls silent can still be sent.
	maxUnanswered = 10
	// knownFor is how long a sale or an answered lookup shows that the account
	// works.
	knownFor = time.Minute
	// MaxReturn is the longest that an order is handed back for.
	MaxReturn = 5 * time.Second
	minReturn = 100 * time.Millisecond
)

// cause is what a pause is about.
type cause string

const (
	noPause        cause = ""
	accountRefused cause = "account"   // a code or status about the account
	allRefused     cause = "refused"   // an unlisted code, and a lookup is refused too
	vendorSilent   cause = "no_answer" // calls end without an answer
)

// end is how a call for an order ended, as far as the account goes.
type end int

const (
	sold      end = iota // bought
	about                // an answer about this order alone
	refused              // an unlisted code: the order's own, or the account's
	forbidden            // about the account
	tooFast              // throttled
	silent               // no answer that says what became of the order
)

// endOf reads what Place returned.
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
		return about
	case e.Class == upstream.Refused:
		return refused
	case e.Class == upstream.Account:
		return forbidden
	case e.Class == upstream.Throttled:
		return tooFast
	default:
		return silent
	}
}

// verdict says whether a refusal is one of the order's attempts.
type verdict int

const (
	counts    verdict = iota // it is the order's own
	notItsOwn                // it is not, or nobody knows
	ask                      // a lookup must say
)

// account is what the ends of calls say about the account. It is pure but for
// the chance in the interval of probes: the time is passed in.
type account struct {
	unanswered  int // calls that were let through since the last answer
	silentInRow int // ends without an answer, in a row
	worked      time.Time

	cause        cause
	why          string // it began, or ended
	code         string // of the answer that began it; "" where there was none
	message      string
	since        time.Time
	due          time.Time // of the next probe
	interval     *backoff.ExponentialBackOff
	probing      bool // an order is the probe
	lookupWorked bool // the last lookup since the pause began
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

// admit says whether an order may be sent, as the probe or not. If not, it is to
// be handed back for a while, or where that is 0 to wait until somebody's call
// ends.
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

// giveBack takes back the leave for a call that was not made, or that says
// nothing about the vendor.
func (a *account) giveBack(probe bool) {
	a.unanswered = max(0, a.unanswered-1)
	if probe {
		a.probing = false // due as it was: the next order takes its place
	}
}

func (a *account) knownToWork(now time.Time) bool {
	return !a.worked.IsZero() && now.Sub(a.worked) < knownFor
}

// ended takes the end of a call for an order in: err is what Place returned.
func (a *account) ended(err error, probe bool, now time.Time) verdict {
	e := endOf(err)
	if probe {
		a.probing = false
		a.later(now)
	}
	if e == silent {
		a.silentInRow++
		if a.silentInRow >= maxSilent && a.cause == noPause {
			a.start(vendorSilent, fmt.Sprintf("%d calls in a row ended without an answer that says what became of the order, the last: %v", a.silentInRow, err), err, now)
		}
		return notItsOwn
	}
	a.unanswered, a.silentInRow = 0, 0
	if a.cause == vendorSilent && e != forbidden {
		a.stop("the vendor answers again")
	}
	switch e {
	case sold:
		a.worked = now
		a.stop("an order was sold")
	case about:
		if probe && a.cause != noPause { // its interval stays: nothing shows that the account works
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
	return notItsOwn
}

// ruleOnRefusal decides whether a refusal with a code that is in no list counts.
func (a *account) ruleOnRefusal(probe bool, now time.Time) verdict {
	switch {
	case probe && a.lookupWorked: // the account works, as the lookup shows: such refusals are the orders' own
		a.stop("lookups work, so refusals are the orders' own")
		return notItsOwn
	case probe, a.cause != noPause:
		return notItsOwn
	case a.knownToWork(now):
		return counts
	}
	return ask
}

// judged takes in what the lookup said that was made because of a refusal: err
// is what it returned.
func (a *account) judged(refusal, err error, now time.Time) verdict {
	a.lookedUp(err, now)
	switch {
	case err == nil:
		return counts
	case saysNo(err) && a.cause == noPause:
		a.start(allRefused, fmt.Sprintf("an order was refused with a code that is in no list, and a lookup is refused too: %v", err), refusal, now)
	}
	return notItsOwn
}

// saysNo tells a lookup that was refused from one that got no clear answer.
func saysNo(err error) bool {
	class := upstream.ClassOf(err)
	return class == upstream.Refused || class == upstream.Account
}

// lookedUp takes the end of any lookup in. Failing lookups never start a pause.
func (a *account) lookedUp(err error, now time.Time) {
	if err != nil {
		a.lookupWorked = false
		return
	}
	a.worked = now
	switch {
	case a.cause == allRefused:
		a.stop("a lookup works again")
	case a.cause != noPause && !a.lookupWorked:
		a.lookupNext = false
		a.due = now // an order may show at once what the lookup cannot
	}
	a.lookupWorked = a.cause != noPause
}

// probeLookup says whether a lookup is to be made as the probe now.
func (a *account) probeLookup(now time.Time) bool {
	if a.cause == noPause || !a.lookupNext || now.Before(a.due) {
		return false
	}
	a.probes++
	a.later(now)
	return true
}

// later puts the next probe off. Lookups and orders take turns, but orders alone
// go on where the last lookup worked.
func (a *account) later(now time.Time) {
	a.due = now.Add(a.interval.NextBackOff())
	a.lookupNext = !a.lookupNext && !a.lookupWorked
}

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
	a.later(now)
}

// stop ends a pause. The next one is probed after a second again.
func (a *account) stop(why string) {
	if a.cause != noPause {
		a.cause, a.why, a.unanswered = noPause, why, 0
	}
	a.interval.Reset()
}
