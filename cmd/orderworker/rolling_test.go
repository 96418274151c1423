package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"orderworker/upstream/sandbox"
)

var (
	rollingRate   = flag.Int("rolling.rate", 200, "orders per second that come in during the rolling restart")
	rollingRounds = flag.Int("rolling.rounds", 1, "how often every worker is replaced")
)

// TestRollingRestart replaces each of three workers under load as Kubernetes
// does: a new one is ready, then an old one gets SIGTERM. No order may be done
// again: one delivery, one call and one result for each, and every worker ends
// with exit status 0 and leaves nothing behind.
func TestRollingRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOTHING IS PROVEN: -short")
	}
	t.Parallel()
	programs := buildPrograms(t)
	for _, quota := range []string{"UPSTREAM_RATE=0", "UPSTREAM_RATE=2000"} {
		t.Run(quota, func(t *testing.T) {
			t.Parallel() // it mostly waits
			w := emptyWorld(t, programs, rand.NewPCG(1, 2))
			w.startNATS(1, false)
			w.startRedis()
			w.startVendor()
			nc, err := nats.Connect(w.nodes[0].url())
			if err != nil {
				t.Fatal(err)
			}
			w.startWorkers(nc, 3, "NATS_URL="+w.nodes[0].url(), "REDIS_URL=redis://:"+encodedRedisPassword+"@"+w.redisAddr, "UPSTREAM_URL="+w.vendorURL,
				quota, "CONCURRENCY=64", "ORDERS_ACK_WAIT=30s", "UPSTREAM_TIMEOUT=10s", "RECONCILE_DELAY=10m", "SHUTDOWN_TIMEOUT=30s", "LOG_LEVEL=info")
			for i := range w.workers {
				w.ready(i)
			}
			w.publisher.enqueue(w.buyable()) // the quota of a new account begins with a second without slots
			w.drain()
			stop := w.comeIn(*rollingRate)
			var slowest time.Duration
			for i := range 3 * *rollingRounds {
				w.startWorker()
				w.ready(3 + i)
				w.pass(300*time.Millisecond, 600*time.Millisecond)
				began := time.Now()
				if !w.workers[i].stop(35 * time.Second) {
					t.Errorf("%s did not stop with exit status 0", w.workers[i].name)
				}
				slowest = max(slowest, time.Since(began))
			}
			stop()
			w.drain()
			w.nothingTwice()
			v := w.verdict()
			v.report(t)
			t.Logf("FIGURES %d orders, %d/s, %s, every worker replaced: none redone; a worker stopped within %v; from stored to result p50 %v, p99 %v, most %v",
				len(w.orders), *rollingRate, quota, slowest.Round(time.Millisecond), v.percentile(50), v.percentile(99), v.percentile(100))
		})
	}
}

// ready waits until /readyz of worker i answers 200.
func (w *world) ready(i int) {
	w.t.Helper()
	w.until(w.workers[i].name+" is ready", func() bool {
		response, err := http.Get("http://" + w.admins.all()[i] + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// comeIn publishes orders that can be bought, at an even rate, until stop is called.
func (w *world) comeIn(perSecond int) (stop func()) {
	ended := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			w.publisher.enqueue(w.buyable())
		}
	})
	stop = sync.OnceFunc(func() { close(ended); running.Wait() })
	w.t.Cleanup(stop)
	return stop
}

// nothingTwice fails the test if an order was delivered or bought more than once, or was
// looked up, or if something is left to be delivered.
func (w *world) nothingTwice() {
	w.t.Helper()
	redone := 0
	for _, p := range w.workers {
		text, err := os.ReadFile(p.log)
		if err != nil {
			w.t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var l struct {
				OutTradeNo string `json:"out_trade_no"`
				Delivery   int
			}
			if json.Unmarshal(line, &l) == nil && l.Delivery > 1 {
				if redone++; redone <= 3 {
					w.t.Logf("%s: %s\n%s", p.name, line, w.logged(l.OutTradeNo))
				}
			}
		}
	}
	consumer, err := w.js.Consumer(w.t.Context(), "ORDERS", "order-worker")
	if err != nil {
		w.t.Fatal(err)
	}
	left, sold := consumer.CachedInfo(), w.book()
	orders, lookups := sold.calls(sandbox.EndpointOrder), sold.calls(sandbox.EndpointLookup)
	if redone > 0 || left.NumAckPending > 0 || left.NumRedelivered > 0 || orders != len(w.orders) || lookups > 0 {
		w.t.Errorf("%d deliveries that were not the first, %d not acknowledged, %d to be delivered again; %d orders, bought with %d calls and %d lookups",
			redone, left.NumAckPending, left.NumRedelivered, len(w.orders), orders, lookups)
	}
}

// percentile of the times from a request being stored to its result.
func (v *verdict) percentile(p int) time.Duration {
	slices.Sort(v.took)
	if len(v.took) == 0 {
		return 0
	}
	return v.took[(len(v.took)-1)*p/100].Round(time.Millisecond)
}
