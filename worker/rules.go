package worker

import (
	"math"
	"time"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// Policy is how doubt about an order ends: UPSTREAM_RECONCILE.
type Policy string

// The policies of section 5 of the contract.
const (
	Lookup Policy = "lookup" // the vendor is asked before anything is sent again
	Resend Policy = "resend" // the order is sent again, once the earlier request was certainly over
	Hold   Policy = "hold"   // neither: an operator settles the order
)

// Rules are the settings that decide what an answer means for its order.
type Rules struct {
	MaxAttempts     int           // refusals before an order fails
	Backoff         Backoff       // the wait before the next attempt
	Reconcile       Policy        // how doubt ends
	ReconcileDelay  time.Duration // from when a request was certainly over until "not found" is proof
	LookupStates    []int64       // the states that a lookup asks; none: one lookup without a state
	InDoubtNotice   time.Duration // time in doubt after which an in_doubt event is published
	UpstreamTimeout time.Duration // the longest that one request takes
}

// decision is what an answer means for its order.
type decision struct {
	step     Step   // StepSucceeded, StepFailed, StepWaiting or StepInDoubt
	reason   Reason // of StepFailed
	refusals int    // of the order so far, and one for a success: attempts in events
}

// decide returns what the end of a request means for its order. err is what
// Line.Place returned. inDoubt says that an earlier attempt is still open, and
// refusals is the number before this answer. counts says that a refusal is about
// this order: one that is about the account is not counted. decide is pure:
// every rule about an answer to a purchase is in this switch.
//
// Source: contract, section 7.
func (r Rules) decide(err error, inDoubt bool, refusals int, counts bool) decision {
	if err == nil {
		return decision{step: StepSucceeded, refusals: refusals + 1}
	}
	refused := upstream.ClassOf(err) == upstream.Refused && counts
	switch e := upstreamError(err); {
	case upstream.ClassOf(err) == upstream.Ambiguous:
		return decision{step: StepInDoubt, refusals: refusals}
	case refused && inDoubt:
		return decision{step: StepInDoubt, refusals: refusals + 1} // says nothing about the earlier attempt
	case inDoubt:
		return decision{step: StepInDoubt, refusals: refusals} // this attempt bought nothing, the earlier one may have
	case !refused:
		return decision{step: StepWaiting, refusals: refusals}
	case e.Permanent:
		return decision{step: StepFailed, reason: PermanentCode, refusals: refusals + 1}
	case refusals+1 >= r.MaxAttempts:
		return decision{step: StepFailed, reason: AttemptsExhausted, refusals: refusals + 1}
	default:
		return decision{step: StepWaiting, refusals: refusals + 1}
	}
}

// resends reports whether doubt d ends by sending the order again. An order that
// the vendor called bought or existing is never sent again.
func (r Rules) resends(d dedupe.Doubt) bool {
	return r.Reconcile == Resend && !d.Sold()
}

// sendWindow returns how long after its slot a request may still leave.
//
// Source: RECONCILE_DELAY in section 5 of the contract.
func (r Rules) sendWindow() time.Duration {
	return min(3*time.Second, r.ReconcileDelay/2)
}

// over returns the time at which a request that leaves by sendBy has certainly ended.
func (r Rules) over(sendBy time.Time) time.Time {
	return sendBy.Add(r.UpstreamTimeout)
}

// certainlyOver returns the time at which the newest request of an order in doubt
// has ended. Where the process that sent it wrote that time down, it counts: the
// settings of that process may have been others.
func (r Rules) certainlyOver(d dedupe.Doubt) time.Time {
	if !d.Over.IsZero() {
		return d.Over
	}
	return r.over(d.SendBy)
}

// provable returns the time from which on a "not found" proves that the newest
// request bought nothing.
func (r Rules) provable(d dedupe.Doubt) time.Time {
	return r.certainlyOver(d).Add(r.ReconcileDelay)
}

// lookupDelay returns the wait before the next lookup of an order in doubt, of
// which d.Asked lookups were answered: 2, 5, 15, 60 seconds, then every three
// minutes, all of it faster in proportion where a tenth of RECONCILE_DELAY is
// less than 2 s. A lookup follows at once when "not found" becomes proof, and the
// second "not found" after the first within a tenth of RECONCILE_DELAY.
//
// Source: contract, section 7, "Lookup".
func (r Rules) lookupDelay(d dedupe.Doubt, now time.Time) time.Duration {
	schedule := []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 3 * time.Minute}
	next, tenth := schedule[min(d.Asked, len(schedule)-1)], r.ReconcileDelay/10
	if tenth < schedule[0] {
		next = time.Duration(float64(next) * (float64(tenth) / float64(schedule[0])))
	}
	if proof := r.provable(d).Sub(now); proof > 0 {
		next = min(next, proof+time.Millisecond)
	} else if d.Missing && !d.Sold() { // a second "not found" would prove something
		next = min(next, tenth)
	}
	return max(next, time.Millisecond)
}

// Backoff is the wait between two attempts of an order, which grows exponentially.
type Backoff struct {
	Initial    time.Duration
	Multiplier float64 // at least 1
	Max        time.Duration
	Jitter     float64 // 0..1: a wait is delay x (1 ± jitter)
}

// Delay returns the wait after an order has already waited n times. The jitter is
// chosen by random, a number in [0, 1): 0 gives the shortest wait.
func (b Backoff) Delay(n int, random float64) time.Duration {
	delay := min(float64(b.Initial)*math.Pow(b.Multiplier, float64(n)), float64(b.Max))
	return time.Duration(delay * (1 + b.Jitter*(2*random-1)))
}
