package worker

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"orderworker/worker/halt"
)

// words reads the operator's word: *natsio.JetStream.
type words interface {
	Halt(ctx context.Context) (halt.State, error)
}

// halts keeps the worker to the operator's word: *halt.Watch.
type halts interface {
	Run(ctx context.Context)         // until ctx ends; without it nothing is sent
	Enter(ctx context.Context) error // nil: an order may be sent; otherwise a *halt.Error, or ctx's
	Allows() error                   // the same at once, right before something is written
	Status() halt.Status
}

// haltError returns the *halt.Error in err, or nil.
func haltError(err error) *halt.Error {
	e, _ := errors.AsType[*halt.Error](err)
	return e
}

// HaltNote returns what /readyz says of an operator's pause; "": there is none.
func (w *Worker) HaltNote() string {
	s := w.halts.Status()
	switch {
	case !s.Lasts:
		return ""
	case s.Until.IsZero():
		return "paused by the operator since " + Time{s.At}.String()
	}
	return "paused by the operator since " + Time{s.At}.String() + " until " + Time{s.Until}.String()
}

// HaltUnread returns why the operator's word cannot be read; then nothing is sent.
func (w *Worker) HaltUnread(context.Context) error { return w.halts.Status().Err }

// logHalt logs that an operator's pause has begun, lasts, or has ended, or that nobody
// knows.
func (w *Worker) logHalt(s halt.Status) {
	switch {
	case s.Lasts:
		e := w.logger.Warn().Str("by", cut(s.By, 256)).Str("reason", cut(s.Reason, 1024)).Str("since", Time{s.At}.String()).
			Int64("paused_ms", time.Since(s.At).Milliseconds())
		if !s.Until.IsZero() {
			e = e.Str("until", Time{s.Until}.String())
		}
		e.Msg("orders paused by the operator")
	case s.Err != nil:
		w.logger.WithLevel(zerolog.ErrorLevel).Err(s.Err).Msg("the operator's word cannot be read, nothing is sent")
	default:
		w.logger.Info().Str("by", cut(s.By, 256)).Msg("orders not paused by the operator")
	}
}
