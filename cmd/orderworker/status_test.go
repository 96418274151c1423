package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/apptest"
	"orderworker/dedupe"
	"orderworker/dedupe/storetest"
	"orderworker/worker/natsio"
)

func TestStatusOfAnOrderInDoubt(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil, "first=1 buy: hang")
	d.inDoubt("A", `,"renew":2,"expiresAt":"2050-01-01T00:00:00Z"`)
	number := d.Vendor.Purchases("A")[0]

	status, out, errs := d.do("status", "A", "--ask-vendor")
	if status != statusDone || errs != "" {
		t.Errorf("%d %s", status, errs)
	}
	got := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`).ReplaceAllString(out, "TIME")
	got = regexp.MustCompile(`due in [0-9.]+s`).ReplaceAllString(got, "due in LEFT")
	got = regexp.MustCompile(`\d\d:\d\d:\d\d`).ReplaceAllString(regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}`).ReplaceAllString(got, "MOMENT"), "CLOCK")
	got = regexp.MustCompile(`context deadline exceeded: .* i/o timeout`).ReplaceAllString(got, "TIMEOUT")
	want := `A  in_doubt: it may have been bought; see orderworker settle
  MOMENT  received   P for 8988308650100524999
  MOMENT  sent       it may have left; in doubt since then (attempt 1)
  MOMENT  ambiguous  TIMEOUT (attempt 1)
  MOMENT  in_doubt   next: settle
redis    doubt, due in LEFT, attempt 1, in_doubt was published
journal  intent, attempt 1, in doubt since TIME, its request is over by TIME
request  ORDERS 1, not acknowledged, received TIME, iccid 8988308650100524999, package P, renew 2, expires TIME
results  ORDER_RESULTS 1, stored TIME, in_doubt
vendor   bought, order number ` + number.OrderNumber + fmt.Sprintf(", order id %d\n", number.OrderID)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if k := d.know("A"); k.Vendor != nil || k.State != "in_doubt" {
		t.Errorf("%+v", k)
	}
	if k := d.know("A", "--ask-vendor"); k.Vendor == nil || k.Vendor.Answer != "found" || k.Vendor.OrderNumber != number.OrderNumber || k.Vendor.OrderID != number.OrderID {
		t.Errorf("vendor %+v, want %+v", k.Vendor, number)
	}
	if k := d.know("B", "--ask-vendor"); k.Vendor == nil || k.Vendor.Answer != "missing" || k.State != "unknown" || !strings.HasPrefix(k.Vendor.Why, "proves nothing by itself") {
		t.Errorf("vendor %+v", k.Vendor)
	}
	if _, out, _ := d.do("status", "B", "--ask-vendor"); !strings.Contains(out, "vendor   not found, proves nothing by itself: the purchase may show later") {
		t.Error(out)
	}
}

// The table and the JSON show the vendor's last answer as the reason why an order waits.
func TestStatusSaysWhy(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"BACKOFF_INITIAL": "1h", "BACKOFF_MAX": "1h"}, `packageCode=GONE always: refuse code=41013 message="no stock"`,
		`packageCode=CLOSED always: refuse code=502 message="not on the whitelist"`)
	d.Start()
	for _, c := range []struct { // in this order: B pauses the account
		no, packageCode string
		last            dedupe.Answer
		refusals        string
	}{
		{"A", "GONE", dedupe.Answer{Class: "refused", Code: "41013", Message: "no stock"}, "1 refusal, "},
		{"B", "CLOSED", dedupe.Answer{Class: "account", Code: "502", Message: "not on the whitelist"}, ""},
	} {
		no := c.no
		d.Publish(apptest.OrderRequest(no, c.packageCode, ""))
		storetest.Eventually(t, no+" waits", func() bool {
			k := d.know(no)
			return k.State == "waiting" && k.Redis != nil && k.Redis.Last != nil && k.Journal != nil && k.Journal.Last != nil
		})
		k := d.know(no)
		if *k.Redis.Last != c.last || *k.Journal.Last != c.last {
			t.Errorf("%s: %+v and %+v, want %+v", no, k.Redis.Last, k.Journal.Last, c.last)
		}
		_, out, _ := d.do("status", no)
		want := fmt.Sprintf("%slast answer %s, code %s, %q", c.refusals, c.last.Class, c.last.Code, c.last.Message)
		if strings.Count(out, want) != 2 {
			t.Errorf("want %q of Redis and the journal in\n%s", want, out)
		}
	}
}

