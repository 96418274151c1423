package worker

import (
	"maps"
	"slices"
	"sync"
	"time"

	"orderworker/dedupe"
)

// sameNumberDelay is the time after which a request is delivered again whose
// number was already in flight in this process.
const sameNumberDelay = 250 * time.Millisecond

// inFlight is the set of deliveries that this process works on, at most one of
// each outTradeNo.
type inFlight struct {
	mu      sync.Mutex
	orders  map[*task]flight
	numbers map[string]struct{}
}

// flight is a delivery and, once there is one, its claim.
type flight struct {
	task  *task
	claim *dedupe.Claim // nil: nothing to renew
}

// add adds a delivery. It reports false where another one of the same number is
// in flight.
func (f *inFlight) add(t *task) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if no := t.order.OutTradeNo; no != "" {
		if _, ok := f.numbers[no]; ok {
			return false
		}
		f.numbers[no] = struct{}{}
	}
	f.orders[t] = flight{task: t}
	return true
}

// setClaim stores t's claim for the heartbeat to renew. A claim that does not own
// the order, such as a duplicate's, has no lease to renew.
func (f *inFlight) setClaim(t *task) {
	c := t.claim
	if !c.Verdict.Owned() {
		c = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders[t] = flight{task: t, claim: c}
}

func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.orders)
}

func (f *inFlight) remove(t *task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.orders, t)
	delete(f.numbers, t.order.OutTradeNo)
}

// dropClaim forgets the claim of o, whose lease was lost. It reports false where
// the delivery has ended or has another claim since the snapshot was taken.
func (f *inFlight) dropClaim(o flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.orders[o.task] != o {
		return false
	}
	f.orders[o.task] = flight{task: o.task}
	return true
}

func (f *inFlight) snapshot() []flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.orders))
}
