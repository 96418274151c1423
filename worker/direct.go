package worker

import (
	"context"
	"time"

	"orderworker/upstream"
)

// Direct makes calls on a connection that is opened after the slot was taken.
type Direct struct{ *upstream.Client }

// Place connects and places.
func (d Direct) Place(ctx context.Context, o upstream.Order, sendBy time.Time) (upstream.Purchase, error) {
	line, err := d.Connect(ctx)
	if err != nil {
		return upstream.Purchase{}, err
	}
	return line.Place(ctx, o, sendBy)
}

// Lookup connects and looks up.
func (d Direct) Lookup(ctx context.Context, outTradeNos []string, sendBy time.Time) (upstream.Lookup, error) {
	line, err := d.Connect(ctx)
	if err != nil {
		return upstream.Lookup{}, err
	}
	return line.Lookup(ctx, outTradeNos, sendBy)
}

// unconnected is a wait for a slot without a connection.
func unconnected(context.Context) error { return nil }
