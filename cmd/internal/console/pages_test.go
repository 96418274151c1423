package console

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/operator"
	"orderworker/dedupe/storetest"
)

// Every page, and its data as JSON, shows what the deployment has: an order in each state.
func TestPages(t *testing.T) {
	e := newEnv(t, Config{Token: testToken}, badPackages...)
	e.StartTelling()
	for no, code := range map[string]string{"OK-1": "CN-5M", "NO-1": "GONE", "LATER-1": "POOR", "DOUBT-1": "HANG"} {
		e.Publish(request(no, code))
	}
	seq := e.letter([]byte(`{"outTradeNo":"DEAD-1","iccid":"1","packageCode":"CN-5M"}`), nil)
	r := e.reader()
	storetest.Eventually(t, "the index has an order in each state", func() bool {
		o := data[Overview](r, "/api/overview")
		found := data[Orders](r, "/api/orders")
		return o.Counts.InDoubt == 1 && o.Counts.Waiting == 1 && o.Counts.Dead == 1 && len(found.Orders) == 4 &&
			len(data[Dead](r, "/api/dead").Letters) == 1
	})
	for path, parts := range map[string][]string{
		"/":                                     {"Results per minute", "<svg", "in doubt", "Workers seen"},
		"/orders":                               {"OK-1", "NO-1", "LATER-1", "DOUBT-1", "41002"},
		"/orders?q=LATER":                       {"LATER-1", "3009"},
		"/orders?q=later-":                      {"LATER-1"},
		"/orders?q=89883086501005&state=failed": {"NO-1"},
		"/orders?q=nothing-like-it":             {"No order is found", "/orders/nothing-like-it"},
		"/orders/OK-1":                          {"Timeline", "succeeded", "CN-5M", "Journal"},
		"/orders/LATER-1":                       {"waiting", "3009", "is sent in"},
		"/in-doubt":                             {"DOUBT-1", "1 order may have been bought"},
		"/dead":                                 {"DEAD-1", "must be 15 to 22"},
		"/dead/1":                               {"DEAD-1", "must be 15 to 22", "/api/dead/1"},
		"/control":                              {"nobody has ever paused"},
		"/login":                                {`type="password"`},
	} {
		got := r.get(path).want(t, http.StatusOK, append(parts, "<main", "All times are UTC")...)
		if !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") || strings.Contains(got.body, apptest.Secret) {
			t.Errorf("%s: %v", path, got.header)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if !strings.Contains(got.header.Get(name), want) {
				t.Errorf("%s: %s is %q", path, name, got.header.Get(name))
			}
		}
		if csp := got.header.Get("Content-Security-Policy"); strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", path, csp)
		}
		for _, inline := range []string{" style=", "<style", "onclick=", "<script>", "javascript:"} {
			if strings.Contains(got.body, inline) {
				t.Errorf("%s has %s, which the policy forbids", path, inline)
			}
		}
	}
	for path, field := range map[string]string{
		"/api/overview": "resultsPerMinute", "/api/orders": "orders", "/api/orders/OK-1": "timeline", "/api/in-doubt": "orders",
		"/api/dead": "letters", "/api/dead/1": "payload", "/api/control": "history",
	} {
		var all map[string]json.RawMessage
		got := r.get(path).want(t, http.StatusOK)
		if err := json.Unmarshal([]byte(got.body), &all); err != nil || all[field] == nil || !strings.HasPrefix(got.header.Get("Content-Type"), "application/json") {
			t.Errorf("%s: %v, no %s in %s", path, err, field, got.body)
		}
	}
	if d := data[Doubts](r, "/api/in-doubt"); d.Count != 1 || d.Orders[0].OutTradeNo != "DOUBT-1" || d.Orders[0].State != operator.InDoubt {
		t.Errorf("in doubt: %+v", d.Orders)
	}
	for path, status := range map[string]int{
		"/nowhere": 404, "/api/nowhere": 404, "/orders/UNKNOWN": 404, "/api/orders/UNKNOWN": 404, "/dead/99": 404, "/dead/x": 404, "/orders?state=odd": 400,
		"/orders/a%20b": 404, "/static/live.js": 200, "/static/style.css": 200, "/static/doc.go": 404, "/healthz": 200, "/readyz": 200, "/order?no=..": 404,
	} {
		r.get(path).want(t, status)
	}
	script, err := staticPath("", "live.js")
	ok(t, err)
	for path, want := range map[string]string{script: "immutable", "/static/live.js?v=another": "no-store"} {
		if got := r.get(path).header.Get("Cache-Control"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", path, got)
		}
	}
	if seq != 1 {
		t.Errorf("letter %d", seq)
	}
}

