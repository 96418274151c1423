package upstream

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redis/go-redis/v9"
)

// The scripts answer with delays: all clocks of the fleet but Redis's are out
// of it. What they keep stands in quota_script.go.
var (
	reserve = redis.NewScript(reserveScript)
	slow    = redis.NewScript(slowScript)
)

const (
	// slotsAhead is how many slots one process may hold: those of a process that
	// dies are lost to the fleet.
	slotsAhead = 2
	// maxLate is how much too late a slot may be used, and how much longer than
	// usual a reply of Redis may take: more of it eats into the next second, which
	// others have slots in.
	maxLate = 5 * time.Millisecond
	// keyTTL saves the cold start after a quiet hour, and cleans up after a day.
	keyTTL = 24 * time.Hour
	// ordersPerLookup is how many slots orders get, while they wait, for each one
	// of a lookup.
	ordersPerLookup = 4

	// "Too fast" leaves two thirds of the rate, again and again down to the least
	// share. It grows back by the same amount each second, slowly enough that a
	// vendor which allows less than the rate is asked for too much once in about
	// a hundred requests.
	shareLeft  = 2.0 / 3
	leastShare = 1.0 / 32
	recovery   = 3 * time.Minute // from 0 to the whole rate; longer where that is fewer slots than the next
	recoveryIn = 1800            // slots
)

// Quota spaces the requests of all workers of one account evenly, through
// Redis: no second as the vendor sees it holds more than the rate. It is safe
// for concurrent use; who waits is served in order.
//
// Source: design, section 7, "Slots" and "Throttled".
type Quota struct {
	rdb      redis.UniversalClient
	key      string
	spacing  time.Duration // at the whole rate; 0: no limit
	hold     time.Duration
	recovery time.Duration
	turn     chan struct{} // held by the order that is next for ahead, so that a lookup waits behind one at most
	ahead    chan struct{} // held from a reservation to its slot; Go queues senders in order

	mu    sync.Mutex
	usual time.Duration // round trip to Redis
	slow  int           // replies in a row that took longer
	least time.Duration // the quickest of those
	held  time.Time     // the end of the last Retry-After: slots before it are void
	gap   time.Duration // the spacing that Redis last told
}

// NewQuota returns the quota of appKey: rate requests per second, whose way to
// the vendor takes up to jitter longer or shorter. Rate 0 means no limit: Wait
// never touches Redis, and returns at once but after a Retry-After. A rate that is negative or not a
// number panics: it must not end as no limit.
func NewQuota(rdb redis.UniversalClient, appKey string, rate float64, jitter time.Duration) *Quota {
	if !(rate >= 0) || jitter < 0 {
		panic(fmt.Sprintf("upstream: quota of rate %v, jitter %v", rate, jitter))
	}
	q := &Quota{
		rdb:   rdb,
		key:   "quota:{" + url.QueryEscape(appKey) + "}", // the braces are a cluster's hash tag
		hold:  time.Second + jitter,
		turn:  make(chan struct{}, 1),
		ahead: make(chan struct{}, slotsAhead),
	}
	if rate > 0 {
		micros := math.Ceil(float64(q.hold.Microseconds()) / rate)
		q.spacing = time.Duration(min(micros, maxSpacing)) * time.Microsecond
		q.recovery = max(recovery, min(q.spacing, 24*time.Hour)*recoveryIn)
		q.gap = q.spacing
	}
	return q
}

// maxSpacing keeps a tiny rate within what a time.Duration holds, in µs.
const maxSpacing = float64(365 * 24 * time.Hour / time.Microsecond)

// errOrdersFirst says that a lookup must let orders go first.
var errOrdersFirst = errors.New("orders go first")

// Wait returns nil when this process may send an order now. While Redis is
// away it waits; the error is that ctx ended, wrapping its cause.
func (q *Quota) Wait(ctx context.Context) error {
	if q.spacing == 0 {
		return q.pause(ctx)
	}
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return waitError(ctx, nil)
	}
	select {
	case q.ahead <- struct{}{}:
		<-q.turn
	case <-ctx.Done():
		<-q.turn
		return waitError(ctx, nil)
	}
	defer func() { <-q.ahead }()
	_, err := q.slot(ctx, 0)
	return err
}

// WaitLookup is Wait for a lookup, which lets orders go first: while orders of
// any process wait, lookups get one slot in five.
func (q *Quota) WaitLookup(ctx context.Context) error {
	if q.spacing == 0 {
		return q.pause(ctx)
	}
	for {
		select {
		case q.ahead <- struct{}{}:
		case <-ctx.Done():
			return waitError(ctx, nil)
		}
		again, err := q.slot(ctx, 1)
		<-q.ahead
		if !errors.Is(err, errOrdersFirst) {
			return err
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return waitError(ctx, nil)
		}
	}
}

// Over says that a slot whose time was then can no longer be used: it is so late
// that the request would arrive with those of later slots.
func (q *Quota) Over(slot time.Time) bool {
	return q.spacing > 0 && time.Now().Round(0).Sub(slot.Round(0)) > max(maxLate, q.hold-time.Second)
}

