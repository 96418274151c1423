// Package worker is the life of an order, from its request in JetStream to its
// one final result.
//
// It promises, in this order: an order is never bought twice; no request is
// lost, each ends in a result or a dead letter; an order has one final result,
// and it is true. What may have happened is asked, not guessed.
//
// A request is decoded and checked, its number is claimed, a slot in the
// account's quota is waited for, the intent to send is written down, and only
// then the vendor is called, once. What the answer means is decided in one
// place. A final result is written down, published, remembered, and only then
// is the request acknowledged. An order that has to wait, for its next attempt
// or for the vendor's lookup, goes back to the stream with a delay and holds
// nothing here.
//
// To read it: order.go and result.go (what comes in, what goes out), rules.go
// (every rule, pure), outcome.go (one delivery, start to end), place.go (the
// call), conclude.go (the result), doubt.go and lookups.go (orders in doubt),
// retry.go (a store that is away), pool.go, inflight.go and heartbeat.go (many
// deliveries, start and stop); observe.go and metrics.go are what others see of
// it. JetStream is behind the interfaces of delivery.go, in package natsio.
//
// The design that comments cite is worker/DESIGN.md, which has a glossary; the
// contract is worker/CONTRACT.md.
package worker
