package sandbox

import (
	"errors"
	"slices"
	"time"
)

// Shapes of the lookup's data, for Config.LookupShape.
const (
	ShapeArray  = "array"  // [row, ...]
	ShapeObject = "object" // {"total": n, "list": [row, ...]}
)

// What a lookup without a state means, for Config.LookupWithoutState.
const (
	StateAll   = "all"   // every state
	StateZero  = "0"     // the waiting packages
	StateError = "error" // it is refused with CodeField
)

// How a call over the rate is answered: Config.ThrottleAs.
const (
	ThrottleAsHTTP = "http" // HTTP 429
	ThrottleAsCode = "code" // HTTP 200, as upstream/VENDOR.md, "Answers", infers for every failure
)

// Config says how the vendor behaves. The zero value of every field but AppKey
// and Secret is a well-behaved vendor.
type Config struct {
	AppKey string // required; the only account
	Secret string // required; the account's signing key

	MaxAge time.Duration // how far timestamp may be from now, before or after; default 5m

	Rate         int           // calls per sliding second over both endpoints; 0 = no limit. Calls over it do not count
	ThrottleAs   string        // ThrottleAsHTTP (default) or ThrottleAsCode
	ThrottleCode string        // the code of that answer; default CodeThrottled
	RetryAfter   time.Duration // Retry-After of its HTTP 429, rounded up to seconds; 0 = no such header

	Latency time.Duration // from the arrival of a call to its execution
	Jitter  time.Duration // at most this much is added to Latency, evenly distributed

	RefuseRepeats string // the code that refuses a repeated outTradeNo; empty: it is bought again, so that the book shows it

	LookupLag          time.Duration // the lookup shows a purchase only when it is this old
	LookupShape        string        // ShapeArray (default) or ShapeObject
	LookupWithoutState string        // what a lookup without a state means: StateAll (default), StateZero or StateError
	LookupMode         LookupMode    // how the rows of a lookup differ from honest ones; see Vendor.SetLookupMode

	Rules []Rule // faults; the first rule that applies to a call decides it
	Seed  uint64 // decides to which calls a rule with a probability applies
}

// Validate returns one error with every fault of c, or nil.
func (c Config) Validate() error {
	var found faults
	found.add(c.AppKey == "", "AppKey is required")
	found.add(c.Secret == "", "Secret is required")
	notNegative := func(name string, d time.Duration) { found.add(d < 0, "%s (%v) must not be negative", name, d) }
	notNegative("MaxAge", c.MaxAge)
	notNegative("RetryAfter", c.RetryAfter)
	notNegative("Latency", c.Latency)
	notNegative("Jitter", c.Jitter)
	notNegative("LookupLag", c.LookupLag)
	found.add(c.Rate < 0, "Rate (%d) must not be negative", c.Rate)
	found.add(!oneOf(c.ThrottleAs, "", ThrottleAsHTTP, ThrottleAsCode), "ThrottleAs (%q) must be %s or %s", c.ThrottleAs, ThrottleAsHTTP, ThrottleAsCode)
	found.add(c.ThrottleAs == ThrottleAsCode && c.RetryAfter != 0, "RetryAfter (%v) goes with ThrottleAs %s only", c.RetryAfter, ThrottleAsHTTP)
	found.add(c.ThrottleCode == CodeSuccess, "ThrottleCode must not be %q: that means success", CodeSuccess)
	found.add(c.RefuseRepeats == CodeSuccess, "RefuseRepeats must not be %q: that means success", CodeSuccess)
	found.add(!oneOf(c.LookupShape, "", ShapeArray, ShapeObject), "LookupShape (%q) must be %s or %s", c.LookupShape, ShapeArray, ShapeObject)
	found.add(!oneOf(c.LookupWithoutState, "", StateAll, StateZero, StateError),
		"LookupWithoutState (%q) must be %s, %s or %s", c.LookupWithoutState, StateAll, StateZero, StateError)
	found = append(found, c.LookupMode.validate()...)
	return errors.Join(append(found, validateRules(c.Rules))...)
}

func oneOf(s string, allowed ...string) bool { return slices.Contains(allowed, s) }
