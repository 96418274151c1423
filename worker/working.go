package worker

import (
	"maps"
	"slices"
	"sync"
	"time"

	"orderworker/dedupe"
)

// sameNumberDelay is when a request is looked at again whose number is in
// progress in this process: the earlier one goes first.
const sameNumberDelay = 250 * time.Millisecond

// working is the set of deliveries in progress, at most one of each number.
type working struct {
	mu      sync.Mutex
	orders  map[*handling]inProgress
	numbers map[string]struct{}
}

// inProgress is a delivery and, once there is one, its claim.
type inProgress struct {
	handling *handling
	delivery *Delivery
	claim    *dedupe.Claim
}

// add reports false where another delivery of the same number is in progress.
func (w *working) add(h *handling) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if no := h.order.OutTradeNo; no != "" {
		if _, ok := w.numbers[no]; ok {
			return false
		}
		w.numbers[no] = struct{}{}
	}
	w.orders[h] = inProgress{handling: h, delivery: h.d}
	return true
}

// claimed notes h's claim. One that is not ours (a duplicate's, or another's
// order) is none, so it is not renewed.
func (w *working) claimed(h *handling, c *dedupe.Claim) {
	if !c.Verdict.Ours() {
		c = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders[h] = inProgress{handling: h, delivery: h.d, claim: c}
}

func (w *working) remove(h *handling) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.orders, h)
	delete(w.numbers, h.order.OutTradeNo)
}

// lose forgets the claim of o, which has no use in being renewed any more. It
// reports false where o moved on since the snapshot was taken.
func (w *working) lose(o inProgress) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.orders[o.handling] != o {
		return false
	}
	w.orders[o.handling] = inProgress{handling: o.handling, delivery: o.delivery}
	return true
}

func (w *working) snapshot() []inProgress {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.orders))
}
