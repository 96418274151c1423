package worker

import (
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

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

// Rules are the settings that decide what an answer means.
type Rules struct {
	MaxAttempts     int           // refusals before an order fails
	PermanentCodes  []string      // vendor codes that are final at once
	DuplicateCodes  []string      // vendor codes that mean "this outTradeNo exists"
	Backoff         Backoff       // the wait before the next attempt
	Reconcile       Policy        // how doubt is settled
	ReconcileDelay  time.Duration // from when a request was certainly over until "not found" is proof
	InDoubtNotice   time.Duration // in doubt for longer is told to the world once
	UpstreamTimeout time.Duration // the longest that one call takes
}

// step is what happens to an order after an answer.
type step string

const (
	succeed   step = "succeed"    // final
	fail      step = "fail"       // final
	wait      step = "wait"       // certainly not bought: try again later
	settle    step = "settle"     // may have been bought: find out first
	handBack  step = "hand back"  // the process stops before anything was decided
	duplicate step = "duplicate"  // answered before
	reject    step = "reject"     // never sent
	leave     step = "leave"      // another delivery has it
	republish step = "republish"  // final before; the event may not have been stored
	unsettled step = "unsettled"  // the process stopped before it could write down what it knows
	notBefore step = "not before" // waiting; came too early
	held      step = "held"       // nothing was sent: the vendor refuses its packageCode
)

// verdict is a step and what it says about the order.
type verdict struct {
	step     step
	reason   Reason // fail
	attempts int    // answers that settled something so far, this one included
}

// decide is pure: every rule about an answer from the vendor is in this switch.
// err is what Place returned; open says that an earlier attempt is still in
// doubt; attempts counts the refusals before this answer; blameless says that
// the vendor refuses everybody, so that a refusal is not one of this order.
//
// Source: section 7 of the contract.
func (r Rules) decide(err error, open bool, attempts int, blameless bool) verdict {
	if err == nil {
		return verdict{step: succeed, attempts: attempts + 1}
	}
	code := codeOf(err)
	switch class := upstream.ClassOf(err); {
	case class == upstream.Ambiguous:
		return verdict{step: settle, attempts: attempts}
	case class == upstream.Refused && slices.Contains(r.DuplicateCodes, code):
		return verdict{step: settle, attempts: attempts} // it exists: as what, only the lookup knows
	case class == upstream.Refused && open && !blameless:
		return verdict{step: settle, attempts: attempts + 1} // says nothing about the earlier attempt
	case open:
		return verdict{step: settle, attempts: attempts} // not sent, but the earlier attempt was
	case class != upstream.Refused, blameless:
		return verdict{step: wait, attempts: attempts}
	case slices.Contains(r.PermanentCodes, code):
		return verdict{step: fail, reason: PermanentCode, attempts: attempts + 1}
	case attempts+1 >= r.MaxAttempts:
		return verdict{step: fail, reason: AttemptsExhausted, attempts: attempts + 1}
	default:
		return verdict{step: wait, attempts: attempts + 1}
	}
}

// own says that a refusal with this code is about its order: it says nothing
// about the vendor's health.
func (r Rules) own(code string) bool {
	return slices.Contains(r.PermanentCodes, code) || slices.Contains(r.DuplicateCodes, code)
}

// sendWindow is how long after its intent a request may still leave.
//
// Source: RECONCILE_DELAY in section 5 of the contract.
func (r Rules) sendWindow() time.Duration {
	return min(3*time.Second, r.ReconcileDelay/2)
}

// certainlyOver is when a request that had to leave by sendBy has ended, one
// way or the other.
func (r Rules) certainlyOver(sendBy time.Time) time.Time {
	return sendBy.Add(r.UpstreamTimeout)
}

// provable is from when on a "not found" proves that the attempt bought nothing.
func (r Rules) provable(sendBy time.Time) time.Time {
	return r.certainlyOver(sendBy).Add(r.ReconcileDelay)
}

// nextAsk is the wait before the lookup that follows asked earlier ones: 2, 5,
// 15, 60 seconds, then every three minutes, all of it faster in proportion
// where a tenth of RECONCILE_DELAY is less than 2 s.
func (r Rules) nextAsk(asked int) time.Duration {
	schedule := []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 3 * time.Minute}
	d := schedule[min(asked, len(schedule)-1)]
	if first := r.ReconcileDelay / 10; first < schedule[0] {
		d = time.Duration(float64(d) * (float64(first) / float64(schedule[0])))
	}
	return max(d, time.Millisecond)
}

// Backoff is the exponential wait between two attempts.
type Backoff struct {
	Initial    time.Duration
	Multiplier float64 // at least 1
	Max        time.Duration
	Jitter     float64 // 0..1: a wait is delay x (1 ± jitter)
}

// Delay is the wait after an order has already waited n times.
func (b Backoff) Delay(n int) time.Duration {
	policy := &backoff.ExponentialBackOff{
		InitialInterval:     b.Initial,
		RandomizationFactor: b.Jitter,
		Multiplier:          b.Multiplier,
		MaxInterval:         b.Max,
		Stop:                backoff.Stop,
		Clock:               backoff.SystemClock,
	}
	policy.Reset()
	delay := policy.NextBackOff()
	for range min(n, 1000) { // a multiplier near 1 grows slowly; past a thousand waits nobody can tell
		delay = policy.NextBackOff()
	}
	return delay
}

// codeOf is the vendor's code in an error, "" where it gave none.
func codeOf(err error) string {
	if e := upstreamError(err); e != nil {
		return e.Code
	}
	return ""
}
