package dedupe

import "context"

// FinalEvent is the final event of an order, as the results stream has it.
type FinalEvent struct {
	Result      []byte
	Seq         uint64 // stream sequence of the request; 0: not known
	Fingerprint string // of the request; "": not known
	Account     string // of the vendor; "": not known
}

// Results finds the final event of an order; false: there is none.
type Results interface {
	Final(ctx context.Context, outTradeNo string) (FinalEvent, bool, error)
}
