package console

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/operator"
	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe/storetest"
)

// tell tells Redis of a worker until the test ends.
func (e *env) tell(f vitals.Figures) {
	e.t.Helper()
	rdb, err := connect.Redis(e.settings, nil)
	ok(e.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { vitals.Publish(ctx, rdb, e.settings.OrdersStream, "w7", func() vitals.Figures { return f }) })
	e.t.Cleanup(func() { cancel(); all.Wait(); connect.CloseRedis(rdb) })
}

// What is wrong with the vendor's answers is on every page, and a page has the words of the
// command for an order that the account's pause holds.
func TestPagesTellOfTheVendor(t *testing.T) {
	e := newEnv(t, Config{})
	e.publish(request("A"))
	now := time.Now().UTC()
	e.tell(vitals.Figures{
		Started: now, Unclear: &vitals.Fault{Since: now, Last: now, What: "HTTP <503>"}, Unproven: &vitals.Fault{Since: now, Last: now, What: "control number BK-7 is not shown"},
		Pause: &vitals.Pause{Since: now, Cause: "account", Code: "502", Message: "ip", NextProbe: now.Add(time.Hour)},
	})
	r := e.reader()
	storetest.Eventually(t, "the vendor is told of", func() bool { return data[Overview](r, "/api/overview").Answers.Unproven != nil })
	for _, path := range []string{"/", "/in-doubt", "/orders/A"} {
		body := r.get(path).want(t, http.StatusOK).body
		for _, want := range []string{"<strong>The vendor gives no clear answer to orders</strong> since ", "HTTP &lt;503&gt;", "<strong>Lookups prove nothing</strong> since ", ": control number BK-7 is not shown"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in\n%s", path, want, body)
			}
		}
	}
	const next = "is sent when the account’s pause is over; the vendor is probed in 1h0m"
	storetest.Eventually(t, "the list says what is next", func() bool { return strings.Contains(r.get("/orders").body, next) })
	if body := r.get("/orders/A").body; !strings.Contains(body, next) || !strings.Contains(body, ">queued</span> it waits for a worker") || !strings.Contains(body, "; next: "+now.Add(time.Hour).Format("15:04:05")+" probe") {
		t.Error(body)
	}
}

// While NATS is away, the lists are those that were read before, and when anything comes next
// is not known.
func TestPagesInventNoTime(t *testing.T) {
	now := time.Now()
	rows := []operator.Row{{OutTradeNo: "A", State: operator.InDoubt, Next: &operator.Next{What: "ask"}}}
	x := NewIndex(5)
	x.scan(&operator.Overview{}, rows, nil)
	before := x.InDoubt()
	x.scan(&operator.Overview{Stores: []operator.Store{{Name: "nats", Error: "away"}}}, nil, nil)
	after := x.InDoubt()
	if len(after) != 1 || nextText(after[0].Next, now) != "unknown (NATS is away)" {
		t.Errorf("%+v", after)
	}
	if nextText(before[0].Next, now) != "the vendor is asked" {
		t.Error("rows that were handed out have changed")
	}
	for ago, want := range map[time.Duration]string{-time.Minute: "is sent in 1m", time.Second: "is sent now", time.Minute: "is sent; that was due 1m ago"} {
		n := &operator.Next{What: "send"}
		n.At.Time = now.Add(-ago)
		if got := nextText(n, now); got != want {
			t.Errorf("%v ago: %q, want %q", ago, got, want)
		}
	}
}
