package upstream

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Class says what a failed call means for the order, not what broke.
//
// Source: contract, section 7.
type Class string

// The classes of a call that did not end in a success.
const (
	Refused     Class = "refused"     // the vendor said no; the order was not bought
	Account     Class = "account"     // the vendor serves nobody of this account now; not bought, not an attempt
	Throttled   Class = "throttled"   // too fast; not bought, not an attempt
	Unreachable Class = "unreachable" // nothing was written; not bought
	Ambiguous   Class = "ambiguous"   // the order may have been bought: look it up before anything else
)

// Error is a call that did not end in a success. It never carries the secret,
// the signature or more than the first 256 bytes of an unreadable reply.
type Error struct {
	Class      Class
	Code       string        // the vendor's code, else the HTTP status; empty where neither came
	Message    string        // the vendor's words, cut to 1,024 bytes
	RetryAfter time.Duration // Throttled only: how long to wait; 0 where the vendor did not say; at most 5m
	Permanent  bool          // Refused only: the code says that the same request is refused for ever
	Bought     bool          // Ambiguous only: the vendor said that it was bought, but not by which orderNumber, or beside another code
	Exists     bool          // Ambiguous only: the vendor said that this outTradeNo exists
	Err        error         // what broke, where something did
}

// Error names the class, then whatever is known.
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

// Unwrap returns what broke.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf classifies any error. One it does not know is Ambiguous: with money
// at stake, "it may have happened" is the safe guess.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Ambiguous
}