// An attempt under another account is shown as such if the settings name an account.
func TestStatusOfAnotherAccountsAttempt(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil, "first=1 buy: hang")
	d.inDoubt("A", "")
	const shown = "attempt under another account ("
	for appkey, foreign := range map[string]bool{apptest.AppKey: false, "000002": true, "": false} {
		d.Env["UPSTREAM_APPKEY"] = appkey
		k := d.know("A")
		_, out, _ := d.do("status", "A")
		if k.Redis.Foreign != foreign || k.Journal.Foreign != foreign || k.Journal.Account == "" || (strings.Count(out, shown) == 2) != foreign || strings.Contains(out, shown) != foreign {
			t.Errorf("appkey %q: %+v %+v, want foreign %v\n%s", appkey, k.Redis, k.Journal, foreign, out)
		}
	}
}

// The names in the JSON are an interface, so this test lists all of them.
func TestStatusJSONNames(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.doubt(d.store(), "A", 0)
	status, out, _ := d.do("status", "A", "--json")
	var got map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != statusDone || strings.Count(out, "\n") != 1 {
		t.Fatalf("%d %v\n%s", status, err, out)
	}
	names := func(raw json.RawMessage) string {
		var object map[string]any
		d.OK(json.Unmarshal(raw, &object))
		return strings.Join(slices.Sorted(maps.Keys(object)), " ")
	}
	for part, want := range map[string]string{
		"":        "account answers buyingUnknown errors journal known order outTradeNo pause redis request requests results searched state timeline untaken vendor",
		"redis":   "account attempt doubt foreign last leftMs owner phase refusals result revision seq waits",
		"journal": "account attempt bought foreign last open over owner refusals result revision sendBy seq since state waits",
		"request": "iccid packageCode received seq state stream",
		"results": "cut events stream",
	} {
		raw := got[part]
		if part == "" {
			raw = json.RawMessage(out)
		}
		if names := names(raw); names != want {
			t.Errorf("%q has %s, want %s", part, names, want)
		}
	}
	if string(got["errors"]) != "[]" || string(got["vendor"]) != "null" {
		t.Errorf("errors %s, vendor %s", got["errors"], got["vendor"])
	}
}

