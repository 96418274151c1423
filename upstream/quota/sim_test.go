package quota

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	lua "github.com/yuin/gopher-lua"
)

// The simulation of the limiter: whole fleets of real Limiters, in simulated time. The
// real scripts run in the Lua of miniredis, on a Redis that has only a clock and a hash.

// long makes the simulation long enough for the figures in the documents.
var long = os.Getenv("BADDAY") != ""

// simRedis knows the six commands that the scripts use.
type simRedis struct {
	mu      sync.Mutex
	vm      *lua.LState
	scripts map[string]*lua.LFunction // by SHA
	hash    map[string]string         // the one key there is
}

func newSimRedis(t *testing.T) *simRedis {
	r := &simRedis{vm: lua.NewState(), scripts: map[string]*lua.LFunction{}, hash: map[string]string{}}
	t.Cleanup(r.vm.Close)
	for script, text := range map[*redis.Script]string{reserve: reserveScript, slow: slowScript} {
		f, err := r.vm.LoadString(text)
		if err != nil {
			t.Fatal(err)
		}
		r.scripts[script.Hash()] = f
	}
	commands := r.vm.NewTable()
	commands.RawSetString("call", r.vm.NewFunction(r.call))
	r.vm.SetGlobal("redis", commands)
	return r
}

func (r *simRedis) call(vm *lua.LState) int {
	list := vm.NewTable()
	switch command := vm.CheckString(1); command {
	case "TIME":
		now := time.Now().UnixMicro()
		list.Append(lua.LString(fmt.Sprint(now / 1e6)))
		list.Append(lua.LString(fmt.Sprint(now % 1e6)))
	case "HMGET":
		for i := 3; i <= vm.GetTop(); i++ {
			if v, ok := r.hash[vm.CheckString(i)]; ok {
				list.Append(lua.LString(v))
			} else {
				list.Append(lua.LFalse)
			}
		}
	case "HSET":
		for i := 3; i < vm.GetTop(); i += 2 {
			r.hash[vm.CheckString(i)] = vm.CheckString(i + 1)
		}
	case "DEL":
		clear(r.hash)
	case "PEXPIRE":
	default:
		vm.RaiseError("no such command: %s", command)
	}
	vm.Push(list)
	return 1
}

func (r *simRedis) get(field string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hash[field]
}

func (r *simRedis) wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.hash)
}

// eval runs EVALSHA sha 1 key arg...
func (r *simRedis) eval(args []any) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	argv := r.vm.NewTable()
	for _, arg := range args[4:] {
		argv.Append(lua.LString(fmt.Sprint(arg)))
	}
	keys := r.vm.NewTable()
	keys.Append(lua.LString(fmt.Sprint(args[3])))
	r.vm.SetGlobal("KEYS", keys)
	r.vm.SetGlobal("ARGV", argv)
	if err := r.vm.CallByParam(lua.P{Fn: r.scripts[args[1].(string)], NRet: 1, Protect: true}); err != nil {
		return nil, err
	}
	defer r.vm.Pop(1)
	if list, ok := r.vm.Get(-1).(*lua.LTable); ok {
		var all []any
		list.ForEach(func(_, v lua.LValue) { all = append(all, int64(v.(lua.LNumber))) })
		return all, nil
	}
	return int64(r.vm.Get(-1).(lua.LNumber)), nil
}

// simPod is a process, and its connection to Redis.
type simPod struct {
	*Limiter
	fleet  *simFleet
	frozen time.Time // until then nothing in it runs
	served int
}

func (p *simPod) DialHook(next redis.DialHook) redis.DialHook { return next }
func (p *simPod) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (p *simPod) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		way := func() time.Duration { return 100*time.Microsecond + rand.N(200*time.Microsecond) }
		time.Sleep(way())
		var v any
		var err error
		if get, ok := cmd.(*redis.StringCmd); ok {
			get.SetVal(p.fleet.redis.get(cmd.Args()[2].(string)))
		} else if v, err = p.fleet.redis.eval(cmd.Args()); err == nil {
			cmd.(*redis.Cmd).SetVal(v)
		}
		time.Sleep(way())
		p.thaw()
		return err
	}
}

// thaw waits until the process is not frozen, and reports whether it was not.
func (p *simPod) thaw() bool {
	p.fleet.mu.Lock()
	frozen := time.Until(p.frozen)
	p.fleet.mu.Unlock()
	time.Sleep(max(frozen, 0))
	return frozen <= 0
}

// simFleet is a number of pods, each with many orders, and the vendor.
type simFleet struct {
	redis *simRedis
	pods  []*simPod
	low   time.Duration // the network's part of the way takes low to low + way
	way   time.Duration

	mu       sync.Mutex
	arrivals []time.Time
	allows   func(at time.Time) bool // the vendor, where it may refuse
	throttle []time.Time
}

