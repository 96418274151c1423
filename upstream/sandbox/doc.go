// Package sandbox is the simulated vendor: an honest server for the two calls of the
// vendor's API that orderworker makes, orderPackage and getOrderPackageDetails.
//
// What it promises:
//
//   - Its book has every purchase, whatever the caller was told: an order that was
//     bought twice is in the book twice.
//   - It checks a call as strictly as the reference and the vendor's SDK allow. Its
//     signature is written apart from the client's, so that it tests the client.
//   - A purchase does not depend on the caller: if the caller closes the connection,
//     or gives up during a delay, the order is bought all the same.
//   - It fails only because of a [Rule], [Config.Rate] or [Vendor.SetDown], and counts
//     each fault. Its lookup is honest unless there is a [LookupMode]. With the same
//     [Config.Seed], a rule does the same to an order in every run.
//   - A package has a state, and a lookup shows the packages in the state that it
//     asks for.
//
// What it cannot promise: the response to a lookup, the meaning of a lookup without a
// state and the treatment of a repeated outTradeNo are not public, so they are
// settings. The codes are the vendor's as far as it documents them; those of the
// sandbox's own checks (CodeSign and others) are invented.
//
// Memory grows with the book: one entry per purchase, and one counter per outTradeNo
// for each rule that has p or first.
//
// Read the files in this order: config.go, vendor.go (the way of a call), request.go,
// fields.go and sign.go (the checks), code.go, book.go, lookup.go and mode.go,
// window.go (the rate), rule.go and action.go (faults), grammar.go, value.go and
// word.go (their text form), help.go (the same for people), fault.go (how a fault is
// made), admin.go, serve.go.
package sandbox
