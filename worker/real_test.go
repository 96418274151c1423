package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/dedupe"
	"orderworker/dedupe/redisstore"
	"orderworker/dedupe/storetest"
	"orderworker/upstream"
	"orderworker/upstream/quota"
	"orderworker/upstream/sandbox"
	"orderworker/upstream/sandbox/sandboxtest"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

const (
	appkey = "000001"
	secret = "a1b1c1d1"
)

// world is a real nats-server, a real redis-server, and the simulated vendor
// behind a real HTTP server.
type world struct {
	t      *testing.T
	vendor *sandbox.Vendor
	url    string // of the vendor
	conn   *nats.Conn
	js     jetstream.JetStream
	rdb    *redis.Client
	redis  *storetest.RedisServer
	rules  worker.Rules
	size   int
	wait   time.Duration // of acks
	rate   float64       // of the account; 0: no limit
	jitter time.Duration

	secret  upstream.Secret // that the workers sign with
	account string          // that they work for

	workers []started
	log     *logLines // of all workers, from warnings on
}

// started is a worker that was started.
type started struct {
	*worker.Worker
	client   *upstream.Client
	registry *prometheus.Registry
}

func newWorld(t *testing.T, rules ...string) *world {
	t.Helper()
	return newWorldOf(t, sandbox.Config{}, rules...)
}

// newWorldOf returns a world with the vendor's configuration and rules.
func newWorldOf(t *testing.T, vendor sandbox.Config, rules ...string) *world {
	t.Helper()
	w := &world{t: t, size: 8, wait: 5 * time.Second, secret: secret, log: &logLines{out: zerolog.NewTestWriter(t)}}
	vendor.AppKey, vendor.Secret = appkey, secret
	w.vendor, w.url = sandboxtest.Start(t, vendor, rules...)
	w.js = storetest.JetStream(t, storetest.NATS(t))
	w.conn = w.js.Conn()
	w.redis = storetest.Redis(t)
	w.rdb = w.redis.Client(t)
	w.rules = worker.Rules{
		MaxAttempts: 3, LookupStates: []int64{1, 0, 2},
		Backoff:   worker.Backoff{Initial: 20 * time.Millisecond, Multiplier: 2, Max: time.Second, Jitter: 0.1},
		Reconcile: worker.Lookup, ReconcileDelay: time.Second, InDoubtNotice: time.Minute, UpstreamTimeout: 2 * time.Second, // what a busy machine needs for a call that is answered at once
	}
	return w
}

// streams creates the streams that are missing, as a worker does at its start.
func (w *world) streams() *natsio.JetStream {
	w.t.Helper()
	stream, err := natsio.Open(w.t.Context(), w.js, natsio.Streams{
		Orders: "ORDERS", OrdersSubject: "orders.package.request", Consumer: "order-worker",
		Results: "ORDER_RESULTS", ResultsSubject: "orders.package.result",
		Dead: "ORDERS_DEAD", DeadSubject: "orders.package.dead", Journal: "ORDER_JOURNAL", JournalSubject: "orders.journal",
		Replicas: 1, AckWait: w.wait, Concurrency: w.size, DedupeTTL: time.Hour, JournalTTL: time.Hour,
	}, zerolog.New(zerolog.NewTestWriter(w.t)).Level(zerolog.WarnLevel))
	if err != nil {
		w.t.Fatal(err)
	}
	return stream
}

// start starts a worker; stop ends it as SIGTERM does and returns its error.
func (w *world) start() (stop func() error) {
	w.t.Helper()
	stream := w.streams()
	vendor, err := upstream.NewClient(upstream.Config{BaseURL: w.url, AppKey: appkey, Secret: w.secret, Timeout: w.rules.UpstreamTimeout, MaxConns: w.size})
	if err != nil {
		w.t.Fatal(err)
	}
	journal := natsio.NewJetStreamJournal(w.js, "ORDER_JOURNAL", "orders.journal", time.Hour)
	registry := prometheus.NewRegistry()
	run := worker.New(worker.Config{
		Rules: w.rules, Account: w.account, Concurrency: w.size, ShutdownTimeout: 5 * time.Second,
		Stream: stream,
		Claims: dedupe.New(redisstore.NewCache(w.rdb, "ORDERS"), journal, stream, dedupe.Config{Lease: w.wait, FinalTTL: time.Hour}),
		Connect: func(ctx context.Context) (worker.Line, error) {
			line, err := vendor.Connect(ctx)
			if err != nil {
				return nil, err
			}
			return line, nil
		},
		Slots:   quota.New(w.rdb, upstream.AccountID(appkey, w.url), w.rate, w.jitter),
		Metrics: worker.NewMetrics(registry), Logger: zerolog.New(w.log).Level(zerolog.WarnLevel),
	})
	w.workers = append(w.workers, started{run, vendor, registry})
	soft, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run.Run(soft) }()
	var stopped atomic.Bool
	stop = func() error {
		if stopped.Swap(true) {
			return nil
		}
		cancel()
		return <-done
	}
	w.t.Cleanup(func() { _ = stop() })
	return stop
}

