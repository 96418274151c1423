// Package dedupe decides, for one order at a time, whether a request for it may
// be sent. It promises that
//
//   - at most one attempt of an order is open: between two intents the journal
//     has a proof that the earlier one did not buy, or the later intent says that
//     the earlier one is still open,
//   - a final result never changes, and a failed one is written only by the
//     owner of the newest intent, over the record that this owner knows,
//   - a purchase is written down by whoever learns of it,
//   - nothing is guessed: a store that cannot be read is an error, and an attempt
//     that may have bought makes the order InDoubt.
//
// A [Store] combines three sources. The [Journal] is durable and decides: it has
// one record per order, and every write is a compare-and-set on the revision that
// the writer knows. The [Cache] is fast and may be lost at any moment: it keeps two
// workers from working on one order and answers duplicates. The [Results] are the
// published final events: a success that answers the owner's request has no other record,
// so they are read wherever the journal has no final. Losing the cache costs time, never a
// second purchase.
//
// Read order.go (the words), judge.go (the rules), claim.go (what a worker gets),
// intent.go (how one request is allowed), store.go (what else the worker may do),
// write.go (how the journal is written) and look.go (what an operator sees and
// settles). The sources are declared in cache.go, journal.go and results.go;
// history.go asks them what may have been forgotten.
// Package redisstore implements the cache, package natsio the journal and the
// results, package dedupetest all of it in memory for tests.
package dedupe