// While the journal cannot be read, no page says that no order is in doubt; and while the
// operator's word cannot, none that it buys.
func TestPagesSayWhatIsNotKnown(t *testing.T) {
	e := newEnv(t, Config{})
	e.Publish(request("A"))
	consumer, err := e.JS.Consumer(t.Context(), "ORDERS", "order-worker")
	ok(t, err)
	_, err = consumer.Next()
	ok(t, err)
	for _, stream := range []string{"ORDER_JOURNAL", "KV_ORDER_CONTROL"} {
		ok(t, e.JS.DeleteStream(t.Context(), stream))
	}
	r := e.reader()
	storetest.Eventually(t, "the order is not known", func() bool { return data[Overview](r, "/api/overview").Counts.Unknown == 1 })
	storetest.Eventually(t, "the operator's word is not known", func() bool { // it is read apart from the orders
		return strings.Contains(r.get("/in-doubt").body, "Whether it buys is not known")
	})
	r.get("/in-doubt").want(t, http.StatusOK, "No order is known to be in doubt, but not every order could be looked at")
	r.get("/orders").want(t, http.StatusOK, "unknown")
	if body := r.get("/orders/A").want(t, http.StatusOK, "unknown", "it may have been sent").body; strings.Contains(body, "nothing was sent") {
		t.Error(body)
	}
}

// What publishers and the vendor write is shown, never obeyed: no markup, no control
// characters, no marks that turn the direction of writing.
func TestHostileTextIsShownNotObeyed(t *testing.T) {
	const evil = "<script>alert(1)</script>\"'>\x1b[31m\r\n\u202e\x00<img src=x onerror=alert(2)>"
	e := newEnv(t, Config{Token: testToken})
	for _, no := range []string{`<b>&"'`, "../../x", "a/b?c#d%2e", ".."} {
		e.Publish(request(no))
	}
	e.Publish(evil)
	result := func(status, token string) {
		t.Helper()
		text, err := json.Marshal(map[string]any{"outTradeNo": "HOSTILE-1", "iccid": evil, "packageCode": evil, "status": status, "message": evil, "code": evil, "reason": evil, "orderNumber": evil})
		ok(t, err)
		_, err = e.JS.Publish(t.Context(), "orders.package.result."+status+"."+token, text)
		ok(t, err)
	}
	result("succeeded", "HOSTILE-1")
	result("failed", "HOSTILE-1")
	e.letter([]byte(evil), nats.Header{"Dead-Reason": {"<i>"}, "Dead-Error": {"<u>\x1b"}, "X-S": {"<em>\u202e"}})
	big := `{"outTradeNo":"BIG-1","iccid":"<script>` + strings.Repeat("<p>\u202e\\u0000", 80_000) + `"}`
	e.letter([]byte(big), nil)
	e.letter([]byte{0xff, 0xfe, '<', 'p', '>'}, nil)
	r := e.operator()
	storetest.Eventually(t, "the index has all of them", func() bool {
		return len(data[Orders](r, "/api/orders").Orders) == 7 && len(data[Dead](r, "/api/dead").Letters) == 3
	})
	for _, path := range []string{
		"/", "/orders", "/orders?q=%3Cscript%3Ealert(1)%3C/script%3E%1b%00", "/orders/HOSTILE-1", "/orders/%3Cb%3E&%22%27", "/orders/..%2F..%2Fx", "/order?no=..",
		"/orders/a%2Fb%3Fc%23d%252e", "/dead", "/dead?q=%3Cscript%3E", "/dead/1", "/dead/2", "/dead/3", "/control", "/nowhere/%3Cscript%3E", "/login?next=//evil.example",
	} {
		got := r.get(path)
		if got.status >= 500 {
			t.Errorf("%s: %d", path, got.status)
		}
		for _, bad := range []string{"<script>", "<img", "<b>&", "<i>", "<u>", "<s>", "<em>", "<p>\\", "\x1b", "\x00", "\u202e", "\r", "//evil"} {
			if strings.Contains(got.body, bad) {
				t.Errorf("%s has %q as it came", path, bad)
			}
		}
		if len(got.body) > 1<<20 {
			t.Errorf("%s has %d bytes", path, len(got.body))
		}
	}
	r.get("/orders/HOSTILE-1").want(t, http.StatusOK, `&lt;script&gt;alert(1)&lt;/script&gt;`, `\x1b[31m\x0d\x0a\u202e\x00`)
	if l := data[operator.DeadLetter](r, "/api/dead/2"); l.Payload == nil || *l.Payload != big {
		t.Error("the JSON of a letter does not have all of its payload")
	}
	for _, no := range []string{"a/b?c#d%2e", ".."} { // every link leads to its order
		link := orderPath("", no)
		r.get(link).want(t, http.StatusOK, "queued")
	}
}

