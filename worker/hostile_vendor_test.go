package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// The text that a hostile vendor sends with an order that it sold appears only in
// one bounded line of the log. The order is sent once, and an honest lookup ends
// the doubt, or the order stays visibly in doubt.
func TestHostileVendor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order, lookup string // rules
		settled       bool
		why           string // it stays in doubt
	}{
		"control characters":             {order: `number="\x1b[2J"`, settled: true},
		"control characters, for ever":   {order: `number="\x1b[2J"`, lookup: `number="\x1b[2J"`, why: whyExists},
		"200 characters, for ever":       {order: `number=HUGE repeat=50`, lookup: `number=HUGE repeat=50`, why: whyExists},
		"megabytes":                      {order: `number=HUGE repeat=400000`, settled: true},
		"megabytes, for ever":            {order: `number=HUGE repeat=400000`, lookup: `number=HUGE repeat=400000`, why: "a body of more than"},
		"deep JSON":                      {order: "deep", settled: true},
		"deep JSON, for ever":            {order: "deep", lookup: "deep", why: "unreadable reply"},
		"deep JSON that can be read":     {order: "deep=9000", lookup: "deep=9000", settled: true},
		"control characters in messages": {order: `refuse code=500 message="\x1b[2J"`, settled: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules := []string{"packageCode=P first=1 buy: " + c.order}
			if c.lookup != "" {
				rules = append(rules, "endpoint=lookup: "+c.lookup)
			}
			w := newWorld(t, rules...)
			w.rules.ReconcileDelay, w.rules.InDoubtNotice = 500*time.Millisecond, 100*time.Millisecond
			// A megabyte takes a busy machine with the race detector a while, and each
			// case is about what was read, not about a time-out.
			w.rules.UpstreamTimeout = 5 * time.Second
			w.start()
			w.publish(request("A", "P"))
			if c.settled {
				w.until("A is settled", time.Minute, func() bool { return w.waiting() == 0 })
			} else {
				w.untilInDoubt("A", c.why)
			}
			w.wantPurchases("A", 1)
			if calls := w.calls(); calls != 1 {
				t.Errorf("%d calls to buy, want 1", calls)
			}
			if n := w.vendor.Totals().Calls[sandbox.EndpointLookup]; n > 60 {
				t.Errorf("%d lookups, want a bounded number", n)
			}
			final := false
			for _, msg := range w.all("ORDER_RESULTS") {
				if text := string(msg.Data); len(text) > 1000 || strings.Contains(text, "HUGE") || strings.Contains(text, "[2J") {
					t.Errorf("an event of %d bytes: %.200s", len(text), text)
				}
			}
			for _, r := range w.results() {
				final = final || r.Status == worker.Succeeded && r.OrderNumber == w.vendor.Purchases("A")[0].OrderNumber
			}
			if final != c.settled {
				t.Errorf("%+v, want a true success: %v", w.results(), c.settled)
			}
			for _, line := range w.log.find(func(logLine) bool { return true }) {
				if len(line.text) > 4096 || strings.Contains(line.text, "\x1b") || strings.Contains(line.text, "HUGEHUGE"+strings.Repeat("HUGE", 100)) {
					t.Errorf("a log line of %d bytes: %.200q", len(line.text), line.text)
				}
			}
		})
	}
}

// The sum of orderworker_in_doubt over three workers is the number of orders in
// doubt, whichever of them has one, and never more.
func TestInDoubtIsCountedOnce(t *testing.T) {
	t.Parallel()
	const n = 30
	w := newWorldOf(t, mode("hide=*"), "always: nonumber") // an answer: no pause begins
	w.rules.ReconcileDelay = 10 * time.Minute              // looked up after 2, 5 and 15 s
	for range 3 {
		conn, err := nats.Connect(w.conn.ConnectedUrl())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		w.rdb = w.redis.Client(t)
		if w.js, err = jetstream.New(conn); err != nil {
			t.Fatal(err)
		}
		w.start()
	}
	w.publishMany(n, "N", onePackage)
	sum := func(order ...int) (sum int) {
		for _, i := range order {
			sum += int(w.workers[i].metric(t, "orderworker_in_doubt", ""))
		}
		return sum
	}
	w.until("all are in doubt", time.Minute, func() bool { return sum(0, 1, 2) == n })
	all, looks, begun := 0, 0, time.Now()
	w.until("each order was looked up twice", time.Minute, func() bool {
		looks++
		// The workers are read one after another. An order that moves meanwhile may be
		// counted twice in one direction of reading, but not in both.
		seen := min(sum(0, 1, 2), sum(2, 1, 0))
		if seen == n {
			all++
		}
		if seen > n {
			t.Errorf("%d orders in doubt, and there are %d", seen, n)
		}
		return time.Since(begun) > 10*time.Second
	})
	t.Logf("%d of %d looks saw all %d orders", all, looks, n)
	if all < looks/4 {
		t.Errorf("%d of %d looks saw all %d orders in doubt", all, looks, n)
	}
}
