package dedupe

import (
	"errors"
	"time"
)

// ErrLost is returned when another owner has written to the order since it was
// claimed. The claim is worth nothing any more: claim again, or hand the order
// request back.
var ErrLost = errors.New("claim lost: another owner has written")

// ErrBroken is returned when trying again cannot help: a stored record cannot be
// read, the journal refuses a write permanently, or the caller asks for something
// that could buy twice.
var ErrBroken = errors.New("broken")

// Order is one order request.
type Order struct {
	OutTradeNo  string
	Fingerprint string    // hash of iccid, packageCode and renew, computed by the caller
	Account     string    // hash of the vendor's account that the caller uses; "" matches every account
	Seq         uint64    // stream sequence of the order request
	Stored      time.Time // when the stream stored the order request; zero: not known

	// Expires is the time after which the order must not be sent; nil: never, or
	// not known. In a Claim it is that of the first order request, see Claim.First.
	Expires *time.Time
}

// storableTime returns t in UTC, or nil if t has no RFC 3339 form.
func storableTime(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	if u.Year() < 0 || u.Year() > 9999 {
		return nil
	}
	return &u
}

// Verdict is what a claim found. It decides what the caller has to do.
type Verdict string

// With Fresh, Ready, InDoubt and Final the claim owns the order.
const (
	Fresh    Verdict = "fresh"           // nothing was ever sent
	Ready    Verdict = "ready"           // every earlier attempt is known not to have bought
	InDoubt  Verdict = "in doubt"        // an attempt may have bought; Claim.Doubt describes it
	Final    Verdict = "final"           // Claim.Result is the result, which may not be published: publish it, Remember, acknowledge
	Busy     Verdict = "busy"            // another delivery owns the order, for Claim.Left more
	Waiting  Verdict = "waiting"         // the next attempt is due in Claim.Left
	Done     Verdict = "done"            // Claim.Result is published and remembered
	Conflict Verdict = "conflict"        // the number was used with another fingerprint, Claim.UsedWith
	Foreign  Verdict = "foreign account" // an attempt of another account may have bought: hand it back, neither look it up nor send it

	// Unknown is no verdict of a claim, but of Known: what could not be read may say that the
	// order was sent.
	Unknown Verdict = "unknown"
)

// Owned reports whether the claim owns the order: Fresh, Ready, InDoubt or Final.
func (v Verdict) Owned() bool {
	return v.unfinished() || v == Final
}

// unfinished reports whether the claim owns the order and the order has no result.
func (v Verdict) unfinished() bool {
	return v == Fresh || v == Ready || v == InDoubt
}

// State is the state of an order in the cache or in the journal.
type State string

const (
	StateClaimed State = "claimed" // cache only: a worker took the order; only the journal knows how far it came
	StateIntent  State = "intent"  // journal only: a request may leave until SendBy, and may have bought
	StateInDoubt State = "doubt"   // cache only: parked, an attempt may have bought
	StateReady   State = "ready"   // no attempt has bought; the next may start when it is due
	StateFinal   State = "final"   // the order has its result, for ever
)

// Progress counts what was done for an order. The cache and the journal keep it.
type Progress struct {
	Attempt  int    `json:"attempt,omitempty"`  // number of the newest intent
	Refusals int    `json:"attempts,omitempty"` // answers that refused the order
	Waits    int    `json:"waits,omitempty"`    // waits so far, after a refusal or not: the exponent of the next backoff
	Last     Answer `json:"last,omitzero"`      // the newest answer that did not sell

	Endings []Ending `json:"endings,omitempty"` // how the newest requests ended, oldest first
}

// Answer is an answer of the vendor that did not sell.
type Answer struct {
	Class   string `json:"class,omitempty"` // refused, account or throttled
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// Doubt is what is known of an attempt that may have bought.
type Doubt struct {
	Attempt int       `json:"attempt"`           // number of the newest intent
	SendBy  time.Time `json:"sendBy,omitzero"`   // no byte of its request leaves after this
	Over    time.Time `json:"over,omitzero"`     // its request has ended by this time; zero: not known
	Since   time.Time `json:"since,omitzero"`    // when the oldest open attempt was journalled (for the in_doubt event)
	Bought  bool      `json:"bought,omitempty"`  // the vendor answered code 200 without an orderNumber: never send again
	Exists  bool      `json:"exists,omitempty"`  // the vendor answered that the number exists: never send again
	Asked   int       `json:"asked,omitempty"`   // lookups so far
	Missing bool      `json:"missing,omitempty"` // one complete round of lookups did not find the order
	Noticed bool      `json:"noticed,omitempty"` // the in_doubt event was published

	// The last lookup, for people: nothing is decided by it.
	AskedAt time.Time `json:"askedAt,omitzero"` // zero: not known
	Answer  string    `json:"answer,omitempty"` // why it did not end the doubt
}

// Sold reports whether the vendor answered that the order was bought or exists:
// then it is never sent again.
func (d Doubt) Sold() bool { return d.Bought || d.Exists }
