package worker_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// The vendor's bad days, on real servers. They are short here; with BADDAY=1
// they are as long as the issue has them, with the worker's default settings.
var long = os.Getenv("BADDAY") != ""

// scaled is the long value with BADDAY, else the short one.
func scaled[T any](short, full T) T {
	if long {
		return full
	}
	return short
}

// newBadDay is a world with a worker of the usual size.
func newBadDay(t *testing.T, vendor sandbox.Config, rules ...string) *world {
	t.Helper()
	w := newWorldOf(t, vendor, rules...)
	w.size, w.wait = 64, 30*time.Second
	w.rules.MaxAttempts = scaled(4, 8)
	w.rules.UpstreamTimeout = 5 * time.Second
	w.rules.Backoff = worker.Backoff{Initial: scaled(200*time.Millisecond, time.Second), Multiplier: 2, Max: scaled(time.Second, 5*time.Minute), Jitter: 0.5}
	w.rules.ReconcileDelay = scaled(time.Second, 10*time.Second)
	w.streams()
	return w
}

// publishMany stores n requests named prefix0, prefix1, ...
func (w *world) publishMany(n int, prefix string, packageCode func(i int) string) {
	w.t.Helper()
	acks := make([]jetstream.PubAckFuture, n)
	for i := range n {
		msg := nats.NewMsg("orders.package.request")
		msg.Data = []byte(request(fmt.Sprint(prefix, i), packageCode(i)))
		var err error
		if acks[i], err = w.js.PublishMsgAsync(msg); err != nil {
			w.t.Fatal(err)
		}
	}
	<-w.js.PublishAsyncComplete()
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			w.t.Fatal(err)
		}
	}
}

func onePackage(int) string      { return "P" }
func twoPackages(i int) string   { return []string{"P", "Q"}[i%2] }
func (w *world) waiting() uint64 { return w.count("ORDERS") }

// until polls, for longer than storetest.Eventually has patience.
func (w *world) until(what string, limit time.Duration, ok func() bool) {
	w.t.Helper()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(limit); !ok(); <-poll.C {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s; %d requests are left, the vendor says %+v", limit, what, w.waiting(), w.vendor.Totals())
		}
	}
}

// allSucceeded says how the orders ended, and checks that all did well.
func (w *world) allSucceeded(n int) (mostAttempts int) {
	w.t.Helper()
	succeeded := 0
	for _, r := range w.results() {
		switch r.Status {
		case worker.Succeeded:
			succeeded++
			mostAttempts = max(mostAttempts, r.Attempts)
		case worker.InDoubt:
		default:
			w.t.Errorf("%+v, want a success", r)
		}
	}
	if bought := w.vendor.Totals().Bought; succeeded != n || bought != n {
		w.t.Errorf("%d of %d orders succeeded, by %d purchases", succeeded, n, bought)
	}
	return mostAttempts
}

// metric sums a metric over the workers and its labels; with a label's value, over
// those that have it.
func (w *world) metric(name, label string) (sum float64) {
	w.t.Helper()
	for _, run := range w.workers {
		sum += run.metric(w.t, name, label)
	}
	return sum
}