// publish stores a request.
func (w *world) publish(payload string, headers ...string) {
	w.t.Helper()
	msg := nats.NewMsg("orders.package.request")
	msg.Data = []byte(payload)
	for i := 0; i < len(headers); i += 2 {
		msg.Header.Add(headers[i], headers[i+1])
	}
	if _, err := w.js.PublishMsg(w.t.Context(), msg); err != nil {
		w.t.Fatal(err)
	}
}

// request returns the payload of an order request.
func request(no, packageCode string) string {
	return fmt.Sprintf(`{"outTradeNo":"%s","iccid":"8988308650100524999","packageCode":"%s"}`, no, packageCode)
}

// idle waits until every request was acknowledged.
func (w *world) idle() {
	w.t.Helper()
	storetest.Eventually(w.t, "no request is left", func() bool { return w.count("ORDERS") == 0 })
}

func (w *world) count(stream string) uint64 {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// all returns all messages of a stream.
func (w *world) all(stream string) []jetstream.RawStreamMsg {
	w.t.Helper()
	s, err := w.js.Stream(w.t.Context(), stream)
	if err != nil {
		w.t.Fatal(err)
	}
	var all []jetstream.RawStreamMsg
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		msg, err := s.GetMsg(w.t.Context(), seq)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, *msg)
	}
	return all
}

