// Package redisstore implements the stores of package dedupe in Redis, with one
// script per operation.
//
// [NewCache] returns the [dedupe.Cache]. [NewJournal] returns a [dedupe.Journal] that
// Redis may lose together with the cache, for JOURNAL_TTL=0. Every script is safe to
// repeat after a lost reply.
//
// Read scripts.go (the fields of an entry, and the scripts), cache.go (their calls),
// server.go (how a Redis that has lost something is noticed) and journal.go.
package redisstore
