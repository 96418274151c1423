// Package upstream makes single, signed calls to the vendor, and says what each
// answer means for the order.
//
// Client.Connect returns a Line. On it, one order is placed (Line.Place) or one
// lookup is made (Line.Lookup). A Round makes a conclusion of several lookups. When
// a call may be made is decided by package quota, and whether the vendor serves the
// account at all by package pause.
//
// What a caller may rely on:
//
//   - A call sends one HTTP request at most. Neither this package nor anything
//     below it repeats a request, and no redirect is followed.
//   - Not one byte of a request leaves after its send-by time, nor after the call
//     has returned, even if the process was frozen in between.
//   - A call ends with a result or with an *Error, whose Class says what the end
//     means for the order. Refused, Account, Throttled and Unreachable mean "not
//     bought". Ambiguous means "may have been bought"; every answer that is not
//     fully understood is ambiguous.
//   - A round calls an order missing only if all answers together say so. The error
//     of a lookup proves nothing.
//   - No error, and no message of the vendor, shows the secret or a signature.
//
// The package does not log, and does not decide what happens to an order next.
//
// Read it in this order: order.go and error.go (what goes in and comes out),
// client.go and line.go (the entry), account.go, request.go, sign.go and secret.go
// (what is sent), call.go and exchange.go (how it is sent), conns.go and quiet_*.go
// (on which connection), answer.go, codes.go and reply.go (what the answer means),
// redactor.go (what may be shown of it), lookup.go, round.go. What is known of the
// vendor is in upstream/VENDOR.md.
package upstream
