// Package dedupetest has the stores of package dedupe in memory, for tests that
// run in simulated time or need faults that a real server cannot be told to have.
package dedupetest
