// Package redisstore keeps in Redis what package dedupe knows of orders: the
// [dedupe.Cache], and a [dedupe.Journal] for those who accept that Redis may lose
// it. Every operation is one script, and every script is safe to repeat.
//
// Read scripts.go first: it says what a record is.
package redisstore