func (s started) metric(t *testing.T, name, label string) (sum float64) {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := label == ""
			for _, l := range m.GetLabel() {
				has = has || l.GetValue() == label
			}
			if has {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func (w *world) paused() bool { return w.metric("orderworker_upstream_paused", "") > 0 }

// sent counts the calls to the vendor that were tried, reached or not.
func (w *world) sent() int { return int(w.metric("orderworker_upstream_requests_total", "")) }

func TestBadDayOutage(t *testing.T) {
	t.Parallel()
	outage, n := scaled(3*time.Second, 15*time.Second), scaled(100, 500)
	for name, c := range map[string]struct {
		rate  float64
		down  func(w *world) (up func())
		class string
	}{
		"HTTP 503": {0, func(w *world) func() {
			w.vendor.SetDown(true)
			return func() { w.vendor.SetDown(false) }
		}, "ambiguous"},
		"HTTP 503, with a rate": {scaled(100.0, 10.0), func(w *world) func() {
			w.vendor.SetDown(true)
			return func() { w.vendor.SetDown(false) }
		}, "ambiguous"},
		"connection refused": {0, func(w *world) func() {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				w.t.Fatal(err)
			}
			addr := l.Addr().String()
			w.url = "http://" + addr
			_ = l.Close()
			return func() {
				l, err := net.Listen("tcp", addr)
				if err != nil {
					w.t.Fatal(err)
				}
				server := &http.Server{Handler: w.vendor}
				go func() { _ = server.Serve(l) }()
				w.t.Cleanup(func() { _ = server.Close() })
			}
		}, "unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newBadDay(t, sandbox.Config{})
			w.rate, w.jitter = c.rate, 50*time.Millisecond
			up := c.down(w)
			w.start()
			w.publishMany(n, "N", twoPackages)
			begun := time.Now()
			w.until("orders are paused", time.Minute, w.paused)
			w.until("the outage is over", time.Minute, func() bool { return time.Since(begun) > outage })
			calls := w.sent()
			if silent := int(w.metric("orderworker_upstream_requests_total", c.class)); silent != calls {
				t.Errorf("%d of %d calls ended %s", silent, calls, c.class)
			}
			up()
			w.until("all orders are final", 3*time.Minute, func() bool { return w.waiting() == 0 })
			attempts := w.allSucceeded(n)
			t.Logf("%d calls in an outage of %v with %d orders waiting; all succeeded %v after it, with %d attempts at most", calls, outage, n, (time.Since(begun) - outage).Round(100*time.Millisecond), attempts)
			if calls >= 30 {
				t.Errorf("%d calls in the outage, want under 30", calls)
			}
			if w.paused() {
				t.Error("orderworker_upstream_paused is still 1")
			}
		})
	}
}

// The account is refused by a code that is in no list, and lookups with it: no
// order has lost an attempt when that is over.
func TestBadDayEverybodyIsRefused(t *testing.T) {
	t.Parallel()
	trouble, n := scaled(3*time.Second, 20*time.Second), scaled(100, 300)
	w := newBadDay(t, sandbox.Config{}, fmt.Sprintf(`endpoint=any for=%v: refuse code=1003 message="sign error"`, trouble))
	begun := time.Now()
	w.start()
	w.publishMany(n, "N", twoPackages)
	w.until("orders are paused", time.Minute, w.paused)
	w.until("the trouble is over", time.Minute, func() bool { return time.Since(begun) > trouble })
	calls := w.vendor.Totals().Faults["refuse"]
	w.until("all orders are final", 3*time.Minute, func() bool { return w.waiting() == 0 })
	attempts := w.allSucceeded(n)
	t.Logf("%d calls were refused in %v; all %d orders succeeded %v after it, with %d attempts at most", calls, trouble, n, (time.Since(begun) - trouble).Round(100*time.Millisecond), attempts)
	if attempts != 1 || calls >= 40 { // what was under way at the first refusal is refused too
		t.Errorf("%d attempts, %d calls, want 1 and few", attempts, calls)
	}
}

