package dedupe

import (
	"context"
	"time"
)

// Entry is what Redis knows of an order.
type Entry struct {
	State       State         `json:"phase"` // "": there is no record
	Fingerprint string        `json:"fingerprint"`
	Account     string        `json:"account,omitempty"` // of the owner; empty: not known
	Owner       string        `json:"owner,omitempty"`   // who holds it; empty: nobody
	Left        time.Duration `json:"left,omitempty"`    // of the lease if there is an owner, else until it is due; never negative
	Rev         uint64        `json:"rev,omitempty"`     // journal revision; 0: none known
	Seq         uint64        `json:"seq,omitempty"`     // stream sequence of the request
	Expires     *time.Time    `json:"expires,omitempty"` // of that request; nil: never, or not known
	Progress
	Doubt    *Doubt    `json:"doubt,omitempty"`  // StateInDoubt
	Result   []byte    `json:"result,omitempty"` // StateFinal
	Born     time.Time `json:"-"`                // of Claim, where there was no entry or one in StateReady without Rev: since when the cache remembers; zero: it has lost nothing
	Replaced string    `json:"-"`                // of Claim, where there was no entry: what was there could not be read, and why
}

// Cache is the fast memory. Every operation is atomic, goes by the store's
// own clock, and is safe to repeat after a lost reply. What it knows may be
// lost at any moment; its errors mean "unknown", never "no".
type Cache interface {
	// Claim takes o for owner if owner has it already, or if nobody holds it, it
	// is due and of no other account. It never takes an order that is final, or that has
	// another fingerprint. It returns the entry as it was before, and whether o is
	// owner's now. It changes no State but "" to StateClaimed.
	Claim(ctx context.Context, o Order, owner string, lease time.Duration) (before Entry, taken bool, err error)
	// Complete notes that there was nothing to be remembered before born, an
	// Entry's: the records that began then have lost nothing. Not where they have
	// been lost since.
	Complete(ctx context.Context, born time.Time) error
	// Renew extends owner's lease and notes the journal revision it works
	// from. A missing record is recreated. ErrLost: another's.
	Renew(ctx context.Context, o Order, owner string, rev uint64, lease time.Duration) error
	// Park stores e's State, Progress, Rev and Doubt, due after
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