func (w *world) results() []worker.Result {
	w.t.Helper()
	var all []worker.Result
	for _, msg := range w.all("ORDER_RESULTS") {
		var r worker.Result
		if err := json.Unmarshal(msg.Data, &r); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// one returns the only result, and fails the test if there are more or none.
func (w *world) one() worker.Result {
	w.t.Helper()
	all := w.results()
	if len(all) != 1 {
		w.t.Fatalf("%d results, want 1: %+v", len(all), all)
	}
	return all[0]
}

// calls counts the requests to buy that reached the vendor.
func (w *world) calls() int { return w.vendor.Totals().Calls[sandbox.EndpointOrder] }

func (w *world) wantPurchases(no string, want int) {
	w.t.Helper()
	if got := len(w.vendor.Purchases(no)); got != want {
		w.t.Errorf("%s was bought %d times, want %d", no, got, want)
	}
}

func TestRequestBecomesOnePurchaseAndOneEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	w.publish(`{"outTradeNo":"630000198311142676","iccid":"8988308650100524999","packageCode":"CN-5M-7D-C-US-20230103AC4BF927"}`,
		"Nats-Msg-Id", "630000198311142676", "traceparent", trace)
	w.idle()

	bought := w.vendor.Purchases("630000198311142676")
	if len(bought) != 1 || w.calls() != 1 {
		t.Fatalf("%d purchases by %d calls, want 1 by 1", len(bought), w.calls())
	}
	events := w.all("ORDER_RESULTS")
	if len(events) != 1 {
		t.Fatalf("%d events, want 1", len(events))
	}
	e := events[0]
	if e.Subject != "orders.package.result.succeeded.630000198311142676" {
		t.Errorf("subject is %s", e.Subject)
	}
	var r worker.Result
	if err := json.Unmarshal(e.Data, &r); err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "succeeded.json"))
	if err != nil {
		t.Fatal(err)
	}
	got := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`).ReplaceAllString(string(e.Data), "TIME")
	got = strings.ReplaceAll(got, bought[0].OrderNumber, "NUMBER")
	if want := strings.TrimSpace(string(golden)); got != want {
		t.Errorf("event is\n%s\nwant\n%s", got, want)
	}
	order, err := worker.DecodeOrder([]byte(request("630000198311142676", "CN-5M-7D-C-US-20230103AC4BF927")))
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := order.Fingerprint()
	for name, want := range map[string]string{
		"Nats-Msg-Id": "630000198311142676.succeeded", "ce-id": "630000198311142676.succeeded",
		"ce-specversion": "1.0", "ce-type": "order.package.succeeded", "ce-source": "orderworker",
		"ce-subject": "630000198311142676", "ce-time": r.CompletedAt.String(), "ce-datacontenttype": "application/json", "Content-Type": "application/json", "traceparent": trace,
		"Order-Seq": "1", "Order-Fingerprint": fingerprint,
	} {
		if got := e.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
}

func TestResultByWhatTheVendorDoes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rule      string // for every packageCode
		request   string // by default a plain one for the number A
		change    func(*worker.Rules)
		want      worker.Result // what is set is compared
		purchases int
		calls     int // at least
	}{
		"sells":                        {want: worker.Result{Status: worker.Succeeded, Code: "200", Message: "success", Attempts: 1}, purchases: 1, calls: 1},
		"sells, numeric code":          {rule: "always: numeric", want: worker.Result{Status: worker.Succeeded, Code: "200", Attempts: 1}, purchases: 1, calls: 1},
		"refuses twice, then sells":    {rule: "first=2: refuse code=5001", want: worker.Result{Status: worker.Succeeded, Attempts: 3}, purchases: 1, calls: 3},
		"refuses for ever":             {rule: `always: refuse code=5001 message="no stock"`, want: worker.Result{Status: worker.Failed, Reason: worker.AttemptsExhausted, Code: "5001", Message: "no stock", Attempts: 3}, calls: 3},
		"refuses for good":             {rule: "always: refuse code=41018", want: worker.Result{Status: worker.Failed, Reason: worker.PermanentCode, Code: "41018", Attempts: 1}, calls: 1},
		"HTTP 404, HTML":               {rule: "always: status=404 html", want: worker.Result{Status: worker.Failed, Reason: worker.AttemptsExhausted, Code: "404", Attempts: 3}, calls: 3},
		"too fast, thrice, then sells": {rule: "first=3: throttle", want: worker.Result{Status: worker.Succeeded, Attempts: 1}, purchases: 1, calls: 4},
		"too fast, in a second":        {rule: "first=1: throttle retry-after=1s", want: worker.Result{Status: worker.Succeeded, Attempts: 1}, purchases: 1, calls: 2},
		"sells, hangs":                 {rule: "first=1 buy: hang", want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 1}, purchases: 1, calls: 1},
		"sells, HTTP 500":              {rule: "first=1 buy: status=500", want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 1}, purchases: 1, calls: 1},
		"sells, resets":                {rule: "first=1 buy: reset", want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 1}, purchases: 1, calls: 1},
		"sells, cuts the body":         {rule: "first=1 buy: cut", want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 1}, purchases: 1, calls: 1},
		"sells, no number":             {rule: "first=1 buy: nonumber", want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 1}, purchases: 1, calls: 1},
		"says it exists":               {rule: "first=1 buy: refuse code=503016", want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 1}, purchases: 1, calls: 1},
		"refuses, then sells and hangs": {rule: "first=1: refuse code=5001\nfirst=1 buy: hang",
			want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 2}, purchases: 1, calls: 2},
		"lookup fails at first": {rule: "first=1 buy: hang\nendpoint=lookup first=2: status=503 html",
			want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 1}, purchases: 1, calls: 1},
		"resend": {rule: "first=1: hang", change: func(r *worker.Rules) { r.Reconcile = worker.Resend },
			want: worker.Result{Status: worker.Succeeded, Attempts: 1}, purchases: 1, calls: 2},
		"resend, it exists": {rule: "first=1 buy: hang\nfirst=1: refuse code=503016", change: func(r *worker.Rules) { r.Reconcile = worker.Resend },
			want: worker.Result{Status: worker.Succeeded, Reconciled: true, Attempts: 1}, purchases: 1, calls: 2},
		"expired": {request: `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","expiresAt":"2020-01-01T00:00:00Z"}`,
			want: worker.Result{Status: worker.Failed, Reason: worker.Expired}},
		"expired at no time": {request: `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","expiresAt":"0001-01-01T00:00:00Z"}`,
			want: worker.Result{Status: worker.Failed, Reason: worker.Expired}},
		"a typing error in expiresAt": {request: `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","expires_at":"2020-01-01T00:00:00Z"}`,
			want: worker.Result{Status: worker.Rejected, Reason: worker.Invalid}},
		"refused, then expired": {rule: `always: refuse code=5001 message="no stock"`, change: func(r *worker.Rules) {
			r.MaxAttempts, r.Backoff.Initial = 100, 500*time.Millisecond
		}, request: `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","expiresAt":"SOON"}`,
			want: worker.Result{Status: worker.Failed, Reason: worker.Expired, Code: "5001", Message: "no stock"}, calls: 1},
		"awkward number": {request: request(`.>*$%{x}`, "P"), want: worker.Result{OutTradeNo: `.>*$%{x}`, Status: worker.Succeeded, Attempts: 1}, purchases: 1, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.rule)
			if c.change != nil {
				c.change(&w.rules)
			}
			if c.request == "" {
				c.request = request("A", "P")
			}
			if c.want.OutTradeNo == "" {
				c.want.OutTradeNo = "A"
			}
			w.start()
			w.publish(strings.Replace(c.request, "SOON", time.Now().Add(4*time.Second).Format(time.RFC3339Nano), 1))
			w.idle()
			got := w.one()
			bought := w.vendor.Purchases(c.want.OutTradeNo)
			if len(bought) != c.purchases || w.calls() < c.calls {
				t.Fatalf("%d purchases by %d calls, want %d by at least %d", len(bought), w.calls(), c.purchases, c.calls)
			}
			if c.purchases > 0 && (got.OrderNumber != bought[0].OrderNumber || got.OrderID != bought[0].OrderID) {
				t.Errorf("orderNumber %s, orderId %d; the vendor's book says %s, %d", got.OrderNumber, got.OrderID, bought[0].OrderNumber, bought[0].OrderID)
			}
			if got.OutTradeNo != c.want.OutTradeNo || got.Status != c.want.Status || got.Reason != c.want.Reason ||
				c.want.Attempts > 0 && got.Attempts != c.want.Attempts || got.Reconciled != c.want.Reconciled ||
				c.want.Code != "" && got.Code != c.want.Code || c.want.Message != "" && got.Message != c.want.Message {
				t.Errorf("result %+v, want %+v", got, c.want)
			}
		})
	}
}

