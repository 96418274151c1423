package dedupe

import "context"

// FinalEvent is the published final event of an order.
type FinalEvent struct {
	Result      []byte // JSON
	Seq         uint64 // stream sequence of the order request; 0: not known
	Fingerprint string // of the order; "": not known
	Account     string // that the order was sent under; "": not known
}

// Results reads the published final events: a succeeded event is the record of a success.
// It is asked wherever the journal is read and has no final.
type Results interface {
	// Final returns the final event of an order; false: there is none. It reads the
	// subject of each final status from the leader: the last event of all subjects of an
	// order may be a rejected one, and a replica that is behind would show an order
	// without its event.
	Final(ctx context.Context, outTradeNo string) (FinalEvent, bool, error)
	// Used reports whether there is a final event of any order.
	Used(ctx context.Context) (bool, error)
}
