package quota

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// everySlot is a Redis whose slots are gap apart.
func everySlot(gap time.Duration) *fakeRedis {
	var mu sync.Mutex
	next := time.Time{}
	return &fakeRedis{took: func(int64) time.Duration { return 0 }, delay: func(int64) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); next.Before(now) {
			next = now
		}
		d := time.Until(next)
		next = next.Add(gap)
		return d
	}}
}

// inBubble runs do in a bubble, with a limiter whose slots are 105 ms apart.
func inBubble(t *testing.T, do func(t *testing.T, f *fakeRedis, q *Limiter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := everySlot(105 * time.Millisecond)
		q := New(f.client(), "k", 10, 50*time.Millisecond)
		defer q.rdb.Close()
		do(t, f, q)
		if len(q.connected) != 0 || len(q.turn) != 0 || len(q.ahead) != 0 {
			t.Errorf("at the end %d, %d and %d places are taken, want none", len(q.connected), len(q.turn), len(q.ahead))
		}
	})
}

type wait = func(*Limiter, context.Context, func(context.Context) error) error

var waits = map[string]wait{"order": (*Limiter).Wait, "again": (*Limiter).WaitAgain, "lookup": (*Limiter).WaitLookup}

func TestReadyComesBeforeTheSlotAndAtIt(t *testing.T) {
	for name, wait := range waits {
		inBubble(t, func(t *testing.T, f *fakeRedis, q *Limiter) {
			if err := wait(q, t.Context(), connected); err != nil { // the slot after it is 105 ms away
				t.Fatal(err)
			}
			began, first := time.Now(), f.calls.Load()
			var reserved []int64
			var at []time.Duration
			err := wait(q, t.Context(), func(context.Context) error {
				reserved, at = append(reserved, f.calls.Load()-first), append(at, time.Since(began))
				return nil
			})
			if err != nil || !slices.Equal(reserved, []int64{0, 0, 1}) || at[2] != 105*time.Millisecond {
				t.Errorf("%s: ready was called at %v, with %v slots reserved (%v), want twice before the slot is reserved and at its time", name, at, reserved, err)
			}
		})
	}
}

// If ready takes long when the slot has come, another slot is reserved.
func TestConnectionLostBeforeTheSlotCostsTheSlot(t *testing.T) {
	for name, wait := range waits {
		inBubble(t, func(t *testing.T, f *fakeRedis, q *Limiter) {
			calls := 0
			err := wait(q, t.Context(), func(context.Context) error {
				if calls++; calls == 3 {
					time.Sleep(300 * time.Millisecond)
				}
				return nil
			})
			if n := f.calls.Load(); err != nil || n != 2 {
				t.Errorf("%s: %d slots were reserved (%v), want another after the connection took 300ms at the first", name, n, err)
			}
		})
	}
}

// maxLate is the sum of both: how late Redis's reply was, and how long ready took when
// the slot had come.
func TestLatenessOfReplyAndReadyAddsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := []time.Duration{1, 4, 1} // ms
		f := &fakeRedis{
			took:  func(n int64) time.Duration { return took[n-1] * time.Millisecond },
			delay: func(int64) time.Duration { return 10 * time.Millisecond },
		}
		q := New(f.client(), "k", 1, 50*time.Millisecond)
		defer q.rdb.Close()
		calls := 0
		for range 2 {
			err := q.Wait(t.Context(), func(context.Context) error {
				if calls++; calls == 6 {
					time.Sleep(3 * time.Millisecond)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := f.calls.Load(); n != 3 {
			t.Errorf("%d slots were reserved, want another for the one that was 6ms late", n)
		}
	})
}

// Shortly before a far slot, ready is called again.
func TestConnectionIsFreshAtAFarSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRedis{took: func(int64) time.Duration { return 0 }, delay: func(int64) time.Duration { return time.Minute }}
		q := New(f.client(), "k", 1, 0)
		defer q.rdb.Close()
		began := time.Now()
		var at []time.Duration
		if err := q.Wait(t.Context(), func(context.Context) error { at = append(at, time.Since(began)); return nil }); err != nil {
			t.Fatal(err)
		}
		if want := []time.Duration{0, 0, time.Minute - freshFor, time.Minute}; !slices.Equal(at, want) {
			t.Errorf("ready was called after %v, want %v", at, want)
		}
	})
}