// redisVaries is more than the round trip to Redis varies.
const redisVaries = time.Millisecond

// newSimFleet makes a fleet whose network uses the half of the jitter that is not the
// processes'. They use theirs in run.
func newSimFleet(t *testing.T, pods int, rate float64, low, jitter time.Duration) *simFleet {
	f := &simFleet{redis: newSimRedis(t), low: low}
	for range pods {
		p := &simPod{fleet: f}
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
		rdb.AddHook(p)
		t.Cleanup(func() { _ = rdb.Close() })
		p.Limiter = New(rdb, "sim", rate, jitter)
		f.way = jitter - maxLate - p.mayTake() - redisVaries
		f.pods = append(f.pods, p)
	}
	return f
}

// run sends from every pod, for the given time, while busy returns true.
func (f *simFleet) run(t *testing.T, length time.Duration, busy func(sinceStart time.Duration) bool) {
	start := time.Now()
	ctx, stop := context.WithDeadline(t.Context(), start.Add(length))
	defer stop()
	var wg sync.WaitGroup
	for _, p := range f.pods {
		for range 8 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if !busy(time.Since(start)) {
						time.Sleep(100 * time.Millisecond)
						continue
					}
					if p.Wait(ctx, dawdle) != nil {
						return
					}
					if !p.thaw() {
						continue // it woke up late, and dropped the slot
					}
					slot := time.Now()
					if rand.N(2) == 0 { // the journal is slow
						time.Sleep(p.mayTake())
					}
					if p.thaw(); p.Over(slot) && (p.WaitAgain(ctx, dawdle) != nil || !p.thaw()) {
						continue
					}
					wg.Go(func() { f.send(ctx, p) })
				}
			})
		}
	}
	wg.Wait()
}

// dawdle is a ready that takes nearly maxLate.
func dawdle(ctx context.Context) error {
	return sleepUntil(ctx, time.Now().Add(rand.N(maxLate-redisVaries)))
}

func (f *simFleet) send(ctx context.Context, p *simPod) {
	time.Sleep(f.low + rand.N(f.way+1))
	now := time.Now()
	f.mu.Lock()
	f.arrivals = append(f.arrivals, now)
	p.served++
	refused := f.allows != nil && !f.allows(now)
	if refused {
		f.throttle = append(f.throttle, now)
	}
	f.mu.Unlock()
	if refused {
		time.Sleep(f.low)
		_ = p.Slow(ctx, 0)
	}
}

// The vendors allow rate requests in a second. Each counts in another way.
func slidingLog(rate int) func(time.Time) bool {
	var log []time.Time
	return func(at time.Time) bool {
		for len(log) > 0 && at.Sub(log[0]) >= time.Second {
			log = log[1:]
		}
		if len(log) >= rate {
			return false
		}
		log = append(log, at)
		return true
	}
}

func fixedWindow(rate int) func(time.Time) bool {
	var window time.Time
	n := 0
	return func(at time.Time) bool {
		if w := at.Truncate(time.Second); w != window {
			window, n = w, 0
		}
		n++
		return n <= rate
	}
}

func tokenBucket(rate int) func(time.Time) bool {
	tokens, last := float64(rate), time.Time{}
	return func(at time.Time) bool {
		if !last.IsZero() {
			tokens = min(float64(rate), tokens+at.Sub(last).Seconds()*float64(rate))
		}
		last = at
		if tokens < 1 {
			return false
		}
		tokens--
		return true
	}
}

