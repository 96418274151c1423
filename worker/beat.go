package worker

import (
	"context"
	"errors"
	"time"

	"orderworker/dedupe"
)

// beat gives a sign of life for each order in progress, to the server first
// and then to the store of claims, four times within each ack wait.
func (w *Worker) beat(ctx context.Context) {
	every := time.NewTicker(w.ackWait / 4)
	defer every.Stop()
	var trouble string // with the stream, as it was reported last
	away := false      // the store of claims
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-every.C:
			orders := w.working.snapshot()
			for _, o := range orders {
				_ = o.delivery.Msg.InProgress() // answered meanwhile, or the connection is away: then there is nothing to do here
			}
			switch asked, err := w.renew(ctx, orders); {
			case err != nil && !away && ctx.Err() == nil: // orders that wait for a slot would not notice
				away = true
				w.stalled.enter("renew", err)
			case asked && err == nil && away:
				away = false
				w.stalled.leave("renew", true)
			}
			w.doubts.forget(at)
			trouble = w.inspect(ctx, trouble)
		}
	}
}

// inspect notes how much is waiting, and reports a stream that was altered so
// that it could drop an order. It returns what is wrong, to be reported once.
func (w *Worker) inspect(ctx context.Context, reported string) string {
	w.metrics.spaced(w.slots)
	ctx, cancel := context.WithTimeout(ctx, w.ackWait/4)
	defer cancel()
	backlog, err := w.source.Pending(ctx)
	lossy, isLossy := errors.AsType[*Lossy](err)
	switch {
	case err != nil && !isLossy:
		return reported // nothing is known; the next pull says why
	case isLossy && lossy.Error() != reported:
		reported = lossy.Error()
		w.logger.Error().Err(lossy).Msg("the orders stream or its consumer was altered while running")
	case !isLossy:
		reported = ""
	}
	w.metrics.pending.Set(float64(backlog.Pending))
	return reported
}

// renew keeps the claims of orders. The error is of the
// store, if it was asked and did not answer.
func (w *Worker) renew(ctx context.Context, orders []inProgress) (asked bool, failed error) {
	ctx, cancel := context.WithTimeout(ctx, w.ackWait/4)
	defer cancel()
	for _, o := range orders {
		if o.claim == nil {
			continue
		}
		err := w.claims.Renew(ctx, o.claim)
		switch {
		case errors.Is(err, dedupe.ErrLost):
			if w.working.lose(o) {
				w.logger.Warn().Str("out_trade_no", o.claim.OutTradeNo).Msg("lease lost: another worker may take the order over; the journal decides who may send")
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
