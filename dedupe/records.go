package dedupe

import (
	"context"
	"time"
)

// Phase is how far an order is, as far as Redis knows.
type Phase string

const (
	PhaseClaimed Phase = "claimed" // somebody began, or began and left: only the journal knows more
	PhaseReady   Phase = "ready"   // parked; no attempt is open
	PhaseDoubt   Phase = "doubt"   // parked; an attempt may have gone through
	PhaseFinal   Phase = "final"   // result published
)

// Entry is what Redis knows of an order.
type Entry struct {
	Phase       Phase         `json:"phase"`
	Fingerprint string        `json:"fingerprint"`
	Account     string        `json:"account,omitempty"`  // of the owner; empty: not known
	Owner       string        `json:"owner,omitempty"`    // who holds it; empty: nobody
	Left        time.Duration `json:"left,omitempty"`     // of the lease if there is an owner, else until it is due; never negative
	Attempt     int           `json:"attempt,omitempty"`  // number of the newest intent
	Refusals    int           `json:"attempts,omitempty"` // refusals so far
	Waits       int           `json:"waits,omitempty"`    // waits so far
	Rev         uint64        `json:"rev,omitempty"`      // journal revision; 0: none known
	Seq         uint64        `json:"seq,omitempty"`      // stream sequence of the request
	Expires     *time.Time    `json:"expires,omitempty"`  // of that request; nil: never, or not known
	Doubt       *Doubt        `json:"doubt,omitempty"`    // PhaseDoubt
	Last        Answer        `json:"last,omitzero"`      // the newest
	Result      []byte        `json:"result,omitempty"`   // PhaseFinal
	Born        time.Time     `json:"-"`                  // HoldNew, and HoldParked in PhaseReady without Rev: since when the records remember; zero: they have lost nothing
	Replaced    string        `json:"-"`                  // HoldNew: what was there could not be read, and why
}

// Hold is what Records.Claim found.
type Hold string

const (
	HoldNew     Hold = "new"     // nothing; it is ours now
	HoldParked  Hold = "parked"  // left in good order; it is ours now
	HoldLapsed  Hold = "lapsed"  // the lease of an owner who never came back; it is ours now
	HoldAgain   Hold = "again"   // it was ours already; the lease runs anew
	HoldBusy    Hold = "busy"    // leased by another
	HoldEarly   Hold = "early"   // parked, not due yet
	HoldFinal   Hold = "final"   // finished
	HoldOther   Hold = "other"   // another fingerprint stands there
	HoldForeign Hold = "foreign" // nobody holds it and it is due, but it belongs to another account; it is not ours
)

// Cache is the fast memory. Every operation is atomic, goes by the store's
// own clock, and is safe to repeat after a lost reply. What it knows may be
// lost at any moment; its errors mean "unknown", never "no".
type Cache interface {
	// Claim takes o for owner if nobody holds it and it is due, and reports
	// what it found there. It changes no Phase but none to PhaseClaimed.
	Claim(ctx context.Context, o Order, owner string, lease time.Duration) (Hold, Entry, error)
	// Complete notes that there was nothing to be remembered before born, an
	// Entry's: the records that began then have lost nothing. Not where they have
	// been lost since.
	Complete(ctx context.Context, born time.Time) error
	// Renew extends owner's lease and notes the journal revision it works
	// from. A missing record is recreated. ErrLost: another's.
	Renew(ctx context.Context, o Order, owner string, rev uint64, lease time.Duration) error
	// Park stores e's Phase, Attempt, Attempts, Waits, Rev, Doubt and Last, due after
	// delay, and gives up the lease. A missing record is recreated.
	// ErrLost, and no write, when owner is not the owner.
	Park(ctx context.Context, o Order, owner string, e Entry, delay time.Duration) error
	// Remember stores the published result, whoever holds the order. A final
	// that stands there is left as it is.
	Remember(ctx context.Context, o Order, result []byte, ttl time.Duration) error
	// Adopt gives o's record to o's account, without its Doubt, if it belongs to
	// the account from, nobody holds it, and it is due. Else it does nothing.
	Adopt(ctx context.Context, o Order, from string) error
	// Forget deletes o's record if owner holds it, or if its fingerprint is not
	// o's and nobody holds it. It returns what is left of another's lease.
	Forget(ctx context.Context, o Order, owner string) (time.Duration, error)
	// Look reads; false: there is none.
	Look(ctx context.Context, outTradeNo string) (Entry, bool, error)
}
