// Package quota tells each worker when it may send its next request, so that no
// second, as the vendor sees it, holds more requests of all workers together than
// the account may send.
//
// The workers share one clock per account in Redis, which hands out slots: moments
// at which one request may leave. Without Redis nothing is sent.
//
// Read it in this order: script.go (what Redis keeps, and how), limiter.go (whose
// turn it is), slot.go (how one slot is reserved and waited for), throttle.go (what
// happens when the vendor says "too fast"), load.go.
package quota