func TestStatusOfStates(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	intent := func(no string) *dedupe.Claim {
		c := d.claim(store, no, 0)
		d.intent(store, c, time.Hour, time.Hour)
		return c
	}
	d.claim(store, "CLAIMED", 0)
	intent("SENDING")
	d.OK(store.Wait(t.Context(), intent("WAITING"), 1, time.Hour))
	d.doubt(store, "DOUBT", 999)
	final := intent("FINAL")
	_, err := store.Finish(t.Context(), final, []byte(`{"status":"failed","reason":"permanent_code","code":"3002","message":"no such package","attempts":1}`), true)
	d.OK(err)
	d.doubt(store, "OTHER", 1) // the request of CLAIMED
	d.publish("UNTAKEN")

	for no, c := range map[string]struct {
		status int
		want   []string
	}{
		"CLAIMED": {0, []string{"CLAIMED  claimed: a worker took it", "redis    claimed, a worker has it, for", "journal  nothing", "request  ORDERS 1, not acknowledged", "results  nothing", "vendor   not asked (--ask-vendor)"}},
		"SENDING": {0, []string{"SENDING  claimed: a worker took it; a request may be under way", "journal  intent, attempt 1"}},
		"WAITING": {0, []string{"WAITING  waiting: ", "redis    ready, due in ", "journal  ready, attempt 1, 1 refusal, due 2"}},
		"DOUBT":   {0, []string{"DOUBT  in_doubt: ", "request  ORDERS 999, gone: acknowledged"}},
		"FINAL":   {0, []string{"FINAL  failed: certainly not bought", `journal  final, attempt 1, failed, permanent_code, code 3002, "no such package", 1 attempt`}},
		"OTHER":   {0, []string{"request  ORDERS 1, message 1 of stream ORDERS is another order's"}},
		"UNTAKEN": {0, []string{"UNTAKEN  queued: it waits for a worker", "received  P for 8988308650100524999; next: worker", "redis    nothing", "journal  nothing"}},
		"NOBODY":  {1, []string{"NOBODY  unknown: nothing is known of it anywhere", "request  not known where, 5 requests in the stream were not taken by a worker yet"}},
	} {
		t.Run(no, func(t *testing.T) {
			status, out, errs := d.do("status", no)
			if status != c.status || errs != "" {
				t.Errorf("%d %s, want %d", status, errs, c.status)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in\n%s", want, out)
				}
			}
		})
	}
}

// The events of an order are found by their subjects, whatever the number.
func TestStatusFindsResultsBySubject(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	names := natsio.Streams{ResultsSubject: "orders.package.result"}
	result := func(no, status string) {
		_, err := d.JS.Publish(t.Context(), names.ResultSubject(status, no), []byte(`{"outTradeNo":"`+no+`","status":"`+status+`"}`))
		d.OK(err)
	}
	result("A.>", "in_doubt")
	for range 20 {
		result("A", "failed")
	}
	result("A.>", "rejected")
	result("A.>", "succeeded")
	if k := d.know("A.>"); k.State != "succeeded" || len(k.Results.Events) != 3 || k.Results.Events[0].Seq != 1 || k.Results.Events[2].Seq != 23 || k.Results.Cut {
		t.Errorf("%+v", k.Results)
	}
	const most = 100 // of an order's events are read
	for range most {
		result("A.>", "rejected")
	}
	if k := d.know("A.>"); k.State != "succeeded" || len(k.Results.Events) != most || !k.Results.Cut {
		t.Errorf("of %d events: %d, cut %v", most+3, len(k.Results.Events), k.Results.Cut)
	}
	if _, out, _ := d.do("status", "C"); !strings.Contains(out, "results  nothing") {
		t.Error(out)
	}
}

// In a stream that keeps acknowledged messages, the consumer tells which ones they are.
func TestStatusOfARequestThatIsKept(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"ALLOW_LOSSY_STREAMS": "true"})
	d.OK(d.JS.DeleteStream(t.Context(), "ORDERS"))
	_, err := d.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.request"}})
	d.OK(err)
	d.Start()
	d.publish("A")
	storetest.Eventually(t, "A is acknowledged", func() bool { return d.know("A").Request != nil && d.know("A").Request.State == "acknowledged" })
	if d.count("ORDERS") != 1 {
		t.Errorf("%d requests, want 1", d.count("ORDERS"))
	}
}

func TestStatusShowsWhatItCanGet(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.doubt(d.store(), "A", 0)
	d.Redis.Kill(t)
	status, out, errs := d.do("status", "A", "--timeout=8s")
	if status != statusFailed || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "orderworker: status A: ") {
		t.Errorf("%d %s", status, errs)
	}
	for _, want := range []string{"A  in_doubt", "redis    could not be asked", "journal  intent, attempt 1", "request  ORDERS 1, not acknowledged", "error "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	d.Redis.Start(t)
	k := d.know("A", "--journal-stream=NONE", "--orders-stream=GONE", "--results-stream=NEVER")
	if len(k.Errors) != 2 || k.Results != nil || k.Journal != nil {
		t.Errorf("%+v", k)
	}
	d.Vendor.SetDown(true)
	if k := d.know("B", "--ask-vendor", "--timeout=8s"); len(k.Errors) != 1 || k.Vendor != nil || !strings.Contains(k.Errors[0], "ask the vendor: ") {
		t.Errorf("%+v", k)
	}
}

