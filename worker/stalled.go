package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"orderworker/dedupe"
)

// storeBackoff paces a repeated call to a store: 50 ms growing to 2 s, for ever.
func storeBackoff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(0))
}

// keepOn calls op until it succeeds, says dedupe.ErrLost or ErrBroken, or ctx ends. An order
// in progress so holds its slot while a store is away: nothing else is pulled,
// nothing is sent, and nothing fails.
func keepOn[T any](ctx context.Context, w *Worker, what string, op func() (T, error)) (T, error) {
	var trouble *backoff.ExponentialBackOff // made when there is some: mostly there is none
	done := false
	defer func() {
		if trouble != nil {
			w.stalled.leave(what, done)
		}
	}()
	for {
		v, err := op()
		done = err == nil || errors.Is(err, dedupe.ErrLost) || errors.Is(err, dedupe.ErrBroken)
		switch {
		case done:
			return v, err
		case ctx.Err() != nil:
			return v, context.Cause(ctx)
		case trouble == nil:
			trouble = storeBackoff()
			w.stalled.enter(what, err)
		}
		w.logger.Debug().Err(err).Str("what", what).Msg("trying again")
		select {
		case <-time.After(trouble.NextBackOff()):
		case <-ctx.Done():
			return v, context.Cause(ctx)
		}
	}
}

// stalled is what waits for a store: orders in progress, by what is to be done,
// and the heartbeat of all of them. However many there are of a kind, the log has
// one line when the first begins to wait and one when none waits any more.
type stalled struct {
	logger zerolog.Logger

	mu    sync.Mutex
	waits map[string]*stall
}

// stall is the wait for one kind of thing to be done.
type stall struct {
	orders int
	since  time.Time
}

// enter begins the wait of an order: what is to be done, and why it was not.
func (s *stalled) enter(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waits == nil {
		s.waits = make(map[string]*stall)
	}
	if s.waits[what] == nil {
		s.waits[what] = &stall{since: time.Now()}
		s.logger.Warn().Err(err).Str("what", what).Msg("a store does not answer; orders wait for it")
	}
	s.waits[what].orders++
}

// leave ends it; done: the store has answered.
func (s *stalled) leave(what string, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waits[what]
	w.orders--
	if w.orders == 0 && done {
		s.logger.Info().Str("what", what).Int64("waited_ms", time.Since(w.since).Milliseconds()).Msg("the store answers again")
		delete(s.waits, what)
	}
}
