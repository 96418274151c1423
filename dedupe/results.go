package dedupe

import "context"

// FinalEvent is the published final event of an order.
type FinalEvent struct {
	Result      []byte // JSON
	Seq         uint64 // stream sequence of the order request; 0: not known
	Fingerprint string // the order's fingerprint; "": not known
	Account     string // the account that the order was sent under; "": not known
}

// Results reads the published final events. A Store reads them wherever the journal has no
// final, because a succeeded event may be the only record of a success.
type Results interface {
	// Final returns the final event of an order; false: there is none. It must read the
	// subject of each final status, since the last event on all subjects of an order may be
	// a rejected one, and it must read from the leader, since a replica that is behind may
	// not have the event yet.
	Final(ctx context.Context, outTradeNo string) (FinalEvent, bool, error)
	// Used reports whether there is a final event of any order.
	Used(ctx context.Context) (bool, error)
}
