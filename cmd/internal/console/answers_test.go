package console

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"orderworker/cmd/internal/operator"
	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe/storetest"
	"orderworker/upstream"
)

// What is wrong with the vendor's answers is on every page, and a page has the words of the
// command for an order that the account's pause holds.
func TestPagesTellOfTheVendor(t *testing.T) {
	e := newEnv(t, Config{})
	e.Publish(request("A"))
	now := time.Now().UTC()
	e.Tell(vitals.Figures{
		Started: now, Orders: &upstream.Streak{Since: now, Last: now, What: "HTTP <503>"}, Lookups: &upstream.Streak{Since: now, Last: now, What: "control number BK-7 is not shown"},
		Pause: &vitals.Pause{Since: now, Cause: "account", Code: "502", Message: "ip", NextProbe: now.Add(time.Hour)},
	})
	r := e.reader()
	storetest.Eventually(t, "the vendor is told of", func() bool { return data[Overview](r, "/api/overview").Answers.Unproven != nil })
	for _, path := range []string{"/", "/in-doubt", "/orders/A"} {
		body := r.get(path).want(t, http.StatusOK).body
		for _, want := range []string{"<strong>The vendor gave no clear answer to the last orders</strong> since ", "HTTP &lt;503&gt;", "<strong>The last lookups proved nothing</strong> since ", ": control number BK-7 is not shown"} {
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

// While the orders cannot be read, every order that was listed stays, and when it goes on is
// unknown only where that depends on what cannot be read. The reason is the store's.
func TestOrdersStayWhileTheyCannotBeRead(t *testing.T) {
	read := func() []operator.Row {
		return []operator.Row{
			{OutTradeNo: "DOUBT", State: operator.InDoubt, Next: &operator.Next{What: "ask"}},
			{OutTradeNo: "CANCELLED", State: operator.Failed, Unpublished: true, Next: &operator.Next{What: "publish"}},
			{OutTradeNo: "CLAIMED", State: operator.Claimed},
			{OutTradeNo: "HELD", State: operator.InDoubt, Next: &operator.Next{What: "settle"}},
		}
	}
	for name, c := range map[string]struct {
		stores []operator.Store
		why    string
	}{
		"nats":   {[]operator.Store{{Name: "nats", Error: "away"}}, "NATS is away"},
		"orders": {[]operator.Store{{Name: "nats", OK: true}, {Name: "orders", Error: "permission denied"}}, "the orders are away"},
	} {
		x := NewIndex(5)
		x.scan(&operator.Overview{}, read(), nil)
		for range 2 { // the second time there is nothing to hide any more
			x.scan(&operator.Overview{Stores: c.stores}, nil, nil)
		}
		rows, _ := x.Search(Query{State: unfinished, Limit: 9})
		found := map[string]string{}
		for _, r := range append(rows, first(x.Search(Query{State: operator.Failed, Limit: 9}))...) {
			found[r.OutTradeNo] = nextText(r.Next, time.Now())
		}
		want := map[string]string{"DOUBT": "unknown (" + c.why + ")", "CANCELLED": "its result is published", "CLAIMED": "–", "HELD": "an operator settles it"}
		if !maps.Equal(found, want) || len(rows) != len(want) {
			t.Errorf("%s: %v, want %v", name, found, want)
		}
	}
}

func first(rows []operator.Row, _ bool) []operator.Row { return rows }

// The page of the orders in doubt says what is done about them, by UPSTREAM_RECONCILE.
func TestDoubtsAreDealtWithByThePolicy(t *testing.T) {
	e := newEnv(t, Config{})
	e.stop() // it reads the policy too
	for policy, want := range map[string]string{"lookup": "The workers ask the vendor by themselves", "resend": "The workers send an order again", "hold": "Nobody asks the vendor"} {
		e.desk.UpstreamReconcile = policy
		c, err := newConsole(t.Context(), Config{}, e.desk, nil, e.logger())
		ok(t, err)
		c.index.scan(&operator.Overview{}, []operator.Row{{OutTradeNo: "A", State: operator.InDoubt}}, nil)
		if body := serve(c, "GET", "/in-doubt").Body.String(); strings.Count(body, want) != 1 || policy == "hold" && strings.Contains(body, "workers ask") {
			t.Errorf("%s:\n%s", policy, body)
		}
	}
}

// A pause that has an end is told of with it.
func TestNextTextOfAPause(t *testing.T) {
	now := time.Now()
	n := &operator.Next{What: "resume"}
	if got := nextText(n, now); got != "is sent when somebody resumes" {
		t.Error(got)
	}
	n.At.Time = now.Add(3 * time.Minute)
	if got := nextText(n, now); got != "is sent when the pause is over in 3m, or when somebody resumes" {
		t.Error(got)
	}
}