// A worker of one account died after it had journalled a final result, and one of
// another account publishes it: the event names the account that bought. As a
// control number of the other, it would make every lookup look blind.
func TestEventNamesTheAccountThatBought(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account = "new account"
	stream := w.streams()
	w.publish(request("A", "P"))
	order, err := worker.DecodeOrder([]byte(request("A", "P")))
	if err != nil {
		t.Fatal(err)
	}
	journal := natsio.NewJetStreamJournal(w.js, "ORDER_JOURNAL", "orders.journal", time.Hour)
	store := dedupe.New(redisstore.NewCache(w.rdb, "ORDERS"), journal, stream, dedupe.Config{Lease: time.Millisecond, FinalTTL: time.Hour})
	c, err := store.Claim(t.Context(), dedupe.Order{OutTradeNo: "A", Fingerprint: order.Fingerprint(), Account: "old account", Seq: 1, Stored: time.Now()}, store.NewOwner(), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Finish(t.Context(), c, []byte(`{"outTradeNo":"A","status":"succeeded","code":"200","orderNumber":"N"}`), true); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.idle()
	events := w.all("ORDER_RESULTS")
	if len(events) != 1 || events[0].Header.Get("Order-Account") != "old account" {
		t.Errorf("%d events, of account %q", len(events), events[0].Header.Get("Order-Account"))
	}
}

// "Not found" is proof only if it is said twice, each time beside a control number.
func TestNotFoundNeedsAControlNumber(t *testing.T) {
	t.Parallel()
	t.Run("with one", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "packageCode=P first=1: hang")
		w.start()
		w.publish(request("CONTROL", "C"))
		w.idle()
		w.publish(request("A", "P"))
		w.idle()
		if n, calls := len(w.vendor.Purchases("A")), w.calls(); n != 1 || calls != 3 {
			t.Errorf("bought %d times by %d calls, want once by the second of its calls", n, calls-1)
		}
	})
	t.Run("without", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, "packageCode=P first=1: hang")
		w.start()
		w.publish(request("A", "P"))
		w.until("12 lookups", time.Minute, func() bool { // four rounds, all of which find nothing
			return w.vendor.Totals().Calls[sandbox.EndpointLookup] >= 12
		})
		if n, calls := len(w.vendor.Purchases("A")), w.calls(); n != 0 || calls != 1 {
			t.Errorf("bought %d times by %d calls, want nothing sent again", n, calls)
		}
	})
}

