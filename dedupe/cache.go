package dedupe

import (
	"context"
	"time"
)

// Entry is what the cache knows of an order.
type Entry struct {
	State       State         `json:"phase"` // "": there is no entry
	Fingerprint string        `json:"fingerprint"`
	Account     string        `json:"account,omitempty"` // the owner's, of a final: the one that the order was sent under; "": not known
	Owner       string        `json:"owner,omitempty"`   // "": the order is parked or final
	Left        time.Duration `json:"left,omitempty"`    // until the lease ends, or, without an owner, until the order is due; not negative
	Rev         uint64        `json:"rev,omitempty"`     // journal revision; 0: not known
	Seq         uint64        `json:"seq,omitempty"`     // stream sequence of the order request
	Expires     *time.Time    `json:"expires,omitempty"` // its expiresAt; nil: never, or not known
	Progress
	Doubt  *Doubt `json:"doubt,omitempty"`  // StateInDoubt
	Result []byte `json:"result,omitempty"` // StateFinal

	// Born is the time since which the cache has lost nothing; zero: it never has.
	// Claim sets it where there was no entry, or one in StateReady without Rev.
	Born time.Time `json:"-"`
	// Replaced is why Claim deleted an entry that could not be read; "": it did not.
	Replaced string `json:"-"`
}

// Cache is a fast store of orders that may lose anything at any moment. Every method
// is atomic, goes by the clock of the store, and is safe to repeat after a lost reply.
// An error means that nothing is known, never that there is nothing.
type Cache interface {
	// Claim gives o to owner, if owner has it already, or if nobody has it, it is due,
	// and it is of the same account. It never gives away an order that is final or has
	// another fingerprint. It returns the entry as it was before, and whether owner has
	// the order. Of the State it only changes "" to StateClaimed.
	Claim(ctx context.Context, o Order, owner string, lease time.Duration) (before Entry, taken bool, err error)
	// Complete notes that there was nothing to remember before born, which is an
	// Entry.Born. It does nothing if the cache has lost something since.
	Complete(ctx context.Context, born time.Time) error
	// Renew extends owner's lease and notes the journal revision rev; 0: not known. It
	// recreates a missing entry. ErrLost: owner does not have the order.
	Renew(ctx context.Context, o Order, owner string, rev uint64, lease time.Duration) error
	// Park stores the State, Progress, Rev and Doubt of e, due after delay, and ends
	// the lease. It recreates a missing entry. ErrLost: another owner has the order,
	// and nothing was written.
	Park(ctx context.Context, o Order, owner string, e Entry, delay time.Duration) error
	// Remember stores the result, whoever has the order. It leaves a final
	// as it is. ttl is how long it is kept; 0: for ever.
	Remember(ctx context.Context, o Order, result []byte, ttl time.Duration) error
	// Adopt moves o's entry from the account from to o's account, without its Doubt. It
	// does nothing if the entry is another account's, has an owner, or is not due.
	Adopt(ctx context.Context, o Order, from string) error
	// Forget deletes o's entry, if owner has it, or if its fingerprint is not o's and
	// nobody has it. It returns how long another owner's lease lasts.
	Forget(ctx context.Context, o Order, owner string) (time.Duration, error)
	// Look returns the entry and changes nothing; false: there is none.
	Look(ctx context.Context, outTradeNo string) (Entry, bool, error)
}
