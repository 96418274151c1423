package upstream

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redis/go-redis/v9"
)

// reserve takes the account's next send slot, by Redis's clock. All clocks of
// the fleet but that one are out of it, because it answers with a delay.
//
// A key that is missing may have been wiped together with slots that were just
// handed out: so the first slot then waits until they all lie a second back.
// Sent twice (a lost reply), it only wastes a slot.
//
// KEYS[1]  quota:{appkey}, the next free slot, µs since 1970
// ARGV[1]  spacing of slots, µs
// ARGV[2]  hold of a cold start, µs
// ARGV[3]  how long the key outlives its last slot, ms
// returns  the delay until the slot, µs, 0 or more
var reserve = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local free = tonumber(redis.call('GET', KEYS[1]) or '') or now + ARGV[2]
local slot = math.max(free, now)
local after = slot + ARGV[1]
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', string.format('%.0f', (after - now) / 1000 + ARGV[3]))
return slot - now
`)

const (
	// slotsAhead is how many slots one process may hold: those of a process that
	// dies are lost to the fleet.
	slotsAhead = 2
	// maxLate is how much too late a slot may be used: more of it eats into the
	// next second, which others have slots in.
	maxLate = 5 * time.Millisecond
	// keyTTL saves the cold start after a quiet hour, and cleans up after a day.
	keyTTL = 24 * time.Hour
)

// Quota spaces the requests of all workers of one account evenly, through
// Redis: no second as the vendor sees it holds more than the rate. It is safe
// for concurrent use; who waits is served in order.
//
// Source: design, section 7, "Slots".
type Quota struct {
	rdb       redis.UniversalClient
	key       string
	spacing   time.Duration // 0: no limit
	hold      time.Duration
	tolerance time.Duration // how much longer than usual a reply of Redis may take
	ahead     chan struct{} // held from a reservation to its slot; Go queues senders in order

	mu    sync.Mutex
	usual time.Duration // round trip to Redis
}

// NewQuota returns the quota of appKey: rate requests per second, whose way to
// the vendor takes up to jitter longer or shorter. Rate 0 means no limit: Wait
// returns at once and never touches Redis. A rate that is negative or not a
// number panics: it must not end as no limit.
func NewQuota(rdb redis.UniversalClient, appKey string, rate float64, jitter time.Duration) *Quota {
	if !(rate >= 0) || jitter < 0 {
		panic(fmt.Sprintf("upstream: quota of rate %v, jitter %v", rate, jitter))
	}
	q := &Quota{
		rdb:       rdb,
		key:       "quota:{" + url.QueryEscape(appKey) + "}", // the braces are a cluster's hash tag
		hold:      time.Second + jitter,
		tolerance: max(maxLate, jitter/2),
		ahead:     make(chan struct{}, slotsAhead),
	}
	if rate > 0 {
		micros := math.Ceil(float64(q.hold.Microseconds()) / rate)
		q.spacing = time.Duration(min(micros, maxSpacing)) * time.Microsecond
	}
	return q
}

// maxSpacing keeps a tiny rate within what a time.Duration holds, in µs.
const maxSpacing = float64(365 * 24 * time.Hour / time.Microsecond)

// Wait returns nil when this process may send one request now. While Redis is
// away it waits; the error is that ctx ended, wrapping its cause.
func (q *Quota) Wait(ctx context.Context) error {
	if q.spacing == 0 {
		return nil
	}
	select {
	case q.ahead <- struct{}{}:
		defer func() { <-q.ahead }()
	case <-ctx.Done():
		return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
	}
	for {
		slot, err := q.reserve(ctx)
		if err != nil {
			return err
		}
		select {
		case <-time.After(time.Until(slot)):
		case <-ctx.Done():
			return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
		}
		// By the wall clock: the monotonic one stands still in a suspended machine.
		if late := time.Now().Round(0).Sub(slot.Round(0)); late <= maxLate {
			return nil
		}
	}
}

// reserve takes slots until Redis answers with one in good time, and returns
// when it is.
func (q *Quota) reserve(ctx context.Context) (slot time.Time, err error) {
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(0)) // until ctx is done
	var last error
	err = backoff.Retry(func() error {
		for {
			asked := time.Now()
			micros, err := reserve.Run(ctx, q.rdb, []string{q.key},
				q.spacing.Microseconds(), q.hold.Microseconds(), keyTTL.Milliseconds()).Int64()
			if err != nil {
				last = err
				return err
			}
			answered := time.Now()
			if q.prompt(answered.Round(0).Sub(asked.Round(0))) {
				slot = answered.Add(time.Duration(micros) * time.Microsecond)
				return nil
			}
		}
	}, backoff.WithContext(policy, ctx))
	if err == nil {
		return slot, nil
	}
	return time.Time{}, fmt.Errorf("wait for a slot: %w (redis: %v)", context.Cause(ctx), last)
}

// prompt says whether a round trip to Redis took about as long as usual. If not
// (this process was frozen, say), the slot may be over before its delay was
// read. A Redis that has become slower becomes the usual within a few answers.
func (q *Quota) prompt(took time.Duration) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.usual == 0 || took < q.usual {
		q.usual = took
	}
	if took-q.usual <= q.tolerance {
		return true
	}
	q.usual += (took - q.usual) / 2
	return false
}

// WaitLookup is Wait for a lookup, which lets orders go first.
func (q *Quota) WaitLookup(ctx context.Context) error { return q.Wait(ctx) }

// Slow tells all workers that the vendor said "too fast".
func (q *Quota) Slow(ctx context.Context, retryAfter time.Duration) error { return nil }
