package worker

import (
	"time"

	"orderworker/upstream"
)

// SettledResult is the final result, encoded, of an order in doubt that an
// operator says was bought: as if the lookup had found p. Refusals counts those
// before, received is when the request was stored in its stream.
//
// Source: section 3 of the contract.
func SettledResult(o Order, p upstream.Purchase, refusals int, received, now time.Time) []byte {
	r := result(o, Succeeded, refusals+1, received, now).bought(p)
	r.Reconciled = true
	return r.encode()
}
