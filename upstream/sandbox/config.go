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

// What a lookup without a state asks for, for Config.LookupWithoutState.
const (
	StateAll   = "all"   // every state
	StateZero  = "0"     // the packages that wait
	StateError = "error" // nothing: it is refused with CodeField
)

// How a call over the rate is answered, for Config.ThrottleAs.
const (
	ThrottleAsHTTP = "http" // HTTP 429
	ThrottleAsCode = "code" // HTTP 200, as upstream/VENDOR.md, "Answers", infers for every failure
)

// Config says how the vendor behaves. The zero value of every field but AppKey
// and Secret is a well-behaved vendor.
type Config struct {
	AppKey string // required; the one account there is
	Secret string // required; signs that account's calls

	MaxAge time.Duration // how far timestamp may be from now, both ways; default 5m

	Rate         int           // calls per sliding second over both endpoints; 0 = no limit. A call that is over it does not use it up
	ThrottleAs   string        // ThrottleAsHTTP (default) or ThrottleAsCode
	ThrottleCode string        // code in the body of the answer when over the rate; default CodeThrottled
	RetryAfter   time.Duration // Retry-After of HTTP 429 when over the rate, rounded up to seconds; 0 = no such header

	Latency time.Duration // from the arrival of a call to its execution
	Jitter  time.Duration // up to this much more, evenly spread

	RefuseRepeats string // the code a repeated outTradeNo is refused with; empty: it is bought again, so that buying twice shows

	LookupLag          time.Duration // a purchase shows in the lookup only when it is this old
	LookupShape        string        // ShapeArray (default) or ShapeObject
	LookupWithoutState string        // what a lookup without a state asks for: StateAll (default), StateZero or StateError
	LookupMode         LookupMode    // how the lookup's rows differ from honest ones, until Vendor.SetLookupMode

	Rules []Rule // faults; the first rule that applies to a call decides it
	Seed  uint64 // decides which calls a rule with a probability picks
}

// Validate reports every fault of c in one error, or nil.
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
