package quota

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// The scripts answer with delays: all clocks of the fleet but Redis's are out
// of it. What they keep stands in script.go.
var (
	reserve = redis.NewScript(reserveScript)
	slow    = redis.NewScript(slowScript)
)

const (
	// slotsAhead is how many slots one process may hold: those of a process that
	// dies are lost to the fleet.
	slotsAhead = 2
	// maxLate is how much too late Wait may return, the time by which Redis's reply
	// took longer than usual included: more of it eats into the next second, which
	// others have slots in.
	maxLate = 5 * time.Millisecond
	// connectedFor is about how long an order waits with an open connection. It is
	// long enough for new connections to be set up at the whole rate, and short
	// enough for kept ones to be still good.
	connectedFor = 800 * time.Millisecond
	maxConnected = 64
	// freshFor is how long before a slot that is far away the connection is looked
	// at again: long enough to set up another one, and short enough for it to be
	// still good when the slot comes.
	freshFor = 2 * time.Second
	// maxRetryAfter is the longest that one answer can delay the whole account.
	maxRetryAfter = 5 * time.Minute
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

// Limiter spaces the requests of all workers of one account evenly, through
// Redis: no second as the vendor sees it holds more than the rate. It is safe
// for concurrent use; orders are served in the order in which they ask, except
// that one which has a connection does not wait for one that is still connecting.
//
// Source: design, section 7, "Slots" and "Throttled".
type Limiter struct {
	rdb       redis.UniversalClient
	key       string
	spacing   time.Duration // at the whole rate; 0: no limit
	hold      time.Duration
	recovery  time.Duration
	connected chan struct{} // held while an order waits with a connection; Go queues senders in order
	turn      chan struct{} // held by the order that is next for ahead, so that a lookup waits behind one at most
	ahead     chan struct{} // held from a reservation to its slot

	mu    sync.Mutex
	usual time.Duration // round trip to Redis
	slow  int           // replies in a row that took longer
	least time.Duration // the quickest of those
	held  time.Time     // the end of the last Retry-After: slots before it are void
	gap   time.Duration // the spacing that Redis last told
}

// New returns the limiter of an account (see Account): rate requests per
// second, whose way to the vendor, from the slot to the vendor's receipt, takes
// up to jitter longer or shorter: half of it is this process's, see Over. Rate 0
// means no limit: Wait never touches Redis, and returns as soon as it is ready
// except after a Retry-After. A rate that is negative or not a number panics: it
// must not end as no limit.
func New(rdb redis.UniversalClient, account string, rate float64, jitter time.Duration) *Limiter {
	if !(rate >= 0) || jitter < 0 {
		panic(fmt.Sprintf("quota: rate %v, jitter %v", rate, jitter))
	}
	q := &Limiter{
		rdb:   rdb,
		key:   "quota:{" + account + "}", // the braces are a cluster's hash tag
		hold:  time.Second + jitter,
		turn:  make(chan struct{}, 1),
		ahead: make(chan struct{}, slotsAhead),
	}
	if rate > 0 {
		micros := math.Ceil(float64(q.hold.Microseconds()) / rate)
		q.spacing = time.Duration(min(micros, maxSpacing)) * time.Microsecond
		q.recovery = max(recovery, min(q.spacing, 24*time.Hour)*recoveryIn)
		q.gap = q.spacing
		q.connected = make(chan struct{}, min(max(connectedFor/max(q.spacing, 1)+1, slotsAhead), maxConnected))
	}
	return q
}

// maxSpacing keeps a tiny rate within what a time.Duration holds, in µs.
const maxSpacing = float64(365 * 24 * time.Hour / time.Microsecond)

// Wait returns nil when this process may send an order now. While Redis is
// away it waits; the error is that ctx ended, wrapping its cause, or ready's.
//
// Ready opens the connection that the order will be sent on, or returns nil at
// once where it is open and still good: nothing slow then lies between the slot
// and the wire. It is called at first for the orders whose turn is near, then
// again at the turn, before a slot is reserved, and when the slot has come: where
// it took long at last, another slot is reserved. An error of ready ends the wait
// and is returned as it is.
func (q *Limiter) Wait(ctx context.Context, ready func(context.Context) error) error {
	if q.spacing == 0 {
		return q.unlimited(ctx, ready)
	}
	if err := q.queue(ctx, ready); err != nil {
		return err
	}
	defer func() { <-q.ahead }()
	_, err := q.slot(ctx, 0, ready)
	return err
}

// WaitAgain is Wait for an order whose slot was over before it could be sent. It
// goes ahead of those that wait for their first: it has little time until its
// sendBy, and behind them would not be sent at all.
func (q *Limiter) WaitAgain(ctx context.Context, ready func(context.Context) error) error {
	if q.spacing == 0 {
		return q.unlimited(ctx, ready)
	}
	if err := ready(ctx); err != nil {
		return err
	}
	if err := acquire(ctx, q.ahead); err != nil {
		return err
	}
	defer func() { <-q.ahead }()
	_, err := q.slot(ctx, 0, ready)
	return err
}

// WaitLookup is Wait for a lookup, which lets orders go first: while orders of
// any process wait, lookups get one slot in five.
func (q *Limiter) WaitLookup(ctx context.Context, ready func(context.Context) error) error {
	if q.spacing == 0 {
		return q.unlimited(ctx, ready)
	}
	for {
		if err := ready(ctx); err != nil { // before others have to wait for it
			return err
		}
		if err := acquire(ctx, q.ahead); err != nil {
			return err
		}
		again, err := q.slot(ctx, 1, ready)
		<-q.ahead
		if !errors.Is(err, errOrdersFirst) {
			return err
		}
		if err := sleepUntil(ctx, time.Now().Add(again)); err != nil {
			return err
		}
	}
}

// Over reports whether a slot that Wait returned at the time slot can no longer
// be used: it is so late that the request could arrive with those of later slots.
//
// The jitter covers all that varies between a slot and the vendor's receipt, and
// is spent once: half of it is this process's (5 ms in Wait, the rest from Wait to
// the wire), half is the network's. A jitter under 20 ms is too little to share:
// then the process has 10 ms, and the network what is left.
func (q *Limiter) Over(slot time.Time) bool {
	return q.spacing > 0 && time.Now().Round(0).Sub(slot.Round(0)) > q.mayTake()
}

// mayTake is how long it may take from Wait to the wire.
func (q *Limiter) mayTake() time.Duration { return max(maxLate, (q.hold-time.Second)/2-maxLate) }

// queue waits until this order is next, and then holds ahead. A few orders wait
// with an open connection; the others without, as the vendor would close it.
func (q *Limiter) queue(ctx context.Context, ready func(context.Context) error) error {
	if err := acquire(ctx, q.connected); err != nil {
		return err
	}
	defer func() { <-q.connected }()
	if err := ready(ctx); err != nil {
		return err
	}
	if err := acquire(ctx, q.turn); err != nil {
		return err
	}
	defer func() { <-q.turn }()
	return acquire(ctx, q.ahead)
}

func acquire(ctx context.Context, places chan<- struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return waitError(ctx, nil)
	}
}