func TestBadDayVendorAllowsHalfOfTheRate(t *testing.T) {
	t.Parallel()
	rate, settle, watch := scaled(50.0, 10.0), scaled(5*time.Second, 10*time.Second), scaled(5*time.Second, 60*time.Second)
	n := int(rate / 2 * (settle + watch).Seconds())
	w := newBadDay(t, sandbox.Config{Rate: int(rate / 2)})
	w.rate, w.jitter = rate, 50*time.Millisecond
	w.publishMany(n, "N", onePackage)
	begun := time.Now()
	w.start()
	w.until("the rate is found", time.Minute, func() bool { return time.Since(begun) > settle })
	early := w.vendor.Totals()
	w.until("some time has passed", time.Minute+watch, func() bool { return time.Since(begun) > settle+watch })
	late := w.vendor.Totals()
	calls, throttled := late.Calls[sandbox.EndpointOrder]-early.Calls[sandbox.EndpointOrder], late.Throttled-early.Throttled
	w.until("all orders are final", 5*time.Minute, func() bool { return w.waiting() == 0 })
	w.allSucceeded(n)
	t.Logf("%d of %d calls were throttled in the first %v, then %d of %d; %d orders took %v", early.Throttled, early.Calls[sandbox.EndpointOrder], settle, throttled, calls, n, time.Since(begun).Round(time.Second))
	// A short run has few requests, and a busy machine sends them unevenly or
	// begins late, so the limit of 5 % applies only to a run of full length. The
	// vendor would throttle half of the requests of a worker that does not slow down.
	if most := scaled(25, 5); 100*throttled >= most*calls {
		t.Errorf("%d of %d calls were throttled after %v, want under %d %%", throttled, calls, settle, most)
	}
}

func TestBadDayFreshOrdersDoNotWaitForRefusedOnes(t *testing.T) {
	t.Parallel()
	n := scaled(1000, 20000)
	var rules []string
	for digit := range 10 {
		rules = append(rules, fmt.Sprintf("outTradeNo=W*%d: refuse code=500%d", digit, digit))
	}
	w := newBadDay(t, sandbox.Config{}, rules...)
	w.rules.Backoff = worker.Backoff{Initial: 10 * time.Minute, Multiplier: 1, Max: 10 * time.Minute, Jitter: 0.5}
	w.publishMany(n, "W", onePackage)
	w.start()
	w.until("all are in a long backoff", 4*time.Minute, func() bool {
		return w.calls() == n && w.metric("orderworker_in_progress", "") == 0
	})
	begun := time.Now()
	w.publishMany(100, "F", onePackage)
	w.until("the fresh ones are final", time.Minute, func() bool { return w.count("ORDER_RESULTS") == 100 })
	took := time.Since(begun)
	t.Logf("100 fresh orders were final after %v, while %d were waiting", took.Round(time.Millisecond), n)
	if took > 5*time.Second {
		t.Errorf("100 fresh orders took %v, want 5s at most", took)
	}
}

// Orders that are refused again and again, by a code that is in no list, do not
// delay the good orders behind them. The refusals are about the orders, so the
// account is not paused, and the orders fail.
func TestBadDayRefusedOrdersStarveNoOthers(t *testing.T) {
	const bad, good = 2000, 100
	w := newBadDay(t, sandbox.Config{}, "packageCode=BAD: refuse code=3001")
	w.rules.Backoff = worker.Backoff{Initial: time.Second, Multiplier: 2, Max: 5 * time.Minute, Jitter: 0.5}
	w.publishMany(bad, "B", func(int) string { return "BAD" })
	w.publishMany(good, "G", func(int) string { return "GOOD" })
	begun := time.Now()
	w.start()
	var took time.Duration
	w.until("the good ones are bought", time.Minute, func() bool {
		took = time.Since(begun)
		return w.vendor.Totals().Bought == good
	})
	book := w.vendor.Book()
	before := book.Purchases[good-1].Call - good
	t.Logf("%d good orders were bought within %v, behind %d bad ones that were refused %d times before the last of them", good, took.Round(time.Millisecond), bad, before)
	// In the order of the stream they come after all first attempts. Retries of
	// those come between, but not all of them, over and over.
	if before > 3*bad || took > 30*time.Second {
		t.Errorf("%d calls and %v, want about %d and 5 s", before, took, bad)
	}
	w.until("the bad ones have spent their attempts", scaled(2*time.Minute, 10*time.Minute), func() bool { return w.waiting() == 0 })
	failed := 0
	for _, r := range w.results() {
		if r.Status == worker.Failed && r.Reason == worker.AttemptsExhausted && r.Attempts == w.rules.MaxAttempts {
			failed++
		}
	}
	if failed != bad {
		t.Errorf("%d bad orders failed after %d attempts, want %d", failed, w.rules.MaxAttempts, bad)
	}
	if n := w.log.events("account paused"); n > 0 {
		t.Errorf("the account was paused %d times, and works", n)
	}
}

