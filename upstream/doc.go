// Package upstream is the vendor, as one order sees it: an open
// connection (Client.Connect), on it one signed attempt to buy it (Line.Place) or
// one question whether it was bought (Line.Lookup). When either may be sent is the
// question of package quota, whether the vendor serves the account at all that of
// package pause.
//
// What an order may rely on:
//
//   - An attempt is one HTTP request at most. Nothing here sends it again, and
//     nothing below does: it is written once, and no redirect is followed.
//   - Not one byte of it leaves after its send-by time, nor after the call has
//     returned, even if the process was frozen in between.
//   - Its end is a Purchase, or an *Error whose Class says what it means for the
//     order. Refused, Throttled and Unreachable mean "not bought". Whatever is
//     not understood to the last byte is Ambiguous: "may have been bought".
//   - A lookup calls an order missing only where the whole answer says so. An
//     error of a lookup proves nothing.
//   - No error, and no message of the vendor, shows the secret or a signature.
//
// The package does not log, and does not decide what an order does next.
//
// Read it in this order: order.go and error.go (what goes in and comes out),
// client.go and line.go (the door), account.go, request.go, sign.go and secret.go (what is sent), call.go
// and attempt.go (how it is sent, and how it is stopped), conns.go with quiet_*.go
// (on which connection), answer.go and reply.go (what the answer means), redactor.go (what of it may be shown), lookup.go;
// round.go. What is known of the vendor is in upstream/VENDOR.md.
package upstream