// A header that is not a valid traceparent is not put on other messages.
func TestInvalidTraceparentIsNotPassedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.publish(request("A", "P"), "traceparent", strings.Repeat("x", 60_000))
	w.idle()
	w.wantPurchases("A", 1)
	if e := w.all("ORDER_RESULTS")[0]; e.Header.Get("traceparent") != "" {
		t.Errorf("traceparent of %d bytes was carried", len(e.Header.Get("traceparent")))
	}
}

func TestDuplicateIsAcknowledgedWithoutARequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "first=1: refuse code=5001")
	w.start()
	w.publish(request("A", "P"))
	w.publish(request("A", "P")) // while the first is waiting
	w.idle()
	w.publish(request("A", "P")) // after it has ended
	w.idle()
	w.wantPurchases("A", 1)
	if w.calls() != 2 || w.one().Status != worker.Succeeded {
		t.Errorf("%d calls and %+v, want 2 and one success", w.calls(), w.one())
	}
}

func TestConflictLeavesTheFirstOrderAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "packageCode=P first=1: refuse code=5001")
	w.start()
	w.publish(request("A", "P"))
	w.publish(request("A", "ANOTHER"), "X", "y")
	w.idle()
	w.wantPurchases("A", 1)
	statuses := map[worker.Status]worker.Result{}
	for _, r := range w.results() {
		statuses[r.Status] = r
	}
	if len(statuses) != 2 || statuses[worker.Succeeded].PackageCode != "P" || statuses[worker.Rejected].Reason != worker.Conflict ||
		!strings.Contains(statuses[worker.Rejected].Message, "with another packageCode; that order is not touched") {
		t.Errorf("results are %+v, want P succeeded and ANOTHER rejected as a conflict", statuses)
	}
	dead := w.all("ORDERS_DEAD")
	if len(dead) != 1 || dead[0].Header.Get("Dead-Reason") != "conflict" || string(dead[0].Data) != request("A", "ANOTHER") || dead[0].Header.Get("X") != "y" {
		t.Errorf("dead letters are %+v, want the conflicting request", dead)
	}
}

func TestInvalidRequestBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	bad := `{"outTradeNo":"A","iccid":"short","packageCode":"P"}`
	w.publish(bad, "X-Mine", "1", "X-Mine", "2", "Nats-Msg-Id", "mine", "Dead-Reason", "forged")
	w.publish("no JSON")
	w.publish(request("B", "P")) // the worker goes on
	w.publish(request("A", "P")) // the number is not used up
	w.idle()

	if w.calls() != 2 {
		t.Errorf("%d calls, want 2", w.calls())
	}
	w.wantPurchases("A", 1)
	dead := map[string]jetstream.RawStreamMsg{}
	for _, d := range w.all("ORDERS_DEAD") {
		dead[string(d.Data)] = d
	}
	if len(dead) != 2 {
		t.Fatalf("%d dead letters, want 2", len(dead))
	}
	h := dead[bad].Header
	if h.Get("Dead-Reason") != "invalid" || h.Get("Dead-Nats-Msg-Id") != "mine" || len(h.Values("X-Mine")) != 2 || h.Get("Dead-Stream-Seq") != "1" {
		t.Errorf("headers are %v", h)
	}
	for _, want := range []string{"iccid", "short", "15..22"} {
		if !strings.Contains(h.Get("Dead-Error"), want) {
			t.Errorf("Dead-Error %q does not name %s", h.Get("Dead-Error"), want)
		}
	}
	if _, err := time.Parse(time.RFC3339, h.Get("Dead-Time")); err != nil {
		t.Error(err)
	}
	var rejected []worker.Result
	for _, r := range w.results() {
		if r.Status == worker.Rejected {
			rejected = append(rejected, r)
		}
	}
	if len(rejected) != 1 || rejected[0].OutTradeNo != "A" || rejected[0].Reason != worker.Invalid || !strings.Contains(rejected[0].Message, "iccid") {
		t.Errorf("rejected results are %+v, want one for A that names iccid", rejected)
	}
}

