package worker

import (
	"context"
	"errors"
	"time"

	"orderworker/dedupe"
)

// heartbeat sends a heartbeat for each order in flight, to JetStream first and
// then to the store of claims, four times within each ack wait, until ctx ends.
func (w *Worker) heartbeat(ctx context.Context) {
	every := time.NewTicker(w.ackWait / 4)
	defer every.Stop()
	var reported string // the fault of the orders stream that was logged last
	failing := false    // the store of claims
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-every.C:
			orders := w.inFlight.snapshot()
			for _, o := range orders {
				_ = o.task.delivery.Msg.InProgress() // an error means that it was acknowledged meanwhile, or NATS is unavailable
			}
			switch asked, err := w.renew(ctx, orders); {
			case err != nil && !failing && ctx.Err() == nil: // an order that waits for its slot calls no store, and would not notice
				failing = true
				w.unavailable.enter("renew", err)
			case asked && err == nil && failing:
				failing = false
				w.unavailable.leave("renew", true)
			}
			w.pause.Remind(at)
			w.doubts.count(at) // forgets those that are due
			reported = w.inspectStream(ctx, reported)
		}
	}
}

// inspectStream keeps the backlog for the metrics, and logs a stream or consumer
// that was altered so that it could drop an order. It returns the fault, and logs
// it only where it differs from reported.
func (w *Worker) inspectStream(ctx context.Context, reported string) string {
	ctx, cancel := context.WithTimeout(ctx, w.ackWait/4)
	defer cancel()
	backlog, err := w.source.Pending(ctx)
	lossy, isLossy := errors.AsType[*LossyError](err)
	switch {
	case err != nil && !isLossy:
		return reported // nothing is known; the next pull logs why
	case isLossy && lossy.Error() != reported:
		reported = lossy.Error()
		w.logger.Error().Err(lossy).Msg("the orders stream or its consumer was altered while running")
	case !isLossy:
		reported = ""
	}
	w.lastBacklog.Store(&backlog)
	return reported
}

// backlog returns what waited in the stream when it was inspected last.
func (w *Worker) backlog() Backlog {
	if b := w.lastBacklog.Load(); b != nil {
		return *b
	}
	return Backlog{}
}

// renew renews the leases of orders. asked says that the store was called at all;
// failed is the last error other than a lost lease.
func (w *Worker) renew(ctx context.Context, orders []flight) (asked bool, failed error) {
	ctx, cancel := context.WithTimeout(ctx, w.ackWait/4)
	defer cancel()
	for _, o := range orders {
		if o.claim == nil {
			continue
		}
		err := w.claims.Renew(ctx, o.claim)
		switch {
		case errors.Is(err, dedupe.ErrLost):
			if w.inFlight.dropClaim(o) {
				w.logger.Warn().Str("out_trade_no", o.claim.OutTradeNo).Msg("lease lost")
			}
		case err != nil:
			failed = err
		}
		asked = true
		if ctx.Err() != nil {
			break
		}
	}
	return asked, failed
}
