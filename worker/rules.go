package worker

import (
	"math"
	"time"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// Policy is how an order in doubt is settled: UPSTREAM_RECONCILE.
type Policy string

// The policies of section 5 of the contract.
const (
	Lookup Policy = "lookup" // ask the vendor before any other send
	Resend Policy = "resend" // send again, once the earlier request was certainly over
	Hold   Policy = "hold"   // neither: an operator decides
)

// Rules are the settings that decide what an answer means for its order.
type Rules struct {
	MaxAttempts     int           // refusals before an order fails
	Backoff         Backoff       // the wait before the next attempt
	Reconcile       Policy        // how doubt is settled
	ReconcileDelay  time.Duration // from when a request was certainly over until "not found" is proof
	LookupStates    []int64       // the states that a lookup asks; none: one lookup without a state
	InDoubtNotice   time.Duration // in doubt for longer is told to the world once
	UpstreamTimeout time.Duration // the longest that one call takes
}

// verdict is what an answer means for its order.
type verdict struct {
	step     Step   // StepSucceeded, StepFailed, StepWaiting or StepInDoubt
	reason   Reason // StepFailed
	attempts int    // answers that settled something so far, this one included
}

// decide is pure: every rule about an answer from the vendor is in this switch.
// err is what Place returned; inDoubt says that an earlier attempt still is;
// attempts counts the refusals before this answer; attempt says that a refusal
// is one of this order's, and not the account's.
//
// Source: contract, section 7.
func (r Rules) decide(err error, inDoubt bool, attempts int, attempt bool) verdict {
	if err == nil {
		return verdict{step: StepSucceeded, attempts: attempts + 1}
	}
	refused := upstream.ClassOf(err) == upstream.Refused && attempt
	switch e := upstreamError(err); {
	case upstream.ClassOf(err) == upstream.Ambiguous:
		return verdict{step: StepInDoubt, attempts: attempts}
	case refused && inDoubt:
		return verdict{step: StepInDoubt, attempts: attempts + 1} // says nothing about the earlier attempt
	case inDoubt:
		return verdict{step: StepInDoubt, attempts: attempts} // not sent, but the earlier attempt was
	case !refused:
		return verdict{step: StepWaiting, attempts: attempts}
	case e.Permanent:
		return verdict{step: StepFailed, reason: PermanentCode, attempts: attempts + 1}
	case attempts+1 >= r.MaxAttempts:
		return verdict{step: StepFailed, reason: AttemptsExhausted, attempts: attempts + 1}
	default:
		return verdict{step: StepWaiting, attempts: attempts + 1}
	}
}

// resends says whether doubt is settled by sending again: not where the vendor
// has said that the order is there.
func (r Rules) resends(d dedupe.Doubt) bool {
	return r.Reconcile == Resend && !d.Sold()
}

// sendWindow is how long after its intent a request may still leave.
//
// Source: RECONCILE_DELAY in section 5 of the contract.
func (r Rules) sendWindow() time.Duration {
	return min(3*time.Second, r.ReconcileDelay/2)
}

// over is when a request that has to leave by sendBy has ended, one way or the other.
func (r Rules) over(sendBy time.Time) time.Time {
	return sendBy.Add(r.UpstreamTimeout)
}

// certainlyOver is when the newest request of an order in doubt has ended: by the
// settings of the process that sent it, where that is known.
func (r Rules) certainlyOver(d dedupe.Doubt) time.Time {
	if !d.Over.IsZero() {
		return d.Over
	}
	return r.over(d.SendBy)
}

// provable is from when on a "not found" proves that the attempt bought nothing.
func (r Rules) provable(d dedupe.Doubt) time.Time {
	return r.certainlyOver(d).Add(r.ReconcileDelay)
}

// nextAsk is the wait before the next lookup of an order in doubt, d.Asked ones
// having been answered: 2, 5, 15, 60 seconds, then every three minutes, all of
// it faster in proportion where a tenth of RECONCILE_DELAY is less than 2 s. A
// lookup follows at once when "not found" becomes proof, and the second "not
// found" after the first within a tenth of RECONCILE_DELAY.
func (r Rules) nextAsk(d dedupe.Doubt, now time.Time) time.Duration {
	schedule := []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 3 * time.Minute}
	next, tenth := schedule[min(d.Asked, len(schedule)-1)], r.ReconcileDelay/10
	if tenth < schedule[0] {
		next = time.Duration(float64(next) * (float64(tenth) / float64(schedule[0])))
	}
	if proof := r.provable(d).Sub(now); proof > 0 {
		next = min(next, proof+time.Millisecond)
	} else if d.Missing && !d.Sold() { // the second "not found" is to follow; of what was bought it says nothing
		next = min(next, tenth)
	}
	return max(next, time.Millisecond)
}

// Backoff is the wait between two attempts of an order. It grows exponentially.
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
