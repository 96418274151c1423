package worker

import (
	"maps"
	"slices"
	"sync"
	"time"

	"orderworker/dedupe"
)

// sameNumberDelay is when a request is looked at again whose number is in
// flight in this process: the earlier one goes first.
const sameNumberDelay = 250 * time.Millisecond

// inFlight is the set of deliveries that this process works on, at most one of
// each number.
type inFlight struct {
	mu      sync.Mutex
	orders  map[*task]flight
	numbers map[string]struct{}
}

// flight is a delivery and, once there is one, its claim.
type flight struct {
	task  *task
	claim *dedupe.Claim
}

// add reports false where another delivery of the same number is in flight.
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

// claimed stores t's claim, for the heartbeat to renew. A claim that does not hold
// the order (a duplicate's, or of another's order) is not stored, as there is
// nothing to renew.
func (f *inFlight) claimed(t *task) {
	c := t.claim
	if !c.Verdict.Owned() {
		c = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders[t] = flight{task: t, claim: c}
}

func (f *inFlight) remove(t *task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.orders, t)
	delete(f.numbers, t.order.OutTradeNo)
}

// lose forgets a claim that has no use in being renewed any more. It reports
// false where the order moved on since the snapshot was taken.
func (f *inFlight) lose(o flight) bool {
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
