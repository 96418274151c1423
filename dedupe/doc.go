// Package dedupe is what we know about an order: who holds it, whether a
// request for it may have left, and how it ended. It promises
//
//   - that a send is decided once: between two intents of one order there is
//     always a written proof that the earlier one did not buy, or the later one
//     says openly that the earlier is still in doubt,
//   - that a final result never changes, and that "failed" is only written by
//     the owner of the newest intent, over exactly what it knows,
//   - that a purchase is a fact: whoever learns of it may write it down,
//   - that nothing here is ever guessed: an unknown answer is an error, and
//     what may have happened is InDoubt.
//
// Two stores stand behind one door. Redis ([Cache]) is fast and may be lost
// at any moment; it keeps two workers off one order and answers duplicates.
// The [Journal] is durable and decides: one record per order, every write a
// compare-and-set on the revision that the writer knows. Losing Redis costs
// time, never a second purchase.
//
// Read order.go and claim.go (what a worker sees), store.go (what it does,
// step by step), then records.go with redis.go, journal.go with jetstream.go
// and redisjournal.go, and memory.go, which is both stores for tests.
package dedupe