// nats.go mishandles both requests: it would take the first for a status message of
// the server, and the second has no room for the headers of a dead letter.
func TestHostileRequestsDelayNoOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.size = 2
	w.start()
	for range 10 {
		w.publish("", "Status", "404")
		w.publish("no JSON", "Long", strings.Repeat("x", 65_400))
	}
	w.publish(request("A", "P"), "Status", "503", "Nats-Msg-Id", "A")
	w.idle()
	w.wantPurchases("A", 1)
	dropped := 0
	dead := w.all("ORDERS_DEAD")
	for _, d := range dead {
		if d.Header.Get("Dead-Headers-Dropped") == "1" && d.Header.Get("Long") == "" {
			dropped++
		}
	}
	if len(dead) != 20 || dropped != 10 {
		t.Errorf("%d dead letters, %d without their long header, want 20 and 10", len(dead), dropped)
	}
}

func TestDeadLetterIsCutToMaxPayload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	full := int(w.conn.MaxPayload()) - 200 // with the publisher's one header it fits, with ours it does not
	w.publish(strings.Repeat("x", full), "X-Mine", "1")
	w.idle()
	dead := w.all("ORDERS_DEAD")
	if len(dead) != 1 || dead[0].Header.Get("Dead-Truncated") != fmt.Sprint(full) || dead[0].Header.Get("X-Mine") != "1" {
		t.Fatalf("%d dead letters with headers %v, want one cut from %d bytes", len(dead), dead[0].Header, full)
	}
	if n := len(dead[0].Data); n >= full || n < full-2000 || strings.Trim(string(dead[0].Data), "x") != "" {
		t.Errorf("%d bytes of the payload are left of %d, want nearly all", n, full)
	}
}

func TestInDoubtIsPublishedOnceAndThenReconciled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "first=1 buy: hang", "endpoint=lookup first=3: status=503")
	w.rules.InDoubtNotice = 100 * time.Millisecond
	w.start()
	w.publish(request("A", "P"))
	w.idle()
	results := w.results()
	if len(results) != 2 || results[0].Status != worker.InDoubt || results[1].Status != worker.Succeeded || !results[1].Reconciled {
		t.Errorf("results are %+v, want in_doubt, then succeeded by the lookup", results)
	}
	w.wantPurchases("A", 1)
}

func TestHoldWaitsForAnOperator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "first=1: hang")
	w.rules.Reconcile = worker.Hold
	w.rules.InDoubtNotice = 0
	w.start()
	w.publish(request("A", "P"))
	storetest.Eventually(t, "the notice is out", func() bool { return w.count("ORDER_RESULTS") == 1 })
	if w.one().Status != worker.InDoubt || w.calls() != 1 || w.vendor.Totals().Calls[sandbox.EndpointLookup] != 0 || w.count("ORDERS") != 1 {
		t.Errorf("%+v after %v, want in_doubt after one call, and no lookup", w.one(), w.vendor.Totals().Calls)
	}
}

func TestNoMoreIsPulledThanThereAreFreeSlots(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "always: hang=1m")
	w.size = 3
	w.rules.UpstreamTimeout = time.Minute
	w.start()
	for i := range 20 {
		w.publish(request(fmt.Sprint("N", i), "P"))
	}
	storetest.Eventually(t, "every slot has its call", func() bool { return w.vendor.Totals().Waiting == 3 })
	var delivered, waiting int
	storetest.Eventually(t, "the server has counted all", func() bool {
		consumer, err := w.js.Consumer(t.Context(), "ORDERS", "order-worker")
		if err != nil {
			t.Fatal(err)
		}
		delivered, waiting = consumer.CachedInfo().NumAckPending, int(consumer.CachedInfo().NumPending)
		return delivered+waiting == 20
	})
	if delivered != 3 {
		t.Errorf("%d messages delivered and %d not, want 3 and 17", delivered, waiting)
	}
	w.vendor.Close()
}

func TestHeartbeatsKeepAnOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "first=1: delay=12s")
	w.wait = 4 * time.Second // so long that a busy machine sends a heartbeat in time
	w.rules.UpstreamTimeout = 30 * time.Second
	w.start()
	w.start() // a second worker, to whom it would go
	w.publish(request("A", "P"))
	w.idle()
	if r := w.one(); w.calls() != 1 || r.Status != worker.Succeeded || r.Reconciled {
		t.Errorf("%d calls and %+v, want one plain success: the call took three times the ack wait", w.calls(), r)
	}
	consumer, err := w.js.Consumer(t.Context(), "ORDERS", "order-worker")
	if err != nil {
		t.Fatal(err)
	}
	if n := consumer.CachedInfo().Delivered.Consumer; n != 1 {
		t.Errorf("the request was delivered %d times, want once", n)
	}
}

