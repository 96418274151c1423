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

const (
	// slotsAhead is how many slots one process may reserve ahead. When a process
	// dies, its slots are lost to the others.
	slotsAhead = 2
	// maxLate is how long after its slot Wait may return. It includes the time by
	// which Redis's reply took longer than usual. A slot that is used later reaches
	// into the next second, whose slots others have.
	maxLate = 5 * time.Millisecond
	// connectedFor is about how long an order waits with an open connection: long
	// enough to open connections at the whole rate, and short enough that they are
	// not closed for being idle.
	connectedFor = 800 * time.Millisecond
	maxConnected = 64
	// freshFor is how long before a far slot ready is called once more: long enough
	// to open a new connection, and short enough that it is not idle for too long
	// when the slot comes.
	freshFor = 2 * time.Second
	// keyTTL is how long the key outlives its last slot, so that a quiet hour does
	// not end in a cold start.
	keyTTL = 24 * time.Hour
	// ordersPerLookup is how many slots go to orders for each slot of a lookup,
	// while orders wait.
	ordersPerLookup = 4
	// maxSpacing keeps the spacing of a tiny rate within a time.Duration, in µs.
	maxSpacing = float64(365 * 24 * time.Hour / time.Microsecond)
)

// Limiter spaces the requests of all workers of one account evenly, through Redis,
// so that no second, as the vendor sees it, has more of them than the rate. It is
// safe for concurrent use. It serves orders in the order in which they ask, but an
// order with a connection does not wait for one that is still connecting.
//
// Source: design, section 7, "Slots" and "Throttled".
type Limiter struct {
	rdb       redis.UniversalClient
	key       string
	spacing   time.Duration // of slots at the whole rate; 0: no limit
	window    time.Duration // 1 s + jitter: a second, as the vendor may see it
	recovery  time.Duration // see recovery
	connected chan struct{} // taken by each order that waits with a connection; Go queues senders in order
	turn      chan struct{} // taken by the order that waits for ahead, so that a lookup waits behind one order at most
	ahead     chan struct{} // taken from the reservation of a slot until the slot

	mu          sync.Mutex
	usual       time.Duration // the usual round trip to Redis
	slow        int           // replies in a row that took longer
	leastSlow   time.Duration // the shortest of their round trips
	notBefore   time.Time     // the end of the last Retry-After: earlier slots are not used
	lastSpacing time.Duration // as Redis said last
}

// New returns the limiter of an account: rate requests per second, whose way from
// the slot to the vendor takes up to jitter longer or shorter. Half of the jitter is
// this process's: see Over.
//
// Rate 0 means no limit: then Redis is never asked, and a wait ends as soon as ready
// returns and the last Retry-After is over. New panics if rate is negative or not a
// number, which must not mean "no limit".
func New(rdb redis.UniversalClient, account string, rate float64, jitter time.Duration) *Limiter {
	if !(rate >= 0) || jitter < 0 {
		panic(fmt.Sprintf("quota: rate %v, jitter %v", rate, jitter))
	}
	q := &Limiter{
		rdb:    rdb,
		key:    "quota:{" + account + "}", // the braces are a cluster's hash tag
		window: time.Second + jitter,
		turn:   make(chan struct{}, 1),
		ahead:  make(chan struct{}, slotsAhead),
	}
	if rate > 0 {
		micros := math.Ceil(float64(q.window.Microseconds()) / rate)
		q.spacing = time.Duration(min(micros, maxSpacing)) * time.Microsecond
		q.recovery = max(recovery, min(q.spacing, 24*time.Hour)*recoveryIn)
		q.lastSpacing = q.spacing
		q.connected = make(chan struct{}, min(max(connectedFor/max(q.spacing, 1)+1, slotsAhead), maxConnected))
	}
	return q
}

// Wait returns nil when an order may be sent now. While Redis is unavailable it
// waits. The error is that of ready, unchanged, or wraps the cause of ctx.
//
// Ready opens the connection for the order, or returns nil at once if it is open and
// usable: then nothing slow lies between the slot and the request. Wait calls ready
// when the order is among the next few, when it is next, before it reserves a slot,
// and when the slot has come. If that last call takes long, Wait reserves another
// slot.
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

// WaitAgain is Wait for an order whose slot was over before it could be sent. The
// order goes before those that wait for their first slot: behind them, its sendBy
// would pass.
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

// WaitLookup is Wait for a lookup. While orders of any process wait, lookups get one
// slot in five.
func (q *Limiter) WaitLookup(ctx context.Context, ready func(context.Context) error) error {
	if q.spacing == 0 {
		return q.unlimited(ctx, ready)
	}
	for {
		if err := ready(ctx); err != nil { // before it takes ahead from the orders
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

// Over reports whether a slot is so late that its request could arrive together with
// those of later slots. Slot is when Wait returned.
//
// The jitter covers everything that varies between a slot and the vendor's receipt.
// One half is this process's: 5 ms within Wait, and the rest from Wait to the write.
// The other half is the network's. Of a jitter below 20 ms the process has 10 ms, and
// the network the rest.
func (q *Limiter) Over(slot time.Time) bool {
	return q.spacing > 0 && time.Now().Round(0).Sub(slot.Round(0)) > q.mayTake()
}

// mayTake is how long it may take from the return of Wait to the write.
func (q *Limiter) mayTake() time.Duration { return max(maxLate, (q.window-time.Second)/2-maxLate) }

// queue waits until this order is next, and then takes ahead. A few orders wait with
// an open connection, and the others without: the vendor would close theirs.
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

// acquire takes one of the places of a semaphore.
func acquire(ctx context.Context, semaphore chan<- struct{}) error {
	select {
	case semaphore <- struct{}{}:
		return nil
	case <-ctx.Done():
		return waitError(ctx, nil)
	}
}

// unlimited waits until ready returns and the last Retry-After is over.
func (q *Limiter) unlimited(ctx context.Context, ready func(context.Context) error) error {
	for {
		q.mu.Lock()
		notBefore := q.notBefore
		q.mu.Unlock()
		if time.Until(notBefore) > 0 {
			if err := sleepUntil(ctx, notBefore); err != nil {
				return err
			}
		}
		if err := ready(ctx); err != nil || !q.tooEarly(time.Now()) {
			return err
		}
	}
}

// waitError is the error of a wait that ctx ended. Last is the last error of Redis.
func waitError(ctx context.Context, last error) error {
	if last != nil {
		return fmt.Errorf("wait for a slot: %w (redis: %v)", context.Cause(ctx), last) //nolint:errorlint // the error is ctx's; Redis's only explains it
	}
	return fmt.Errorf("wait for a slot: %w", context.Cause(ctx))
}
