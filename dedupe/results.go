package dedupe

import "context"

// FinalEvent is the published final event of an order.
type FinalEvent struct {
	Result      []byte // JSON
	Seq         uint64 // stream sequence of the order request; 0: not known
	Fingerprint string // of the order; "": not known
	Account     string // that the order was sent under; "": not known
}

// Results reads the published final events. It is asked where the journal has no
// record, although a worker may have worked on the order, and after the cache was lost.
type Results interface {
	// Final returns the final event of an order; false: there is none.
	Final(ctx context.Context, outTradeNo string) (FinalEvent, bool, error)
	// Used reports whether there is a final event of any order.
	Used(ctx context.Context) (bool, error)
}
