// Package worker takes each order from its request in JetStream to its one final
// result.
//
// It promises, in this order: an order is never bought twice; no order request is
// lost, each ends in a result or a dead letter; an order has one final result,
// and it is true. Where it is unknown whether a request bought, the vendor is
// asked before anything else is sent.
//
// The worker decodes and checks an order request, claims its order, waits for a
// slot in the account's quota, writes down the intent to send, and only then
// sends one request to the vendor. One function decides what the answer means. A
// final result is published and remembered, and only then is the order request
// acknowledged: the event is the record of a success, any other result is written
// into the journal before. An order that has to wait for its next
// attempt or lookup is handed back to the stream with a delay, and takes up no
// room in the process.
//
// Read order.go and result.go (what comes in, what goes out), rules.go (the
// decisions, all pure), task.go (one delivery from claim to outcome), place.go
// (the request), finish.go (the result), doubt.go and lookups.go (orders in
// doubt), outcome.go (how a delivery ends), retry.go (a store that is
// unavailable), then pool.go, inflight.go and heartbeat.go (many deliveries,
// start and stop), and observe.go and metrics.go (logs, traces, metrics).
// JetStream is behind the interfaces of delivery.go, in package natsio.
//
// The design that comments cite is worker/DESIGN.md, which has a glossary; the
// contract is worker/CONTRACT.md.
package worker
