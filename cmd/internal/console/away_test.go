package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/operator"
	"orderworker/dedupe/storetest"
)

// When NATS goes away, the overview says so, and so does a live page that asks NATS itself.
func TestNATSGoesAway(t *testing.T) {
	e := newEnv(t, Config{})
	r := e.reader()
	storetest.Eventually(t, "the console is ready", func() bool { return r.get("/readyz").status == http.StatusOK })
	control := e.events("/control")
	waitEvent(t, control, "nobody has ever paused")
	for _, reason := range []string{"first", "second"} { // the history is read when there is another word
		_, seen, err := e.desk.Word(t.Context())
		ok(t, err)
		_, err = e.desk.Pause(t.Context(), operator.PauseRequest{By: "ann", Reason: reason, Seen: seen})
		ok(t, err)
		waitEvent(t, control, `: `+reason+`</span></li>`)
	}
	e.NATS.Shutdown()
	waitEvent(t, control, `role="alert"`)
	waitEvent(t, control, "NATS does not answer at 127.0.0.1:")
	storetest.Eventually(t, "the store nats is away", func() bool {
		o := data[Overview](r, "/api/overview")
		return slices.ContainsFunc(o.Stores, func(s operator.Store) bool { return s.Name == "nats" && !s.OK }) && len(o.Errors) > 0
	})
	r.get("/readyz").want(t, http.StatusServiceUnavailable)
}

// A look that takes too long says so, with what is known; where the servers answer, the
// next one has more time.
func TestLooksThatTakeTooLongSaySo(t *testing.T) {
	e := newEnv(t, Config{})
	x := NewIndex(5)
	for _, c := range []struct {
		limit, want time.Duration
		answers     bool
	}{{time.Nanosecond, shortestScan, false}, {time.Minute, shortestScan, true}, {2 * time.Nanosecond, 4 * time.Nanosecond, true}} {
		x.answers = c.answers
		if next := x.scanOnce(t.Context(), e.desk, c.limit); next != c.want {
			t.Errorf("after %v: %v, want %v", c.limit, next, c.want)
		}
	}
	x.refreshOnce(t.Context(), e.desk, time.Minute)
	if o := x.Overview(); !slices.Equal(o.Errors, []string{"orders: not all were read within 2ns; the lists are older"}) || !x.answers {
		t.Errorf("%q", o.Errors)
	}
	x.refreshOnce(t.Context(), e.desk, time.Nanosecond)
	if o := x.Overview(); len(o.Errors) < 3 || x.answers {
		t.Errorf("%q", o.Errors)
	}
}

// A stream that cannot be followed is not an empty one.
func TestStreamThatIsNotFollowed(t *testing.T) {
	e := newEnv(t, Config{})
	e.stop()
	s, err := e.JS.Stream(t.Context(), "ORDERS_DEAD")
	ok(t, err)
	cfg := s.CachedInfo().Config
	ok(t, e.JS.DeleteStream(t.Context(), cfg.Name))
	cfg.MaxConsumers = 1
	s, err = e.JS.CreateStream(t.Context(), cfg)
	ok(t, err)
	_, err = s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "another"})
	ok(t, err)
	e.letter([]byte(`{"outTradeNo":"DEAD-1"}`), nil)
	e.serve(Config{})
	r := e.reader()
	storetest.Eventually(t, "it is said", func() bool {
		o := data[Overview](r, "/api/overview")
		return slices.ContainsFunc(o.Errors, func(e string) bool { return strings.HasPrefix(e, "dead letters: not followed") }) &&
			strings.Contains(r.get("/dead").body, "1 dead letters, mostly the oldest, are not listed")
	})
	r.get("/readyz").want(t, http.StatusServiceUnavailable)
	ok(t, s.DeleteConsumer(t.Context(), "another"))
	storetest.Eventually(t, "it is followed", func() bool {
		return len(data[Overview](r, "/api/overview").Errors) == 0 && strings.Contains(r.get("/dead").body, "DEAD-1")
	})
}

