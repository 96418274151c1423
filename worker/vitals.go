package worker

import (
	"time"

	"orderworker/upstream"
	"orderworker/upstream/pause"
)

// Vitals say how a worker fares: for operators, who see them beside those of the others.
type Vitals struct {
	InProgress int
	Requests   uint64          // to the vendor so far
	Spacing    time.Duration   // between two requests of all workers, now; 0: no limit
	Pause      pause.Status    // of the account, and how orders are answered
	Proofs     upstream.Streak // of rounds of lookups; a bad one proved nothing of an order that it did not find
}

// Vitals returns the worker's vitals.
func (w *Worker) Vitals() Vitals {
	return Vitals{InProgress: w.inFlight.count(), Requests: w.metrics.sent.Load(), Spacing: w.slots.Spacing(), Pause: w.pause.Status(), Proofs: w.lookups.Proofs()}
}
