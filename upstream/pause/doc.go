// Package pause decides whether orders may be sent to the vendor at all: it
// stops all of them while the vendor serves nobody of this account, and finds
// out by probes when that is over.
//
// What a code says it is about, and a harmless lookup as the arbiter, decide:
//
//   - An answer about the account (not permitted, not on the whitelist, balance
//     too low) pauses at once.
//   - Calls in a row that end without an answer pause: the vendor is away.
//   - A refusal with a code that is in no list may be the order's own, or the
//     account's. While nothing shows that the account works, a lookup is made
//     to find out: if that is refused too, it is the account's.
//
// While a pause lasts no attempt of any order is spent. It never needs an
// operator to end. The memory is one process's own.
//
// Read account.go (the rules, pure), then pause.go (who waits, who is told).
//
// Source: contract, section 7, "Pause of the account".
package pause
