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
//     and counts each time; its lookup is honest but for a [LookupMode]. What a rule does to an order is the same in every run
//     with the same [Config.Seed].
//   - A package has a state, and a lookup shows the ones that it asks for.
//
// What it cannot promise: the lookup's response, what a lookup without a state
// asks for and the treatment of a repeated outTradeNo are not public, so they are
// settings. The codes are the vendor's, as far as it documents them; those of the
// sandbox's own checks (CodeSign and so on) are invented.
//
// Memory grows with the book: one entry per purchase, and one counter per
// outTradeNo for each rule that has p or first.
//
// Read the files in this order: config.go, vendor.go (the way of a call),
// request.go, fields.go and sign.go (the checks), code.go, book.go, lookup.go and
// mode.go, window.go (the rate), rule.go and action.go (faults), grammar.go,
// value.go and word.go (their text form), help.go (the same for people), fault.go (how each is
// made), admin.go, serve.go.
package sandbox
