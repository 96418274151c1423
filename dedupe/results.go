package dedupe

import "context"

// FinalEvent is the final event of an order as the results stream has it.
type FinalEvent struct {
	Result      []byte
	Seq         uint64 // stream sequence of the request; 0: not known
	Fingerprint string // of the order's content; "": not known
	Account     string // under which it ended; "": not known
}

// Results is what was published. It is read where the journal has nothing and
// somebody may have worked on the order, or Redis was lost since.
type Results interface {
	// Final returns the final event of an order; false: there is none.
	Final(ctx context.Context, outTradeNo string) (FinalEvent, bool, error)
	// Used reports whether there is any final event.
	Used(ctx context.Context) (bool, error)
}