func between(times []time.Time, from, to time.Time) (n int) {
	for _, at := range times {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// There are never more requests than the rate in a second, nearly all of the rate is
// used, and no pod gets much less than another.
func TestSimulatedFleetKeepsTheRate(t *testing.T) {
	const rate, warm = 10, 5 * time.Second
	length := 2 * time.Minute
	if long {
		length = 10 * time.Minute
	}
	t.Logf("%4s %9s %9s | %5s %6s | %7s %6s %6s | %6s %6s", "pods", "way, ms", "load", "peak", "sent", "sliding", "fixed", "bucket", "use", "fair")
	for _, way := range []struct {
		low, jitter time.Duration
		use         float64
	}{{5 * time.Millisecond, 50 * time.Millisecond, 0.95}, {5 * time.Millisecond, 16 * time.Millisecond, 0.98}} {
		for _, pods := range []int{1, 3, 10} {
			for _, load := range []string{"steady", "on, off", "key lost", "stalls", "all"} {
				synctest.Test(t, func(t *testing.T) {
					f := newSimFleet(t, pods, rate, way.low, way.jitter)
					busy := func(time.Duration) bool { return true }
					if load == "on, off" || load == "all" {
						busy = func(d time.Duration) bool { return d%(15*time.Second) < 10*time.Second }
					}
					ctx, stop := context.WithTimeout(t.Context(), length)
					defer stop()
					if load == "key lost" || load == "all" {
						go every(ctx, 20*time.Second, f.redis.wipe)
					}
					if load == "stalls" || load == "all" {
						for i, p := range f.pods {
							time.AfterFunc(time.Duration(i)*7*time.Second/time.Duration(pods), func() {
								go every(ctx, 7*time.Second, func() {
									f.mu.Lock()
									p.frozen = time.Now().Add(50*time.Millisecond + rand.N(500*time.Millisecond))
									f.mu.Unlock()
								})
							})
						}
					}
					start := time.Now()
					f.run(t, length, busy)
					stop()
					synctest.Wait()

					peak := 0
					for i := range f.arrivals {
						peak = max(peak, between(f.arrivals[i:min(len(f.arrivals), i+2*rate)], f.arrivals[i], f.arrivals[i].Add(time.Second)))
					}
					refused := map[string]int{}
					for name, allows := range map[string]func(time.Time) bool{"sliding": slidingLog(rate), "fixed": fixedWindow(rate), "bucket": tokenBucket(rate)} {
						for _, at := range f.arrivals {
							if !allows(at) {
								refused[name]++
							}
						}
					}
					use := float64(between(f.arrivals, start.Add(warm), start.Add(length))) / (rate * (length - warm).Seconds())
					var served []int
					for _, p := range f.pods {
						served = append(served, p.served)
					}
					fair := float64(slices.Min(served)) / float64(slices.Max(served))
					t.Logf("%4d %4d..%-3d %9s | %5d %6d | %7d %6d %6d | %5.1f%% %6.3f", pods, way.low.Milliseconds(), (way.low + way.jitter).Milliseconds(), load,
						peak, len(f.arrivals), refused["sliding"], refused["fixed"], refused["bucket"], 100*use, fair)
					if peak > rate || len(refused) > 0 {
						t.Errorf("%d requests in one second, refused %v: want %d at most, and none", peak, refused, rate)
					}
					if load == "steady" && use < way.use {
						t.Errorf("%.2f%% of the quota used, want %.1f%%", 100*use, 100*way.use)
					}
					wantFair := 0.9
					if (load == "stalls" || load == "all") && !long {
						wantFair = 0.6 // about 100 slots each, and whom a stall costs one is chance
					}
					if fair < wantFair {
						t.Errorf("pods served %v: least to most %.3f, want %.1f", served, fair, wantFair)
					}
				})
			}
		}
	}
}

func every(ctx context.Context, d time.Duration, do func()) {
	for {
		select {
		case <-time.After(d):
			do()
		case <-ctx.Done():
			return
		}
	}
}

// A vendor that allows half of the rate is soon sent little more, and after it has
// recovered it is sent the whole rate again.
func TestSimulatedFleetFindsTheVendorsRate(t *testing.T) {
	rates := []float64{10}
	if long {
		rates = append(rates, 50)
	}
	for _, pods := range []int{1, 3, 10} {
		for _, rate := range rates {
			synctest.Test(t, func(t *testing.T) {
				const half, length = 5 * time.Minute, 10 * time.Minute
				f := newSimFleet(t, pods, rate, 5*time.Millisecond, 50*time.Millisecond)
				start := time.Now()
				less, all := slidingLog(max(1, int(rate/2))), slidingLog(int(rate))
				f.allows = func(at time.Time) bool {
					if at.Sub(start) < half {
						return less(at)
					}
					return all(at)
				}
				limit := max(1, rate/2)
				f.run(t, length, func(time.Duration) bool { return true })
				share := func(from, to time.Duration) (calls, throttled int, percent float64) {
					calls, throttled = between(f.arrivals, start.Add(from), start.Add(to)), between(f.throttle, start.Add(from), start.Add(to))
					return calls, throttled, 100 * float64(throttled) / float64(max(1, calls))
				}
				_, early, earlyShare := share(0, 10*time.Second)
				calls, _, late := share(10*time.Second, half)
				use := float64(calls) / (limit * (half - 10*time.Second).Seconds())
				after, _, afterShare := share(length-time.Minute, length)
				full := float64(after) / (rate * 60)
				t.Logf("%2d pods, %2.0f/s, the vendor allows %2.0f: %2d throttled (%4.1f%%) in the first 10s, then %.1f%% at %.0f%% use; 4m after it recovered %.1f%% at %.0f%% use",
					pods, rate, limit, early, earlyShare, late, 100*use, afterShare, 100*full)
				if late >= 5 || use < 0.75 {
					t.Errorf("after 10s %.1f%% are throttled at %.0f%% use, want under 5%% at 75%% or more", late, 100*use)
				}
				if full < 0.93 {
					t.Errorf("4m after the vendor recovered %.0f%% of the rate is used, want nearly all", 100*full)
				}
			})
		}
	}
}