// Results that are purged, or whose stream is made anew, are not listed any more.
func TestResultsAreGone(t *testing.T) {
	e := newEnv(t, Config{})
	results := func(prefix string, n int) {
		t.Helper()
		for i := range n {
			no := fmt.Sprintf("%s-%d", prefix, i)
			_, err := e.JS.Publish(t.Context(), "orders.package.result.succeeded."+no, []byte(`{"outTradeNo":"`+no+`","status":"succeeded"}`))
			ok(t, err)
		}
	}
	listed := func(prefix string, n int) {
		t.Helper()
		storetest.Eventually(t, fmt.Sprintf("%d %s are listed", n, prefix), func() bool {
			found := data[Orders](e.reader(), "/api/orders").Orders
			return len(found) == n && !slices.ContainsFunc(found, func(r operator.Row) bool { return !strings.HasPrefix(r.OutTradeNo, prefix) })
		})
	}
	results("OLD", 5)
	listed("OLD", 5)
	s, err := e.JS.Stream(t.Context(), "ORDER_RESULTS")
	ok(t, err)
	ok(t, s.Purge(t.Context()))
	listed("", 0)
	results("LATE", 2)
	listed("LATE", 2)
	ok(t, e.JS.DeleteStream(t.Context(), "ORDER_RESULTS"))
	_, err = e.JS.CreateStream(t.Context(), s.CachedInfo().Config)
	ok(t, err)
	results("NEW", 20) // longer than the old one was
	listed("NEW", 20)
}

// What is too much to be read is said, and is not taken for what does not exist.
func TestUnlistedIsSaid(t *testing.T) {
	e := newEnv(t, Config{})
	c, err := newConsole(t.Context(), Config{}, e.desk, nil, e.logger())
	ok(t, err)
	queued := finishedRow(1, time.Now())
	queued.State = operator.Queued
	c.index.scan(&operator.Overview{Counts: operator.Counts{Queued: 8, Uncounted: 2}}, []operator.Row{queued}, nil)
	for path, want := range map[string]bool{"/orders?q=Q-17": true, "/orders": true, "/orders?state=queued": true, "/orders?state=failed": false} {
		if body := serve(c, "GET", path).Body.String(); strings.Contains(body, "9 more unfinished orders are not listed or searched") != want {
			t.Errorf("%s:\n%s", path, body)
		}
	}
	doubts := make([]operator.Row, 150)
	for i := range doubts {
		doubts[i] = finishedRow(i, time.Now())
		doubts[i].State = operator.InDoubt
	}
	c.index.scan(&operator.Overview{}, doubts, nil)
	for path, want := range map[string]string{"/in-doubt": `rel="next" href="/in-doubt?page=2"`, "/in-doubt?page=2": `rel="prev" href="/in-doubt?page=1"`} {
		if body := serve(c, "GET", path).Body.String(); !strings.Contains(body, want) || strings.Count(body, "rel=") != strings.Count(body, `rel="icon"`)+strings.Count(body, `rel="stylesheet"`)+1 {
			t.Errorf("%s:\n%s", path, body)
		}
	}
	c.index.lettersLost = 3
	if body := serve(c, "GET", "/dead?q=x").Body.String(); !strings.Contains(body, "No such dead letter is listed.") || !strings.Contains(body, "3 dead letters, mostly the oldest, are not listed") {
		t.Errorf("dead letters:\n%s", body)
	}
	d := &operator.Detail{Report: &operator.Report{OutTradeNo: "Q-0", State: "unknown"}}
	if err := unknown(d); err != nil {
		t.Errorf("a number that was not searched in all requests: %v", err)
	}
	w := httptest.NewRecorder()
	c.pages.fragment(w, "order", &page{Fleet: c.index.Overview(), Data: d})
	if !strings.Contains(w.Body.String(), "Not all requests in the stream were searched") {
		t.Error(w.Body.String())
	}
	if d.Searched = true; unknown(d) == nil {
		t.Error("nothing is known of it, and it is not 404")
	}
}
