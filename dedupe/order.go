package dedupe

import (
	"errors"
	"time"
)

// ErrLost means that another owner has written to the order since it was claimed.
// Do not go on with the claim: claim again, or hand the message back.
var ErrLost = errors.New("claim lost: another owner has written")

// ErrBroken says that what is stored cannot be read, that the journal refuses a
// write for good, or that the caller asks for
// what must never be done. Trying again does not help.
var ErrBroken = errors.New("broken")

// Order identifies one request message.
type Order struct {
	OutTradeNo  string
	Fingerprint string    // of iccid, packageCode and renew; made by the caller
	Account     string    // of the vendor, under which the caller sends and asks: a hash; "" is not compared
	Seq         uint64    // stream sequence of the request
	Stored      time.Time // when the request was stored; zero: not known
	// Expires is after when the order is not to be sent; nil: never, or not known.
	// Of a Claim it is the first request's, as Claim.First.
	Expires *time.Time
}

// kept is t as the stores can spell it; nil where they cannot.
func kept(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	if u.Year() < 0 || u.Year() > 9999 {
		return nil
	}
	return &u
}

// Verdict is what a claim found, and so what its caller has to do.
type Verdict string

const (
	Fresh    Verdict = "fresh"           // ours; nothing was ever sent
	Ready    Verdict = "ready"           // ours; every earlier attempt is known not to have bought
	InDoubt  Verdict = "in doubt"        // ours to settle: an attempt may have gone through; Doubt is set
	Busy     Verdict = "busy"            // another delivery holds it, for Left more
	Waiting  Verdict = "waiting"         // nobody's turn for Left more
	Final    Verdict = "final"           // ours; has its Result, of which we do not know that it was published: publish (again), Remember, ack
	Done     Verdict = "done"            // Result is published and remembered
	Conflict Verdict = "conflict"        // the number was already used with another fingerprint
	Foreign  Verdict = "foreign account" // an attempt under another account may have gone through: hand it back, neither look it up nor send it
)

// Ours reports whether the claim holds the order: Fresh, Ready, InDoubt, Final.
func (v Verdict) Ours() bool {
	return v.open() || v == Final
}

// open says that the order is ours and has no result yet.
func (v Verdict) open() bool {
	return v == Fresh || v == Ready || v == InDoubt
}

// State is how far an order is, as a store knows it.
type State string

const (
	StateClaimed State = "claimed" // cache only: somebody began, or began and left; only the journal knows more
	StateIntent  State = "intent"  // journal only: a request may leave until SendBy, and may have bought
	StateInDoubt State = "doubt"   // cache only: parked; an attempt may have gone through
	StateReady   State = "ready"   // no attempt has bought; the next may start when it is due
	StateFinal   State = "final"   // the order has its result, for ever
)

// Progress is how often an order was tried. Every store keeps it.
type Progress struct {
	Attempt  int    `json:"attempt,omitempty"`  // number of the newest intent
	Refusals int    `json:"attempts,omitempty"` // answers that refused the order
	Waits    int    `json:"waits,omitempty"`    // waits, after a refusal or not: the exponent of the next backoff
	Last     Answer `json:"last,omitzero"`      // the vendor's newest refusal
}

// Answer is what the vendor said last when it did not sell.
type Answer struct {
	Class   string `json:"class,omitempty"` // what it is about: refused, account, throttled
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

// Doubt is what is known of an attempt that may have gone through.
type Doubt struct {
	Attempt int       `json:"attempt"`           // number of the newest intent
	SendBy  time.Time `json:"sendBy,omitzero"`   // none of its bytes leave after this
	Over    time.Time `json:"over,omitzero"`     // it has ended by then, one way or the other; zero: not known
	Since   time.Time `json:"since,omitzero"`    // when the order's oldest open attempt was written down (for the in_doubt notice)
	Bought  bool      `json:"bought,omitempty"`  // the vendor said code 200 but not which orderNumber: never send again
	Exists  bool      `json:"exists,omitempty"`  // the vendor said that the number exists: never send again
	Asked   int       `json:"asked,omitempty"`   // lookups so far
	Missing bool      `json:"missing,omitempty"` // the vendor has already once answered, readable and whole, that there is none
	Noticed bool      `json:"noticed,omitempty"` // the in_doubt notice was published
}

// Sold reports whether the vendor said that the order was bought or exists: it
// is never sent again.
func (d Doubt) Sold() bool { return d.Bought || d.Exists }
