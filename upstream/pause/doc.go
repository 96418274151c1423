// Package pause decides whether orders may be sent to the vendor at all: it stops
// them while the vendor serves nobody of this account, and finds out by probes when
// that is over.
//
//   - An answer about the account (no permission, not on the whitelist, balance too
//     low) begins a pause at once.
//   - Several calls in a row without an answer begin one: the vendor is down.
//   - A refusal with a code that is in no list may be about the order or about the
//     account. If nothing shows that the account works, a lookup is made to find
//     out. If it is refused too, the account is meant, and a pause begins.
//
// While a pause lasts, no refusal counts against an order. A pause never needs an
// operator to end. Each process has its own.
//
// Read account.go (the rules, without locks and clocks), then pause.go (who waits,
// and who is notified).
//
// Source: contract, section 7, "Pause of the account".
package pause