func TestStatusGivesUp(t *testing.T) {
	t.Parallel()
	mute := taken(t) // accepts, and says nothing
	for name, env := range map[string]map[string]string{
		"NATS says nothing":  {"NATS_URL": "nats://" + mute},
		"NATS is away":       {"NATS_URL": "nats://127.0.0.1:1"},
		"Redis says nothing": {"NATS_URL": storetest.NATS(t).ClientURL(), "REDIS_URL": "redis://" + mute},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			status, _, errs := orderworker(t, env, "status", "A", "--timeout=200ms")
			if took := time.Since(began); status != statusFailed || strings.Count(errs, "\n") != 1 || took > time.Minute {
				t.Errorf("%d after %v: %s", status, took, errs)
			}
		})
	}
}

func TestStatusUsage(t *testing.T) {
	env := map[string]string{"BACKOFF_MAX": "wrong", "RECONCILE_DELAY": "wrong", "ADMIN_ADDR": "wrong"} // not its business
	for args, want := range map[string][]string{
		"a,b --timeout=-1s":                               {"OUT_TRADE_NO ", "--timeout "},
		"A --ask-vendor --upstream-url=x":                 {"UPSTREAM_URL ", "UPSTREAM_APPKEY is not set", "UPSTREAM_SECRET is not set"},
		"A --upstream-reconcile=never":                    {"UPSTREAM_RECONCILE "},
		"A --nats-url=x --redis-url=x --dead-subject=a.*": {"NATS_URL ", "DEAD_SUBJECT ", "REDIS_URL "},
		"A --ask-vendor --upstream-appkey=k --upstream-secret=s --upstream-throttle-codes=200": {"UPSTREAM_THROTTLE_CODES "},
	} {
		status, out, errs := orderworker(t, env, append([]string{"status"}, strings.Fields(args)...)...)
		if status != statusUsage || out != "" || strings.Count(errs, "\n") != len(want) {
			t.Errorf("%s: %d\n%s%s", args, status, out, errs)
		}
		for _, w := range want {
			if !strings.Contains(errs, "orderworker: "+w) {
				t.Errorf("%s: %q is not in\n%s", args, w, errs)
			}
		}
	}
}

// The help of the two commands has the settings that they use, and no others.
func TestHelpOfTheOrderCommands(t *testing.T) {
	for command, c := range map[string]struct{ has, lacks []string }{
		"status": {[]string{"Exit status 0", "in_doubt", "--json", "--ask-vendor", "--timeout", "$NATS_URL", "$JOURNAL_TTL", "$REDIS_URL", "$UPSTREAM_SECRET_FILE", "$UPSTREAM_RECONCILE"},
			[]string{"$BACKOFF_MAX", "$ADMIN_ADDR", "$RECONCILE_DELAY", "$NATS_REPLICAS"}},
		"settle": {[]string{"cannot be taken back", "bought twice", "--not-bought", "--order-number=X", "--yes", "$NATS_URL", "$UPSTREAM_TIMEOUT"},
			[]string{"$UPSTREAM_SECRET", "$UPSTREAM_RATE", "$BACKOFF_MAX", "$ALLOW_LOSSY_STREAMS"}},
	} {
		status, out, errs := orderworker(t, nil, command, "--help")
		if status != statusDone || errs != "" {
			t.Errorf("%s: %d %s", command, status, errs)
		}
		text := strings.Join(strings.Fields(out), " ")
		for _, want := range c.has {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in the help", command, want)
			}
		}
		for _, other := range c.lacks {
			if strings.Contains(text, other) {
				t.Errorf("%s: %q is in the help", command, other)
			}
		}
	}
}
