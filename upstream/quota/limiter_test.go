package quota

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func redisClient(t *testing.T, opt *redis.Options) *redis.Client {
	opt.MaxRetries, opt.ContextTimeoutEnabled = -1, true
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// connected is the ready of a caller that needs no connection.
func connected(context.Context) error { return nil }

// redises returns the servers that the scripts are tested on.
func redises(t *testing.T) map[string]*redis.Client {
	all := map[string]*redis.Client{"miniredis": redisClient(t, &redis.Options{Addr: miniredis.RunT(t).Addr()})}
	if rdb := realRedis(t); rdb != nil {
		all["redis"] = rdb
	}
	return all
}

func realRedis(t *testing.T) *redis.Client {
	t.Helper()
	if testing.Short() {
		t.Run("redis", func(t *testing.T) { t.Skip("NOT TESTED AGAINST A REAL REDIS: -short is set") })
		return nil
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not on PATH, and CI is set")
		}
		t.Run("redis", func(t *testing.T) { t.Skip("NOT TESTED AGAINST A REAL REDIS: redis-server is not on PATH") })
		return nil
	}
	dir, err := os.MkdirTemp("", "redis") // t.TempDir() is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	server := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = os.RemoveAll(dir)
	})
	rdb := redisClient(t, &redis.Options{Network: "unix", Addr: socket})
	eventually(t, "redis-server answers", func() bool { return rdb.Ping(t.Context()).Err() == nil })
	return rdb
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// delay reserves a slot, and returns the delay that Redis says.
func (q *Limiter) delay(t *testing.T) time.Duration {
	t.Helper()
	said, err := reserve.Run(t.Context(), q.rdb, []string{q.key}, q.args(0, ordersPerLookup)...).Int64Slice()
	if err != nil {
		t.Fatal(err)
	}
	q.spaced(said[1])
	return time.Duration(said[0]) * time.Microsecond
}

func TestSlots(t *testing.T) {
	m := miniredis.RunT(t)
	now := time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)
	m.SetTime(now)
	rdb := redisClient(t, &redis.Options{Addr: m.Addr()})
	q := New(rdb, "000001", 10, 50*time.Millisecond)
	other := New(rdb, "000002", 10, 50*time.Millisecond)
	const window, spacing = 1050 * time.Millisecond, 105 * time.Millisecond
	want := func(what string, q *Limiter, want time.Duration) {
		t.Helper()
		if got := q.delay(t); got != want {
			t.Errorf("%s: a delay of %v, want %v", what, got, want)
		}
	}
	want("cold start", q, window)
	want("second", q, window+spacing)
	want("third", New(rdb, "000001", 10, 50*time.Millisecond), window+2*spacing)
	want("another account", other, window)
	now = now.Add(window + 3*spacing - time.Microsecond)
	m.SetTime(now)
	want("nearly caught up", q, time.Microsecond)
	now = now.Add(time.Hour)
	m.SetTime(now)
	want("after a quiet hour", q, 0)
	want("at once again", q, spacing)
	if ttl := m.TTL("quota:{000001}"); ttl < keyTTL || ttl > keyTTL+time.Minute {
		t.Errorf("the key lives for %v, want a day more than its slot", ttl)
	}
	m.Del("quota:{000001}")
	if err := m.Set("quota:{000001}", "rubbish"); err != nil {
		t.Fatal(err)
	}
	want("a broken key", q, window)
	m.FlushAll()
	want("a wiped Redis", q, window)
	m.HSet("quota:{000001}", "next", "rubbish")
	want("a broken field", q, window)
}