// unlimited waits for the end of the last Retry-After, and until it is ready.
func (q *Limiter) unlimited(ctx context.Context, ready func(context.Context) error) error {
	for {
		q.mu.Lock()
		held := q.held
		q.mu.Unlock()
		if time.Until(held) > 0 {
			if err := sleepUntil(ctx, held); err != nil {
				return err
			}
		}
		if err := ready(ctx); err != nil || !q.void(time.Now()) {
			return err
		}
	}
}

func waitError(ctx context.Context, last error) error {
	if last != nil {
		return fmt.Errorf("wait for a slot: %w (redis: %v)", context.Cause(ctx), last) //nolint:errorlint // the error is ctx's; Redis's only explains it
	}
	return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
}

// args are the arguments of a script: the common ones, then its own.
func (q *Limiter) args(own ...any) []any {
	return append([]any{q.spacing.Microseconds(), q.hold.Microseconds(), q.recovery.Microseconds(), keyTTL.Milliseconds()}, own...)
}

// Slow tells all workers that the vendor said "too fast": slots move apart at
// once, and grow closer again slowly. The next slot is retryAfter away or more
// (at most 5m). An error says that Redis may not know of it; call it once.
//
// Without a limit there is no clock that the fleet shares: then it is this
// process alone that waits for retryAfter.
func (q *Limiter) Slow(ctx context.Context, retryAfter time.Duration) error {
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
func (q *Limiter) void(slot time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slot.Before(q.held)
}

func (q *Limiter) spaced(micros int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gap = time.Duration(micros) * time.Microsecond
}

// Spacing is the time between two slots of the fleet, as this process last
// heard; 0 where there is no limit.
func (q *Limiter) Spacing() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.gap
}
