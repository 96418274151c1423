package quota

import (
	"context"
	"fmt"
	"time"
)

const (
	// When the vendor says "too fast", two thirds of the rate are left, again and
	// again down to leastShare. The rate grows back by the same amount each second:
	// so slowly that a vendor which allows less than the rate refuses about one
	// request in a hundred.
	shareLeft  = 2.0 / 3
	leastShare = 1.0 / 32
	// recovery is how long the rate takes to grow from nothing to the whole. At low
	// rates it is the time of recoveryIn slots, if that is longer.
	recovery   = 3 * time.Minute
	recoveryIn = 1800
	// maxRetryAfter is the longest time by which one answer can delay the account.
	maxRetryAfter = 5 * time.Minute
)

// Slow tells all workers that the vendor said "too fast". The spacing of slots grows
// at once, and shrinks again slowly. The next slot is at least retryAfter away, of
// which at most 5 minutes count. An error says that the other workers may not know of
// it. Do not call Slow again then.
//
// Without a limit the workers share no clock: only this process waits for retryAfter.
func (q *Limiter) Slow(ctx context.Context, retryAfter time.Duration) error {
	retryAfter = min(max(retryAfter, 0), maxRetryAfter)
	q.mu.Lock()
	if until := time.Now().Add(retryAfter); until.After(q.notBefore) {
		q.notBefore = until
	}
	q.mu.Unlock()
	if q.spacing == 0 {
		return nil
	}
	spacing, err := slow.Run(ctx, q.rdb, []string{q.key}, q.args(shareLeft, leastShare, retryAfter.Microseconds())...).Int64()
	if err != nil {
		return fmt.Errorf("slow down: %w", err)
	}
	q.spaced(spacing)
	return nil
}

// tooEarly reports whether a slot lies before the end of the last Retry-After. It was
// reserved before the vendor said so.
func (q *Limiter) tooEarly(slot time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slot.Before(q.notBefore)
}

// spaced notes the spacing of slots that Redis said, in µs.
func (q *Limiter) spaced(micros int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lastSpacing = time.Duration(micros) * time.Microsecond
}

// Spacing returns the time between two slots, as Redis said last; 0 without a limit.
func (q *Limiter) Spacing() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lastSpacing
}
