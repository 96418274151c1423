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

// slot reserves a slot and waits for it, until one has come in time and ready. For a
// lookup it may return errOrdersFirst, and how long to wait before asking again.
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
		if valid, err := q.approach(ctx, slot, r, ready); err != nil {
			return 0, err
		} else if !valid {
			continue
		}
		if err := sleepUntil(ctx, slot); err != nil {
			return 0, err
		}
		if err := ready(ctx); err != nil {
			return 0, err
		}
		// By the wall clock: the monotonic one stands still while a machine is suspended.
		if late := time.Now().Round(0).Sub(slot.Round(0)); r.late+late <= maxLate && !q.tooEarly(slot) {
			return 0, nil
		}
	}
}

// approach waits until a far slot is near. On the way it calls ready, because the
// connection may have been idle for too long. It reports whether the slot is still
// valid.
func (q *Limiter) approach(ctx context.Context, slot time.Time, r reservation, ready func(context.Context) error) (valid bool, err error) {
	if fresh := slot.Add(-freshFor); fresh.After(r.answered) {
		if err := sleepUntil(ctx, fresh); err != nil {
			return false, err
		}
		if err := ready(ctx); err != nil {
			return false, err
		}
	}
	// A slot that is nearer than the wait of a cold start is valid in any case.
	check := slot.Add(-max(q.window-r.spacing, q.window/10))
	if !check.After(r.answered) {
		return true, nil
	}
	if err := sleepUntil(ctx, check); err != nil {
		return false, err
	}
	return q.sameKey(ctx, r.born), nil
}

func sleepUntil(ctx context.Context, at time.Time) error {
	select {
	case <-time.After(time.Until(at)):
		return nil
	case <-ctx.Done():
		return waitError(ctx, nil)
	}
}

// sameKey reports whether the key is still the one that was born then. If it was lost
// since, others may have been given the same slot.
func (q *Limiter) sameKey(ctx context.Context, born int64) bool {
	is, err := q.rdb.HGet(ctx, q.key, "born").Int64()
	return err == nil && is == born
}

// reservation is the reply of reserveScript, and when it came.
type reservation struct {
	delay    time.Duration // until the slot; below 0: how long a lookup must wait before it asks again
	spacing  time.Duration
	born     int64
	answered time.Time
	late     time.Duration // by which the reply took longer than usual
}

// reserve asks Redis for a slot until a reply comes in time.
func (q *Limiter) reserve(ctx context.Context, lookup int) (r reservation, err error) {
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(0)) // until ctx ends
	var last error
	err = backoff.Retry(func() error {
		for { // a slow reply is not an error: ask again at once
			if r, last = q.ask(ctx, lookup); last != nil || r.late <= maxLate {
				return last
			}
		}
	}, backoff.WithContext(policy, ctx))
	if err != nil {
		return reservation{}, waitError(ctx, last)
	}
	return r, nil
}

// ask runs reserveScript once.
func (q *Limiter) ask(ctx context.Context, lookup int) (reservation, error) {
	asked := time.Now()
	reply, err := reserve.Run(ctx, q.rdb, []string{q.key}, q.args(lookup, ordersPerLookup)...).Int64Slice()
	if err == nil && len(reply) != 3 {
		err = fmt.Errorf("%d numbers, want 3", len(reply))
	}
	if err != nil {
		return reservation{}, err
	}
	r := reservation{
		delay: time.Duration(reply[0]) * time.Microsecond, spacing: time.Duration(reply[1]) * time.Microsecond,
		born: reply[2], answered: time.Now(),
	}
	q.spaced(reply[1])
	r.late = q.excess(r.answered.Round(0).Sub(asked.Round(0)))
	return r, nil
}

// maxSlow is how many slow replies in a row mean that Redis has become slower. One
// freeze of this process delays at most slotsAhead replies.
const maxSlow = slotsAhead + 1

// excess returns by how much a round trip to Redis took longer than usual. If it is
// much, because this process was frozen, say, the slot may be over already.
func (q *Limiter) excess(took time.Duration) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if took-q.usual > maxLate { // the first reply ever is compared with 0, since it can be slow as well
		if q.slow++; q.slow == 1 || took < q.leastSlow {
			q.leastSlow = took
		}
		if q.slow < maxSlow {
			return took - q.usual
		}
		q.usual = q.leastSlow
	}
	if q.usual == 0 || took < q.usual {
		q.usual = took
	}
	q.slow = 0
	return took - q.usual
}
