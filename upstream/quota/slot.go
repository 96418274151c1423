package quota

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// errOrdersFirst says that a lookup must let orders go first.
var errOrdersFirst = errors.New("orders go first")

// slot reserves slots until it is the time of one and ready. A lookup may be told
// to ask again later instead, with errOrdersFirst.
func (q *Limiter) slot(ctx context.Context, lookup int, ready func(context.Context) error) (again time.Duration, err error) {
	for {
		if err := ready(ctx); err != nil {
			return 0, err
		}
		r, err := q.reserve(ctx, lookup)
		if err != nil {
			return 0, err
		}
		if r.delay < 0 {
			return -r.delay, errOrdersFirst
		}
		slot := r.answered.Add(r.delay)
		if stands, err := q.approach(ctx, slot, r, ready); err != nil {
			return 0, err
		} else if !stands {
			continue
		}
		if err := sleepUntil(ctx, slot); err != nil {
			return 0, err
		}
		if err := ready(ctx); err != nil {
			return 0, err
		}
		// By the wall clock: the monotonic one stands still in a suspended machine.
		if late := time.Now().Round(0).Sub(slot.Round(0)); r.late+late <= maxLate && !q.void(slot) {
			return 0, nil
		}
	}
}

// approach waits until a slot that is far away is near. It keeps the connection
// fresh, and reports whether the slot still stands.
func (q *Limiter) approach(ctx context.Context, slot time.Time, r reservation, ready func(context.Context) error) (stands bool, err error) {
	if fresh := slot.Add(-freshFor); fresh.After(r.answered) {
		if err := sleepUntil(ctx, fresh); err != nil {
			return false, err
		}
		if err := ready(ctx); err != nil {
			return false, err
		}
	}
	sure := slot.Add(-max(q.hold-r.gap, q.hold/10))
	if !sure.After(r.answered) {
		return true, nil
	}
	if err := sleepUntil(ctx, sure); err != nil {
		return false, err
	}
	return q.stands(ctx, r.born), nil
}

func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-time.After(time.Until(at)):
		return nil
	case <-ctx.Done():
		return waitError(ctx, nil)
	}
}

// stands says whether a slot that is as far ahead as a cold start holds is still
// good: where the key was lost since, others may have been given it.
func (q *Limiter) stands(ctx context.Context, born int64) bool {
	is, err := q.rdb.HGet(ctx, q.key, "born").Int64()
	return err == nil && is == born
}

// reservation is what the script says, and when.
type reservation struct {
	delay, gap time.Duration
	born       int64
	answered   time.Time
	late       time.Duration // by which the answer took longer than usual
}

// reserve asks until Redis answers in good time.
func (q *Limiter) reserve(ctx context.Context, lookup int) (r reservation, err error) {
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(0)) // until ctx is done
	var last error
	err = backoff.Retry(func() error {
		for {
			asked := time.Now()
			said, err := reserve.Run(ctx, q.rdb, []string{q.key}, q.args(lookup, ordersPerLookup)...).Int64Slice()
			if err == nil && len(said) != 3 {
				err = fmt.Errorf("%d numbers, want 3", len(said))
			}
			if err != nil {
				last = err
				return err
			}
			r = reservation{
				delay: time.Duration(said[0]) * time.Microsecond, gap: time.Duration(said[1]) * time.Microsecond,
				born: said[2], answered: time.Now(),
			}
			q.spaced(said[1])
			if r.late = q.later(r.answered.Round(0).Sub(asked.Round(0))); r.late <= maxLate {
				return nil
			}
		}
	}, backoff.WithContext(policy, ctx))
	if err != nil {
		return reservation{}, waitError(ctx, last)
	}
	return r, nil
}

// slowReplies is how many slow replies in a row mean that Redis has become
// slower: more than one freeze of this process can hold up.
const slowReplies = slotsAhead + 1

// later returns by how much a round trip to Redis took longer than usual. If it
// is much (this process was frozen, say), the slot may be over before its delay
// was read.
func (q *Limiter) later(took time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if took-q.usual > maxLate { // the first ever is held to no time at all: that one can be slow as well
		if q.slow++; q.slow == 1 || took < q.least {
			q.least = took
		}
		if q.slow < slowReplies {
			return took - q.usual
		}
		q.usual = q.least
	}
	if q.usual == 0 || took < q.usual {
		q.usual = took
	}
	q.slow = 0
	return took - q.usual
}
