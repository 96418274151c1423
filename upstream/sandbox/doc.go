// Package sandbox is the simulated vendor: a complete, honest stand-in for the
// two calls of the vendor's API that orderworker uses, orderPackage and
// getOrderPackageDetails.
//
// What it promises:
//
//   - It buys when it says so, and its book shows every purchase, whatever the
//     caller was told: an order bought twice stands in the book twice.
//   - It checks a call as strictly as the reference and the vendor's SDK allow,
//     with its own implementation of the signature, so that it checks the real
//     client instead of agreeing with it.
//   - A purchase does not depend on the caller: one that has gone away, or that
//     stopped waiting during a delay, has bought all the same.
//   - It fails only where a [Rule], [Config.Rate] or [Vendor.SetDown] asks for it,
//     and counts each time. What a rule does to an order is the same in every run
//     with the same [Config.Seed].
//
// What it cannot promise: the vendor's own error codes, the lookup's response
// and the treatment of a repeated outTradeNo are not public. The codes here are
// invented, and the other two are settings.
//
// Memory grows with the book: one entry per purchase, and one counter per
// outTradeNo for each rule that has p or first.
//
// Read the files in this order: vendor.go (settings, and the way of a call),
// request.go, fields.go and sign.go (the checks), code.go, book.go, lookup.go,
// window.go (the rate), rule.go and action.go (faults), grammar.go and word.go
// (their text form), fault.go (how each is made), admin.go, serve.go.
package sandbox
