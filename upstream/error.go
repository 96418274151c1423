package upstream

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Class says what a failed call means for the order, not why it failed.
//
// Source: contract, section 7.
type Class string

// The classes of a failed call.
const (
	Refused     Class = "refused"     // the vendor refused the order; not bought
	Account     Class = "account"     // the vendor refused the account; not bought, and not a refusal of the order
	Throttled   Class = "throttled"   // the vendor said "too fast"; not bought, and not a refusal of the order
	Unreachable Class = "unreachable" // no byte of the request left; not bought
	Ambiguous   Class = "ambiguous"   // the order may have been bought: look it up before anything else
)

// Error is the end of a failed call. It never contains the secret, the signature or
// more than the first 256 bytes of an unreadable reply.
type Error struct {
	Class      Class
	Code       string        // the vendor's code, or else the HTTP status; empty if there was neither
	Message    string        // the vendor's message, cut to 1,024 bytes
	RetryAfter time.Duration // Throttled only: how long to wait, at most 5m; 0 if the vendor did not say
	Permanent  bool          // Refused only: the vendor will always refuse this request
	Bought     bool          // Ambiguous only: the vendor said "bought", but without an orderNumber or with a code other than 200
	Exists     bool          // Ambiguous only: the vendor said that this outTradeNo exists
	Err        error         // the cause; nil if the answer says it all
}

// Error returns the class, then the code, the message and the cause if there are any.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Class))
	if e.Code != "" {
		fmt.Fprintf(&b, ": code %s", e.Code)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Brief returns in a few words how a request ended for which err was returned: the vendor's
// code and message if they say it, and otherwise the cause.
func Brief(err error) string {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return err.Error()
	case e.Class == Refused, e.Class == Account, e.Class == Throttled, e.Err == nil:
		return strings.TrimSpace("code " + e.Code + " " + e.Message)
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of err. An error that is no *Error is Ambiguous, which is
// the safe assumption where money is at stake.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Ambiguous
}