func TestSlotsAreSharedFairly(t *testing.T) {
	for name, rdb := range redises(t) {
		t.Run(name, func(t *testing.T) {
			const workers, each = 8, 25
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range workers {
				q := New(rdb, "shared", 0.01, 0)
				wg.Go(func() {
					for range each {
						d := q.delay(t)
						mu.Lock()
						if d <= 0 {
							t.Errorf("a delay of %v, want one in the future", d)
						}
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			free, err := rdb.HGet(t.Context(), "quota:{shared}", "next").Int64()
			at, err2 := rdb.Time(t.Context()).Result()
			ahead := time.UnixMicro(free).Sub(at)
			if want := time.Second + workers*each*100*time.Second; err != nil || err2 != nil || ahead > want || ahead < want-time.Minute {
				t.Errorf("%d reservations reach %v ahead, want %v (%v, %v)", workers*each, ahead, want, err, err2)
			}
		})
	}
}

// No second has more slots than the rate. That nearly all of them are used is shown in
// simulated time: here it depends on the machine.
func TestWaitKeepsTheRate(t *testing.T) {
	for name, rdb := range redises(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const rate, jitter, sends, processes = 20, 500 * time.Millisecond, 40, 3
			var mu sync.Mutex
			var at []time.Time
			var wg sync.WaitGroup
			left := atomic.Int64{}
			left.Store(sends)
			for range processes {
				q := New(rdb, "rate", rate, jitter)
				for range 4 {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if err := q.Wait(t.Context(), connected); err != nil {
								t.Error(err)
								return
							}
							mu.Lock()
							at = append(at, time.Now())
							mu.Unlock()
						}
					})
				}
			}
			wg.Wait()
			slices.SortFunc(at, time.Time.Compare)
			for i := rate; i < len(at); i++ {
				if d := at[i].Sub(at[i-rate]); d < time.Second {
					t.Errorf("%d requests within %v", rate+1, d)
				}
			}
		})
	}
}

func TestNoLimitNeedsNoRedis(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for range 1000 {
		if err := New(nil, "k", 0, time.Second).Wait(done, connected); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRateThatIsNoNumberPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a negative rate went through as no limit")
		}
	}()
	New(nil, "k", -1, 0)
}

// While Redis is unavailable nothing is sent and nothing fails.
func TestWaitOutlivesRedis(t *testing.T) {
	m := miniredis.RunT(t)
	var refused atomic.Int64
	rdb := redisClient(t, &redis.Options{Addr: m.Addr(), Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			refused.Add(1)
		}
		return c, err
	}})
	q := New(rdb, "k", 1000, 0)
	m.Close()
	done := make(chan error, 1)
	go func() { done <- q.Wait(t.Context(), connected) }()
	eventually(t, "Wait asks again", func() bool { return refused.Load() > 5 })
	select {
	case err := <-done:
		t.Fatalf("Wait returned %v without Redis", err)
	default:
	}
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Wait: %v, want nil after Redis came back", err)
	}

	m.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("shutting down")
	before := refused.Load()
	go func() { done <- q.Wait(ctx, connected) }()
	eventually(t, "Wait asks", func() bool { return refused.Load() > before })
	cancel(stop)
	if err := <-done; !errors.Is(err, stop) {
		t.Errorf("Wait: %v, want %v", err, stop)
	}
}

// fakeRedis answers scripts inside a synctest bubble, as the hook of a client that
// never connects. The reply to the n-th reservation takes took(n), and says delay(n).
type fakeRedis struct {
	calls atomic.Int64
	took  func(n int64) time.Duration
	delay func(n int64) time.Duration
}

func (f *fakeRedis) DialHook(next redis.DialHook) redis.DialHook { return next }
func (f *fakeRedis) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f *fakeRedis) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		if born, ok := cmd.(*redis.StringCmd); ok {
			born.SetVal("0")
			return nil
		}
		n := f.calls.Add(1)
		time.Sleep(f.took(n))
		cmd.(*redis.Cmd).SetVal([]any{f.delay(n).Microseconds(), int64(0), int64(0)})
		return nil
	}
}

func (f *fakeRedis) client() *redis.Client {
	// An address, not a name: NewClient looks names up, which does not work in a bubble.
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	rdb.AddHook(f)
	return rdb
}

func TestProcessReservesTwoSlotsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRedis{took: func(int64) time.Duration { return 0 }, delay: func(n int64) time.Duration { return time.Minute }}
		q := New(f.client(), "k", 1, 0)
		defer q.rdb.Close()
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				if err := q.Wait(t.Context(), connected); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i/2) // slots come in pairs
			})
			synctest.Wait()
			if n := f.calls.Load(); n > slotsAhead {
				t.Fatalf("%d slots reserved, want %d at most", n, slotsAhead)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := q.Wait(ctx, connected); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait in the queue: %v, want the deadline", err)
		}
		wg.Wait()
		if !slices.Equal(order, []int{0, 0, 1, 1, 2}) {
			t.Errorf("served in the order %v, want first come, first served", order)
		}
	})
}

func TestSlotOfASlowReplyIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		took []time.Duration // ms
		want []int64         // reservations after each Wait
	}{
		"one frozen reply":       {[]time.Duration{1, 200, 1, 1}, []int64{1, 3, 4}},
		"within the tolerance":   {[]time.Duration{1, 6, 1}, []int64{1, 2, 3}},
		"Redis has become slow":  {[]time.Duration{1, 90, 90, 90, 90, 90}, []int64{1, 4, 5, 6}},
		"and is fast once again": {[]time.Duration{90, 90, 90, 1, 90, 90, 90}, []int64{3, 4, 7}},
		"the first is frozen":    {[]time.Duration{200, 1, 1}, []int64{2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeRedis{
					took:  func(n int64) time.Duration { return c.took[n-1] * time.Millisecond },
					delay: func(int64) time.Duration { return 10 * time.Millisecond },
				}
				q := New(f.client(), "k", 1, 50*time.Millisecond)
				defer q.rdb.Close()
				for i, want := range c.want {
					if err := q.Wait(t.Context(), connected); err != nil {
						t.Fatal(err)
					}
					if got := f.calls.Load(); got != want {
						t.Fatalf("Wait %d: %d reservations, want %d", i+1, got, want)
					}
				}
			})
		})
	}
}

// A process that is stopped while its slot passes must not use it afterwards. The child
// process of this test is stopped so.
func TestMissedSlotIsDropped(t *testing.T) {
	if addr := os.Getenv("UPSTREAM_TEST_QUOTA"); addr != "" {
		if err := New(redisClient(t, &redis.Options{Addr: addr}), "k", 1, 0).Wait(t.Context(), connected); err != nil {
			t.Fatal(err)
		}
		return
	}
	if testing.Short() {
		t.Skip("NOT TESTED: it needs seconds of the real clock, and -short is set")
	}
	const tries = 5 // a busy machine may be too slow to freeze the child before its slot
	for range tries {
		if frozenOverItsSlot(t) {
			return
		}
	}
	t.Fatalf("%d times the machine was too slow to freeze the child before its slot", tries)
}

// frozenOverItsSlot says whether the child was frozen in time, and so tested.
func frozenOverItsSlot(t *testing.T) bool {
	m := miniredis.RunT(t)
	child := exec.Command(os.Args[0], "-test.run=^TestMissedSlotIsDropped$")
	child.Env = append(os.Environ(), "UPSTREAM_TEST_QUOTA="+m.Addr())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	free := func() time.Time {
		micros, err := redisClient(t, &redis.Options{Addr: m.Addr()}).HGet(t.Context(), "quota:{k}", "next").Int64()
		if err != nil {
			return time.Time{}
		}
		return time.UnixMicro(micros)
	}
	eventually(t, "the child reserves", func() bool { return !free().IsZero() })
	first := free()
	slot := first.Add(-time.Second) // spacing 1 s
	_ = child.Process.Signal(syscall.SIGSTOP)
	stopped := time.Now()
	eventually(t, "the slot passes", func() bool { return time.Now().After(slot.Add(50 * time.Millisecond)) })
	_ = child.Process.Signal(syscall.SIGCONT)
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if stopped.After(slot) {
		return false
	}
	if !free().After(first) {
		t.Error("the child used a slot that it had missed")
	}
	return true
}
