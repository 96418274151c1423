package worker

import (
	"context"
	"errors"
	"time"

	"orderworker/dedupe"
)

// heartbeat sends a heartbeat for each order in flight, to the server first and
// then to the store of claims, four times within each ack wait.
func (w *Worker) heartbeat(ctx context.Context) {
	every := time.NewTicker(w.ackWait / 4)
	defer every.Stop()
	var reported string // what was wrong with the stream
	away := false       // the store of claims
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-every.C:
			orders := w.inFlight.snapshot()
			for _, o := range orders {
				_ = o.task.delivery.Msg.InProgress() // answered meanwhile, or the connection is away: then there is nothing to do here
			}
			switch asked, err := w.renew(ctx, orders); {
			case err != nil && !away && ctx.Err() == nil: // orders that wait for a slot would not notice
				away = true
				w.unavailable.enter("renew", err)
			case asked && err == nil && away:
				away = false
				w.unavailable.leave("renew", true)
			}
			w.pause.Remind(at)
			w.doubts.count(at) // forgets those that are due
			reported = w.inspect(ctx, reported)
		}
	}
}

// inspect notes how much is waiting, and reports a stream that was altered so
// that it could drop an order. It returns what is wrong, to be reported once.
func (w *Worker) inspect(ctx context.Context, reported string) string {
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
	w.waiting.Store(&backlog)
	return reported
}

// backlog is what was waiting in the stream at the last look.
func (w *Worker) backlog() Backlog {
	if b := w.waiting.Load(); b != nil {
		return *b
	}
	return Backlog{}
}

// renew extends the leases of orders. The error is of the store, if it was asked
// and did not answer.
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
			if w.inFlight.lose(o) {
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