func TestBadDayExpiresInAPause(t *testing.T) {
	t.Parallel()
	w := newBadDay(t, sandbox.Config{})
	w.start()
	w.publish(request("CONTROL", "P")) // without one, what is in doubt stays so
	w.idle()
	w.vendor.SetDown(true)
	w.publishMany(10, "N", twoPackages)
	w.until("orders are paused", time.Minute, w.paused)
	expires := time.Now().Add(700 * time.Millisecond)
	w.publish(fmt.Sprintf(`{"outTradeNo":"E","iccid":"8988308650100524999","packageCode":"P","expiresAt":%q}`, expires.Format(time.RFC3339Nano)))
	var late time.Duration
	w.until("it has expired", time.Minute, func() bool {
		late = time.Since(expires)
		return w.metric("orderworker_results_total", string(worker.Failed)) == 1
	})
	w.vendor.SetDown(false)
	w.until("the others are final", time.Minute, func() bool { return w.waiting() == 0 })
	for _, r := range w.results() {
		if r.OutTradeNo == "E" && (r.Status != worker.Failed || r.Reason != worker.Expired || r.Attempts != 0) {
			t.Errorf("%+v, want it to have expired", r)
		}
	}
	w.wantPurchases("E", 0)
	t.Logf("told %v after its time", late.Round(time.Millisecond))
}

// Three workers with connections of their own, against the sliding second of the
// sandbox. A machine that is too busy to wake a process in time cannot show this,
// so make test runs it when all else is done; in CI it fails there all the same.
func TestBadDayThreeWorkersKeepTheRate(t *testing.T) {
	const rate, tries = 50, 3
	n := scaled(200, 1500)
	for try := 1; ; try++ {
		late := lateWakeups(t)
		w := newBadDay(t, sandbox.Config{Rate: rate})
		w.rate, w.jitter, w.size = rate, 25*time.Millisecond, 16
		w.publishMany(n, "N", onePackage)
		for range 3 {
			w.rdb = w.redis.Client(t)
			conn, err := nats.Connect(w.conn.ConnectedUrl())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(conn.Close)
			if w.js, err = jetstream.New(conn); err != nil {
				t.Fatal(err)
			}
			w.start()
		}
		w.until("all orders are final", 3*time.Minute, func() bool { return w.waiting() == 0 })
		w.allSucceeded(n)
		totals, book := w.vendor.Totals(), w.vendor.Book()
		first, last := book.Purchases[0].At, book.Purchases[n-1].At
		use := float64(n-1) / (rate * last.Sub(first).Seconds())
		share := late()
		t.Logf("%d orders: %d refused, at most %d in a second, %.1f%% of the rate used; %.1f%% of wakeups were over 3ms late", n, totals.Throttled, totals.PeakPerSecond, 100*use, 100*share)
		switch {
		case totals.Throttled == 0 && use >= 0.95:
			return
		case try < tries:
		case share > 0.01 && os.Getenv("CI") == "":
			t.Skipf("NOT SHOWN: the machine is too busy, %.1f%% of wakeups were over 3ms late", 100*share)
		default:
			t.Fatalf("%d refused and %.1f%% of the rate used, want 0 and 95 %%", totals.Throttled, 100*use)
		}
	}
}

// lateWakeups watches how punctual the machine is; the end says what share of
// its wakeups came over 3 ms late.
func lateWakeups(t *testing.T) (end func() float64) {
	done, result := make(chan struct{}), make(chan float64, 1)
	go func() {
		all, late := 0, 0
		for {
			at := time.Now().Add(10 * time.Millisecond)
			select {
			case <-time.After(10 * time.Millisecond):
				all++
				if time.Since(at) > 3*time.Millisecond {
					late++
				}
			case <-done:
				result <- float64(late) / float64(max(all, 1))
				return
			}
		}
	}()
	return func() float64 { close(done); return <-result }
}
