package sandbox

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAdmin(t *testing.T) {
	r := newTestEnv(t, Config{})
	text := func(method, path, body string, want int) string {
		t.Helper()
		a := r.do(r.request(method, path, []byte(body)))
		if a.err != nil || a.status != want {
			t.Fatalf("%s %s: HTTP %d, %v: %s", method, path, a.status, a.err, a.body)
		}
		return string(a.body)
	}
	const rules = "outTradeNo=A*: refuse code=1\nalways: reset\n"

	text("GET", "/healthz", "", 200)
	if got := text("GET", "/rules", "", 200); got != "" {
		t.Errorf("rules at the start: %q", got)
	}
	text("PUT", "/rules", "# two\n"+rules, 200)
	if got := text("GET", "/rules", "", 200); got != rules {
		t.Errorf("rules = %q, want %q", got, rules)
	}
	if got := text("POST", "/rules", "always: reset\nnever: reset", 400); !strings.Contains(got, `line 2: rule "never: reset": never: no such condition`) {
		t.Errorf("error = %q", got)
	}
	if got := text("GET", "/rules", "", 200); got != rules {
		t.Errorf("rules after an error = %q, want %q", got, rules)
	}
	text("PUT", "/rules", strings.Repeat("#", maxRulesBytes+1), 400)
	r.wantCode(r.send(anOrder("A")), "1")
	text("POST", "/rules", "", 200)
	r.wantCode(r.send(anOrder("A")), CodeSuccess)
	r.wantCode(r.send(anOrder("A")), CodeSuccess)

	text("PUT", "/down", "true", 200)
	if a := r.send(aLookup("A")); a.status != http.StatusServiceUnavailable {
		t.Errorf("down: HTTP %d", a.status)
	}
	text("PUT", "/down", "false\n", 200)
	text("PUT", "/down", "perhaps", 400)
	text("PUT", "/down", strings.Repeat(" ", maxRulesBytes+1), 400)

	var book Book
	r.must(json.Unmarshal([]byte(text("GET", "/book", "", 200)), &book))
	if book.Bought != 2 || len(book.Purchases) != 2 || !slices.Equal(book.Doubles, []string{"A"}) || book.PerOutTradeNo["A"] != 2 ||
		book.Calls[EndpointOrder] != 3 || book.Calls[EndpointLookup] != 1 || book.Faults["down"] != 1 || book.Faults["refuse"] != 1 {
		t.Errorf("book = %+v", book)
	}
	if got := text("GET", "/book?totals", "", 200); !strings.Contains(got, `"bought":2`) || strings.Contains(got, "purchases") {
		t.Errorf("totals = %s", got)
	}

	text("PUT", "/lookup-mode", " hide=A packages=2\n", 200)
	if got := text("GET", "/lookup-mode", "", 200); got != "hide=A packages=2\n" {
		t.Errorf("lookup mode = %q", got)
	}
	if rows, _ := r.rows(r.send(aLookup("A"))); len(rows) != 0 {
		t.Errorf("hidden orders are shown: %s", rows)
	}
	if got := text("POST", "/lookup-mode", "blind", 400); !strings.Contains(got, "blind: no such word, must be one of hide, omit") {
		t.Errorf("error = %q", got)
	}
	text("PUT", "/lookup-mode", strings.Repeat(" ", maxRulesBytes+1), 400)
	text("PUT", "/lookup-mode", "packages=10001", 400)
	if got := r.vendor.LookupMode(); got != (LookupMode{Hide: "A", Packages: 2}) {
		t.Errorf("mode after errors: %+v", got)
	}
	text("PUT", "/lookup-mode", "", 200)

	if got := text("POST", "/state?outTradeNo=A&state=2", "", 200); got != "A: state 2, purchases 2\n" {
		t.Errorf("state: %q", got)
	}
	if rows, _ := r.rows(r.send(aLookup("A").with(call{"state": 2}))); len(rows) != 2 || !strings.Contains(text("GET", "/book", "", 200), `"state":2`) {
		t.Errorf("state 2: %s", rows)
	}
	text("POST", "/state?outTradeNo=B&state=2", "", 400)
	text("POST", "/state?outTradeNo=A&state=3", "", 400)
	text("POST", "/state?outTradeNo=A", "", 400)
	text("GET", "/state?outTradeNo=A&state=2", "", 405)
	if got := text("DELETE", "/lookup-mode", "", 405); got != "DELETE is not for /lookup-mode\n" {
		t.Errorf("error = %q", got)
	}
	text("HEAD", "/book", "", 200)

	text("DELETE", "/book", "", 405)
	text("GET", "/reset", "", 405)
	text("POST", "/healthz", "", 405)
	r.wantCode(r.do(r.request("GET", "/", nil)), CodePath)
	text("POST", "/reset", "", 200)
	want := `{"bought":0,"calls":{"getOrderPackageDetails":0,"orderPackage":0},"peakPerSecond":0,"throttled":0,"refused":{},` +
		`"refusedSignatures":0,"faults":{},"rules":[],"waiting":0,"down":false,"purchases":[],"perOutTradeNo":{},"doubles":[]}`
	if got := text("GET", "/book", "", 200); got != want {
		t.Errorf("after a reset: %s\nwant %s", got, want)
	}
}

func TestServeEndsWhatHangs(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.rules("outTradeNo=A buy: hang", "outTradeNo=B: delay=1h", "outTradeNo=C buy: delay=1h")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	r.url = "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- r.vendor.Serve(ctx, listener) }()

	unused, err := net.Dial("tcp", listener.Addr().String())
	r.must(err)
	defer unused.Close()
	r.wantCode(r.send(anOrder("first")), CodeSuccess)
	ended := make(chan answered)
	for _, no := range []string{"A", "B", "C"} {
		go func() { ended <- r.send(anOrder(no)) }()
	}
	r.eventually("three calls wait", func() bool { return r.vendor.Totals().Waiting == 3 })

	start := time.Now()
	stop()
	for range 3 {
		if a := <-ended; a.err == nil {
			t.Errorf("HTTP %d, want the connection closed", a.status)
		}
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if took := time.Since(start); took > closeTimeout {
		t.Errorf("the end took %v", took)
	}
	if a := r.send(anOrder("late")); a.err == nil {
		t.Errorf("HTTP %d after the end", a.status)
	}
	for no, want := range map[string]int{"A": 1, "B": 0, "C": 1, "late": 0} {
		r.wantBought(no, want)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	r := newTestEnv(t, Config{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	r.must(listener.Close())
	if err := r.vendor.Serve(t.Context(), listener); err == nil || !strings.Contains(err.Error(), "serve the sandbox on 127.0.0.1") {
		t.Errorf("error %v", err)
	}
}

// hangUp works over TLS too, and if the connection cannot be hijacked.
func TestHangUpElsewhere(t *testing.T) {
	v := New(Config{AppKey: testKey, Secret: testSecret, Rules: []Rule{{Buy: true, Action: Action{Kind: Reset}}}})
	server := httptest.NewTLSServer(v)
	defer server.Close()
	r := &testEnv{t: t, vendor: v, url: server.URL, client: server.Client()}
	if a := r.send(anOrder("T-1")); a.err == nil {
		t.Errorf("HTTP %d over TLS, want a reset", a.status)
	}
	r.wantBought("T-1", 1)

	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("panic %v with a recorder, want http.ErrAbortHandler", got)
		}
	}()
	v.ServeHTTP(httptest.NewRecorder(), r.request(http.MethodPost, OrderPath, anOrder("T-2").signed(time.Now())))
}
