package worker

import (
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// stalled is the orders in progress that wait for a store, and the heartbeat of
// all of them. However many there are, the log has one line when the first begins
// to wait and one when none waits any more.
type stalled struct {
	logger zerolog.Logger

	mu    sync.Mutex
	waits int
	since time.Time
}

// enter begins the wait of an order: what was to be done, and why it was not.
func (s *stalled) enter(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits++
	if s.since.IsZero() {
		s.since = time.Now()
		s.logger.Warn().Err(err).Str("what", what).Msg("a store does not answer; orders wait for it")
	}
}

// leave ends it; done: the store has answered.
func (s *stalled) leave(done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits--
	if s.waits == 0 && done {
		s.logger.Info().Int64("waited_ms", time.Since(s.since).Milliseconds()).Msg("the stores answer again")
		s.since = time.Time{}
	}
}