func TestStopFinishesOrdersInFlightAndHandsBackTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "packageCode=SLOW: delay=2s", "packageCode=LATER first=1: refuse code=5001")
	w.rules.UpstreamTimeout = 10 * time.Second
	stop := w.start()
	w.publish(request("A", "SLOW"))
	storetest.Eventually(t, "the call is at the vendor", func() bool { return w.vendor.Totals().Waiting == 1 })
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if r := w.one(); r.OutTradeNo != "A" || r.Status != worker.Succeeded || w.count("ORDERS") != 0 {
		t.Errorf("%+v and %d requests left, want A finished", r, w.count("ORDERS"))
	}
	w.publish(request("B", "P"))
	if w.calls() != 1 {
		t.Error("a worker that was stopped took an order")
	}
	w.start()
	w.idle()
	w.wantPurchases("B", 1)
}

func TestAttemptsSurviveARestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "always: refuse code=5001")
	w.rules.Backoff = worker.Backoff{Initial: 300 * time.Millisecond, Multiplier: 1, Max: time.Second}
	stop := w.start()
	w.publish(request("A", "P"))
	storetest.Eventually(t, "the first attempt was refused", func() bool { return w.calls() == 1 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.rdb.FlushAll(t.Context()).Err(); err != nil { // the journal knows them too
		t.Fatal(err)
	}
	w.start()
	w.idle()
	if r := w.one(); r.Attempts != 3 || w.calls() != 3 {
		t.Errorf("%d attempts by %d calls, want 3 by 3", r.Attempts, w.calls())
	}
}

func TestRedisForgetsAFinishedOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.publish(request("A", "P"))
	w.idle()
	if err := w.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	w.publish(request("A", "P"))
	w.publish(request("A", "ANOTHER"))
	w.idle()
	w.wantPurchases("A", 1)
	if w.calls() != 1 {
		t.Errorf("%d calls, want 1: the journal knows the order", w.calls())
	}
	finals, rejected := 0, 0
	for _, r := range w.results() {
		if r.Status == worker.Succeeded {
			finals++
		} else if r.Reason == worker.Conflict {
			rejected++
		}
	}
	if finals != 1 || rejected != 1 {
		t.Errorf("%d finals and %d conflicts, want 1 and 1", finals, rejected)
	}
}

func TestDeletedConsumerIsRecreated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.publish(request("A", "P"))
	w.idle()
	if err := w.js.DeleteConsumer(t.Context(), "ORDERS", "order-worker"); err != nil {
		t.Fatal(err)
	}
	w.publish(request("B", "P"))
	w.idle()
	w.wantPurchases("B", 1)
}

func TestDeletedStreamsAreRecreated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.publish(request("A", "P"))
	w.idle()
	for _, name := range []string{"ORDERS", "ORDER_RESULTS", "ORDERS_DEAD"} {
		if err := w.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Eventually(t, "the orders stream is there again", func() bool {
		_, err := w.js.Publish(t.Context(), "orders.package.request", []byte(request("B", "P")))
		return err == nil
	})
	w.publish("no JSON")
	w.idle()
	w.wantPurchases("A", 1)
	w.wantPurchases("B", 1)
	if r := w.one(); r.OutTradeNo != "B" || w.count("ORDERS_DEAD") != 1 {
		t.Errorf("%+v and %d dead letters, want B's result and one", r, w.count("ORDERS_DEAD"))
	}
}

func TestNothingIsSentWhileRedisIsUnavailable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	w.publish(request("A", "P"))
	w.idle()
	w.redis.Kill(t)
	w.publish(request("B", "P"))
	consumer, err := w.js.Consumer(t.Context(), "ORDERS", "order-worker")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "B was delivered", func() bool {
		info, err := consumer.Info(t.Context())
		return err == nil && info.NumAckPending == 1
	})
	if w.calls() != 1 || len(w.results()) != 1 {
		t.Errorf("%d calls, %d results, want 1 and 1", w.calls(), len(w.results()))
	}
	w.redis.Start(t)
	w.idle()
	w.wantPurchases("B", 1)
}