func TestFailingReadyBlocksNobody(t *testing.T) {
	down := errors.New("the vendor is down")
	for name, wait := range waits {
		for failing := 1; failing <= 3; failing++ {
			inBubble(t, func(t *testing.T, f *fakeRedis, q *Limiter) {
				for range 20 {
					calls := 0
					err := wait(q, t.Context(), func(context.Context) error {
						if calls++; calls == failing {
							return down
						}
						return nil
					})
					if err != down { //nolint:errorlint // as it is
						t.Fatalf("%s: %v, want the error of ready as it is", name, err)
					}
				}
				if n := f.calls.Load(); failing < 3 && n != 0 {
					t.Errorf("%s: %d slots were reserved for nothing", name, n)
				}
			})
		}
	}
}

// An order that is still connecting delays neither the others nor their slots.
func TestConnectingDelaysNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *fakeRedis, q *Limiter) {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			gone <- q.Wait(ctx, func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		}()
		synctest.Wait()
		began := time.Now()
		for range 10 {
			if err := q.Wait(t.Context(), connected); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 9*105*time.Millisecond {
			t.Errorf("10 orders took %v, want one slot after the other", took)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want that it was cancelled", err)
		}
	})
}

// Only few orders wait with an open connection, and not for long.
func TestFewWaitWithAConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *fakeRedis, q *Limiter) {
		var connected atomic.Int64
		var most int64
		var longest time.Duration
		var mu sync.Mutex
		var order []int
		var orders sync.WaitGroup
		for i := range 50 {
			orders.Go(func() {
				var since time.Time
				err := q.Wait(t.Context(), func(context.Context) error {
					if since.IsZero() {
						since = time.Now()
						connected.Add(1)
					}
					return nil
				})
				connected.Add(-1)
				mu.Lock()
				defer mu.Unlock()
				longest = max(longest, time.Since(since))
				order = append(order, i)
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		// They are counted when nothing moves: an order gives its place back a moment before
		// Wait returns, and the next one connects in that moment.
		served := make(chan struct{})
		go func() { orders.Wait(); close(served) }()
		for waiting := true; waiting; {
			synctest.Wait()
			most = max(most, connected.Load())
			select {
			case <-served:
				waiting = false
			case <-time.After(time.Millisecond):
			}
		}
		if most > 8+slotsAhead || longest > 1100*time.Millisecond {
			t.Errorf("%d of 50 orders waited with a connection, for up to %v, want 10 at most and about a second", most, longest)
		}
		if !slices.IsSorted(order) {
			t.Errorf("served in the order %v, want first come, first served", order)
		}
	})
}

// A wait that is cancelled at any time gives back its place in every semaphore.
func TestCancelledWaitGivesBackItsPlaces(t *testing.T) {
	for name, wait := range waits {
		for after := time.Duration(0); after < 1500*time.Millisecond; after += 50 * time.Millisecond {
			inBubble(t, func(t *testing.T, _ *fakeRedis, q *Limiter) {
				stop := errors.New("shutting down")
				ctx, cancel := context.WithCancelCause(t.Context())
				var all sync.WaitGroup
				for range 20 {
					all.Go(func() {
						err := wait(q, ctx, func(ctx context.Context) error { return sleepUntil(ctx, time.Now().Add(70*time.Millisecond)) })
						if err != nil && !errors.Is(err, stop) {
							t.Errorf("%s: %v, want %v", name, err, stop)
						}
					})
				}
				time.Sleep(after)
				stopped := time.Now()
				cancel(stop)
				if all.Wait(); !time.Now().Equal(stopped) {
					t.Errorf("%s: the waits ended %v late", name, time.Since(stopped))
				}
			})
		}
	}
}

// An order whose slot was over has little time left, so it does not queue again.
func TestWaitAgainGoesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *fakeRedis, q *Limiter) {
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 60 {
			all.Go(func() { _ = q.Wait(ctx, connected) })
		}
		synctest.Wait()
		began := time.Now()
		if err := q.WaitAgain(t.Context(), connected); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("it took %v with 60 orders waiting, want about three slots", took)
		}
		cancel()
		all.Wait()
	})
}

func TestNoLimitIsReadyAfterRetryAfter(t *testing.T) {
	for name, wait := range waits {
		synctest.Test(t, func(t *testing.T) {
			q := New(nil, "k", 0, 0)
			down := errors.New("the vendor is down")
			if err := wait(q, t.Context(), func(context.Context) error { return down }); err != down { //nolint:errorlint // as it is
				t.Errorf("%s: %v, want the error of ready", name, err)
			}
			if err := q.Slow(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			var at []time.Duration
			err := wait(q, t.Context(), func(context.Context) error {
				if at = append(at, time.Since(began)); len(at) == 1 {
					return q.Slow(t.Context(), time.Second) // while it connected
				}
				return nil
			})
			if want := []time.Duration{time.Minute, time.Minute + time.Second}; err != nil || !slices.Equal(at, want) {
				t.Errorf("%s: ready was called after %v (%v), want %v", name, at, err, want)
			}
		})
	}
}
