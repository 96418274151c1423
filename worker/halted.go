package worker

import (
	"context"
	"errors"
	"time"

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
	Allows() error                   // the same at once
	Until() (time.Time, error)       // the same, and until when a request may be written
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

// haltLog logs what an operator says, and that it cannot be read. Its method is called by
// one goroutine at a time.
type haltLog struct {
	*Worker
	paused bool // what the last line said
	unread bool
}

// log logs that an operator's pause has begun, lasts, or has ended. A bucket that cannot
// be read is a store that is unavailable.
func (l *haltLog) log(s halt.Status) {
	switch {
	case s.Err != nil && !l.unread:
		l.unread = true
		l.unavailable.enter("operator_word", s.Err)
	case s.Err == nil && l.unread:
		l.unread = false
		l.unavailable.leave("operator_word", true)
	}
	switch {
	case s.Lasts:
		l.paused = true
		e := l.logger.Warn().Str("by", cut(s.By, 256)).Str("reason", cut(s.Reason, 1024)).Str("since", Time{s.At}.String()).
			Int64("paused_ms", time.Since(s.At).Milliseconds())
		if !s.Until.IsZero() {
			e = e.Str("until", Time{s.Until}.String())
		}
		e.Msg("orders paused by the operator")
	case l.paused && s.Err == nil:
		l.paused = false
		l.logger.Info().Str("by", cut(s.By, 256)).Msg("orders resumed by the operator")
	}
}
