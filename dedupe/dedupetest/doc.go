// Package dedupetest implements the cache and the journal of package dedupe in memory,
// for tests that run in simulated time or inject faults which a real server cannot be
// made to have.
package dedupetest
