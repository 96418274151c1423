package quota

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// clock returns a Redis, and a function that advances its clock.
func clock(t *testing.T) (*miniredis.Miniredis, func(time.Duration)) {
	m := miniredis.RunT(t)
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	m.SetTime(now)
	return m, func(d time.Duration) {
		now = now.Add(d)
		m.SetTime(now)
	}
}

// lookupDelay reserves a slot for a lookup. A delay below 0 means that orders go first.
func lookupDelay(t *testing.T, q *Limiter) time.Duration {
	t.Helper()
	said, err := reserve.Run(t.Context(), q.rdb, []string{q.key}, q.args(1, ordersPerLookup)...).Int64Slice()
	if err != nil {
		t.Fatal(err)
	}
	q.spaced(said[1])
	return time.Duration(said[0]) * time.Microsecond
}

func TestTooFastStretchesTheSpacingOnce(t *testing.T) {
	for name, rdb := range redises(t) {
		t.Run(name, func(t *testing.T) {
			one, other := New(rdb, "slow", 100, 0), New(rdb, "slow", 100, 0)
			for range 20 { // of one moment
				if err := one.Slow(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
			}
			other.delay(t)
			if err := other.Slow(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if got, low, high := other.Spacing(), 14*time.Millisecond, 15*time.Millisecond+time.Microsecond; got < low || got > high {
				t.Errorf("spacing %v after one cut, want just under 15ms", got)
			}
			if err := one.Slow(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			if d := other.delay(t); d < 59*time.Second || d > time.Minute {
				t.Errorf("the next slot is %v away, want the Retry-After of a minute", d)
			}
			if err := other.Slow(t.Context(), time.Second); err != nil { // of an earlier request
				t.Fatal(err)
			}
			if d := other.delay(t); d < 59*time.Second {
				t.Errorf("the next slot is %v away: a shorter Retry-After took the longer back", d)
			}
			if err := other.Slow(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
			if d := other.delay(t); d < 299*time.Second || d > 301*time.Second {
				t.Errorf("the next slot is %v away, want 5m at most", d)
			}
		})
	}
}

func TestSpacingRecovers(t *testing.T) {
	m, set := clock(t)
	q := New(redisClient(t, &redis.Options{Addr: m.Addr()}), "k", 10, 0)
	q.delay(t)
	set(2 * time.Second)
	for range 20 {
		if err := q.Slow(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		set(2 * time.Second)
	}
	if got := q.Spacing(); got < 2800*time.Millisecond || got > 3200*time.Millisecond {
		t.Errorf("spacing is %v after 20 cuts, want about 32 x 100ms", got)
	}
	set(90 * time.Second)
	q.delay(t)
	if got := q.Spacing(); got < 180*time.Millisecond || got > 200*time.Millisecond {
		t.Errorf("spacing is %v after 90s of quiet, want just under 200ms", got)
	}
	set(90 * time.Second)
	q.delay(t)
	if got := q.Spacing(); got != 100*time.Millisecond {
		t.Errorf("spacing is %v after 3m of quiet, want 100ms", got)
	}
}

func TestLookupsGetOneSlotInFiveWhileOrdersWait(t *testing.T) {
	m, set := clock(t)
	q := New(redisClient(t, &redis.Options{Addr: m.Addr()}), "k", 10, 0)
	const slot = 100 * time.Millisecond
	want := func(what string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: a delay of %v, want %v", what, got, want)
		}
	}
	want("a lookup, nobody waits", lookupDelay(t, q), time.Second)
	want("and another", lookupDelay(t, q), time.Second+slot)
	for i := range time.Duration(3) {
		want("an order", q.delay(t), time.Second+(2+i)*slot)
	}
	want("a lookup after three orders", lookupDelay(t, q), -slot)
	want("the fourth order", q.delay(t), time.Second+5*slot)
	want("a lookup after four", lookupDelay(t, q), time.Second+6*slot)
	want("an order", q.delay(t), time.Second+7*slot)
	want("a lookup after one", lookupDelay(t, q), -3*slot)
	set(2 * time.Second)
	want("no order waits any more", lookupDelay(t, q), 0)
}

func TestNoLimitWaitsOnlyForRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(nil, "k", 0, 0)
		began := time.Now()
		for _, wait := range []func(context.Context, func(context.Context) error) error{q.Wait, q.WaitLookup} {
			if err := wait(t.Context(), connected); err != nil || time.Since(began) != 0 {
				t.Errorf("without a limit it took %v, %v", time.Since(began), err)
			}
		}
		if err := q.Slow(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		if err := q.Wait(t.Context(), connected); err != nil || time.Since(began) != time.Minute {
			t.Errorf("after a Retry-After of a minute it took %v, %v", time.Since(began), err)
		}
	})
}

// The share of this process and the share of the network are together no more than the
// jitter.
func TestSlotIsOverAfterTheProcessesShareOfTheJitter(t *testing.T) {
	for _, c := range []struct{ jitter, mayTake time.Duration }{
		{50 * time.Millisecond, 20 * time.Millisecond},
		{200 * time.Millisecond, 95 * time.Millisecond},
		{20 * time.Millisecond, maxLate},
		{0, maxLate},
	} {
		synctest.Test(t, func(t *testing.T) {
			q := New(nil, "k", 10, c.jitter)
			slot := time.Now()
			if time.Sleep(c.mayTake); q.Over(slot) {
				t.Errorf("jitter %v: a slot is over after %v, which a process may take", c.jitter, c.mayTake)
			}
			if time.Sleep(time.Nanosecond); !q.Over(slot) {
				t.Errorf("jitter %v: a slot is not over after more than %v", c.jitter, c.mayTake)
			}
			if New(nil, "k", 0, c.jitter).Over(slot.Add(-time.Hour)) {
				t.Error("without a limit a slot is over")
			}
		})
	}
}