// pause waits for the end of the last Retry-After.
func (q *Quota) pause(ctx context.Context) error {
	q.mu.Lock()
	left := time.Until(q.held)
	q.mu.Unlock()
	if left <= 0 {
		return nil
	}
	select {
	case <-time.After(left):
		return nil
	case <-ctx.Done():
		return waitError(ctx, nil)
	}
}

func waitError(ctx context.Context, last error) error {
	if last != nil {
		return fmt.Errorf("wait for a slot: %w (redis: %v)", context.Cause(ctx), last) //nolint:errorlint // the error is ctx's; Redis's only explains it
	}
	return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
}

// slot reserves slots until it is the time of one. A lookup may be told to ask
// again later instead, with errOrdersFirst.
func (q *Quota) slot(ctx context.Context, lookup int) (again time.Duration, err error) {
	for {
		answered, said, err := q.reserve(ctx, lookup)
		if err != nil {
			return 0, err
		}
		if said.delay < 0 {
			return -said.delay, errOrdersFirst
		}
		slot := answered.Add(said.delay)
		if sure := slot.Add(-max(q.hold-said.gap, q.hold/10)); sure.After(answered) {
			if err := sleepUntil(ctx, sure); err != nil {
				return 0, err
			}
			if !q.stands(ctx, said.born) {
				continue
			}
		}
		if err := sleepUntil(ctx, slot); err != nil {
			return 0, err
		}
		// By the wall clock: the monotonic one stands still in a suspended machine.
		if late := time.Now().Round(0).Sub(slot.Round(0)); late <= maxLate && !q.void(slot) {
			return 0, nil
		}
	}
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
func (q *Quota) stands(ctx context.Context, born int64) bool {
	is, err := q.rdb.HGet(ctx, q.key, "born").Int64()
	return err == nil && is == born
}

// reservation is what the script says.
type reservation struct {
	delay, gap time.Duration
	born       int64
}

// reserve asks until Redis answers in good time, and returns when that was and
// what it said.
func (q *Quota) reserve(ctx context.Context, lookup int) (answered time.Time, r reservation, err error) {
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
			answered = time.Now()
			r = reservation{time.Duration(said[0]) * time.Microsecond, time.Duration(said[1]) * time.Microsecond, said[2]}
			q.spaced(said[1])
			if q.prompt(answered.Round(0).Sub(asked.Round(0))) {
				return nil
			}
		}
	}, backoff.WithContext(policy, ctx))
	if err != nil {
		return time.Time{}, reservation{}, waitError(ctx, last)
	}
	return answered, r, nil
}

// args are the arguments of a script: the common ones, then its own.
func (q *Quota) args(own ...any) []any {
	return append([]any{q.spacing.Microseconds(), q.hold.Microseconds(), q.recovery.Microseconds(), keyTTL.Milliseconds()}, own...)
}

// slowReplies is how many slow replies in a row mean that Redis has become
// slower: more than one freeze of this process can hold up.
const slowReplies = slotsAhead + 1

// prompt says whether a round trip to Redis took about as long as usual. If not
// (this process was frozen, say), the slot may be over before its delay was
// read.
func (q *Quota) prompt(took time.Duration) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if took-q.usual > maxLate { // the first ever is held to no time at all: that one can be slow as well
		if q.slow++; q.slow == 1 || took < q.least {
			q.least = took
		}
		if q.slow < slowReplies {
			return false
		}
		q.usual = q.least
	}
	if q.usual == 0 || took < q.usual {
		q.usual = took
	}
	q.slow = 0
	return took-q.usual <= maxLate
}

// Slow tells all workers that the vendor said "too fast": slots move apart at
// once, and grow closer again slowly. The next slot is retryAfter away or more
// (at most 5m). An error says that Redis may not know of it; call it once.
//
// Without a limit there is no clock that the fleet shares: then it is this
// process alone that waits for retryAfter.
func (q *Quota) Slow(ctx context.Context, retryAfter time.Duration) error {
	retryAfter = min(max(retryAfter, 0), maxRetryAfter)
	q.mu.Lock()
	if until := time.Now().Add(retryAfter); until.After(q.held) {
		q.held = until
	}
	q.mu.Unlock()
	if q.spacing == 0 {
		return nil
	}
	gap, err := slow.Run(ctx, q.rdb, []string{q.key}, q.args(shareLeft, leastShare, retryAfter.Microseconds())...).Int64()
	if err != nil {
		return fmt.Errorf("slow down: %w", err)
	}
	q.spaced(gap)
	return nil
}

// void says that a slot was reserved before a Retry-After that it lies in.
func (q *Quota) void(slot time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slot.Before(q.held)
}

func (q *Quota) spaced(micros int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gap = time.Duration(micros) * time.Microsecond
}

// Spacing is the time between two slots of the fleet, as this process last
// heard; 0 where there is no limit.
func (q *Quota) Spacing() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.gap
}