// Behind a proxy, with the prefix on or taken off, every link has it.
func TestPrefix(t *testing.T) {
	e := newEnv(t, Config{Prefix: "/desk", Token: testToken})
	e.Publish(request("P-1"))
	r := e.reader()
	storetest.Eventually(t, "the index has the order", func() bool { return len(data[Orders](r, "/api/orders").Orders) == 1 })
	for _, path := range []string{"/", "/orders", "/orders/P-1", "/control", "/dead", "/login"} {
		body := r.get(path).want(t, http.StatusOK).body
		for _, attribute := range []string{`href="/`, `action="/`, `src="/`, `data-live="/`} {
			if strings.Count(body, attribute) != strings.Count(body, attribute+"desk/") {
				t.Errorf("%s has a link without the prefix:\n%s", path, body)
			}
		}
	}
	e.base = strings.TrimSuffix(e.base, "/desk")
	e.reader().get("/orders").want(t, http.StatusOK, `href="/desk/orders/P-1"`)
	e.reader().get("/desk").want(t, http.StatusMovedPermanently)
	for path, want := range map[string]string{"/desk//orders?q=x": "/desk/orders?q=x", "//orders": "/desk/orders", "/desk/x/../orders/": "/desk/orders/", "//evil.example/..": "/desk/"} {
		if to := e.reader().get(path).want(t, http.StatusPermanentRedirect).header.Get("Location"); to != want {
			t.Errorf("%s leads to %s, want %s", path, to, want)
		}
	}
	c, err := newConsole(t.Context(), Config{}, e.desk, nil, e.logger())
	ok(t, err)
	for _, p := range c.allPages() {
		if p.path != "/{$}" && CheckPrefix(p.path) == nil {
			t.Errorf("%s can be a prefix", p.path)
		}
	}
	done := e.reader().post("/login", "token", testToken, "name", "ann", "next", "/control").want(t, http.StatusSeeOther)
	if to := done.header.Get("Location"); to != "/desk/control" || !strings.Contains(done.header.Get("Set-Cookie"), "Path=/desk/") {
		t.Errorf("login leads to %s with %s", to, done.header.Get("Set-Cookie"))
	}
}
