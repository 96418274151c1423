package console

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/app"
	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/operator"
	"orderworker/dedupe/storetest"
	"orderworker/upstream"
	"orderworker/upstream/sandbox"
	"orderworker/worker"
	"orderworker/worker/logtest"
)

const testToken = "a-token-of-the-tests"

// env is a deployment with a console: real servers, the simulated vendor, and workers
// where a test starts them.
type env struct {
	t        *testing.T
	vendor   *sandbox.Vendor
	settings *config.Settings
	js       jetstream.JetStream
	nats     *server.Server
	desk     *operator.Desk
	log      *logtest.Buffer
	base     string // the console's address, with its prefix
	stop     func() // stops the console
}

// newEnv starts the servers, makes the streams, and serves a console. rules are the
// vendor's.
func newEnv(t *testing.T, cfg Config, rules ...string) *env {
	t.Helper()
	parsed, err := sandbox.ParseRules(strings.Join(rules, "\n"))
	ok(t, err)
	e := &env{t: t, log: new(logtest.Buffer), vendor: sandbox.New(sandbox.Config{AppKey: "000001", Secret: "hunter2", Rules: parsed})}
	vendor := httptest.NewServer(e.vendor)
	t.Cleanup(func() { e.vendor.Close(); vendor.Close() })
	e.settings, err = config.Defaults()
	ok(t, err)
	s := e.settings
	e.nats = storetest.NATS(t)
	s.NATSURL, s.RedisURL = e.nats.ClientURL(), "redis://"+storetest.Redis(t).Addr
	s.UpstreamURL, s.UpstreamAppkey, s.UpstreamSecret, s.UpstreamRate = vendor.URL, "000001", upstream.Secret("hunter2"), 100
	s.UpstreamTimeout, s.ReconcileDelay, s.UpstreamReconcile, s.InDoubtNotice = 3*time.Second, 3*time.Second, "hold", 0
	s.OrdersAckWait, s.BackoffInitial, s.BackoffMax = 5*time.Second, 30*time.Second, time.Minute
	e.js, err = jetstream.New(storetest.Connect(t, e.nats))
	ok(t, err)
	e.worker() // it makes the streams
	e.desk, err = operator.Open(t.Context(), s)
	ok(t, err)
	t.Cleanup(e.desk.Close)
	e.serve(cfg)
	return e
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (e *env) logger() zerolog.Logger { return zerolog.New(e.log) }

// serve lets a console that does not listen answer a request.
func serve(c *Console, method, address string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, httptest.NewRequest(method, address, nil))
	return w
}

// serve starts a console.
func (e *env) serve(cfg Config) {
	e.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(e.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, listener, cfg, e.desk, e.logger()) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			e.t.Errorf("console: %v", err)
		}
	})
	e.t.Cleanup(stop)
	e.stop = stop
	e.base = "http://" + listener.Addr().String() + cfg.Prefix
}

// worker makes a worker that does not run yet.
func (e *env) worker() *worker.Worker {
	e.t.Helper()
	vendor, err := connect.Vendor(e.settings)
	ok(e.t, err)
	rdb, err := connect.Redis(e.settings, nil)
	ok(e.t, err)
	e.t.Cleanup(func() { connect.CloseRedis(rdb) })
	w, _, err := app.New(e.t.Context(), e.settings, app.Parts{NATS: e.js.Conn(), Redis: rdb, Vendor: vendor, Log: zerolog.Nop(), Registry: prometheus.NewRegistry()})
	ok(e.t, err)
	return w
}

// start starts a worker that runs until the test ends.
func (e *env) start() {
	e.t.Helper()
	w := e.worker()
	ctx, cancel := context.WithCancel(context.Background())
	rdb, err := connect.Redis(e.settings, nil)
	ok(e.t, err)
	var telling sync.WaitGroup
	telling.Go(func() { app.PublishVitals(ctx, rdb, e.settings.OrdersStream, w) })
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	e.t.Cleanup(func() {
		cancel()
		telling.Wait()
		connect.CloseRedis(rdb)
		if err := <-done; err != nil {
			e.t.Errorf("worker: %v", err)
		}
	})
}

// publish stores an order request.
func (e *env) publish(payload string) {
	e.t.Helper()
	_, err := e.js.Publish(e.t.Context(), "orders.package.request", []byte(payload))
	ok(e.t, err)
}

// request is an order request, of the package CN-5M unless another is given.
func request(no string, code ...string) string {
	return fmt.Sprintf(`{"outTradeNo":%q,"iccid":"8988308650100524999","packageCode":%q}`, no, append(code, "CN-5M")[0])
}

// The rules of a vendor that refuses some packages, and does not answer for another.
var badPackages = []string{
	`packageCode=GONE always: refuse code=41002 message="no such package"`,
	`packageCode=POOR always: refuse code=3009 message="balance too low"`,
	`packageCode=HANG first=1 buy: hang`,
}

// history stores the results of an hour, and returns how many of them are of each kind.
func (e *env) history() (succeeded, failed int) {
	e.t.Helper()
	now := time.Now()
	for minute := 1; minute < chartLength-1; minute++ {
		for i := range 8 + (minute*7)%5 + minute/6 {
			r := finishedRow(minute*100+i+1, now.Add(-time.Duration(minute)*time.Minute))
			if i == 0 && minute%3 == 0 {
				r.State = operator.Failed
			}
			if r.State == operator.Failed {
				failed++
			} else {
				succeeded++
			}
			payload, err := json.Marshal(map[string]any{
				"outTradeNo": r.OutTradeNo, "iccid": r.ICCID, "packageCode": r.PackageCode, "status": r.State, "attempts": 1,
				"orderNumber": r.OrderNumber, "receivedAt": r.Received, "completedAt": r.Since,
			})
			ok(e.t, err)
			_, err = e.js.PublishAsync("orders.package.result."+string(r.State)+"."+r.OutTradeNo, payload)
			ok(e.t, err)
		}
	}
	<-e.js.PublishAsyncComplete()
	return succeeded, failed
}

// letter stores a dead letter as a worker does.
func (e *env) letter(payload []byte, header nats.Header) uint64 {
	e.t.Helper()
	if header == nil {
		header = nats.Header{"Dead-Reason": {"invalid"}, "Dead-Error": {"iccid: must be 15 to 22 of 0-9 A-Z a-z"}, "Dead-Stream-Seq": {"7"}}
	}
	ack, err := e.js.PublishMsg(e.t.Context(), &nats.Msg{Subject: "orders.package.dead", Data: payload, Header: header})
	ok(e.t, err)
	return ack.Sequence
}

// reply is what the console answered.
type reply struct {
	status int
	header http.Header
	body   string
}

// visitor sends requests to the console; headers are on each of them.
type visitor struct {
	e       *env
	headers map[string]string
	cookies []*http.Cookie
}

func (e *env) reader() *visitor { return &visitor{e: e} }

func (e *env) operator() *visitor {
	return &visitor{e: e, headers: map[string]string{"Authorization": "Bearer " + testToken, "X-Operator": "ann"}}
}

// with returns a visitor with one header more.
func (v *visitor) with(name, value string) *visitor {
	headers := maps.Clone(v.headers)
	if headers == nil {
		headers = map[string]string{}
	}
	headers[name] = value
	return &visitor{e: v.e, headers: headers, cookies: v.cookies}
}

func (v *visitor) do(method, path string, form url.Values) reply {
	v.e.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(v.e.t.Context(), method, v.e.base+path, body)
	ok(v.e.t, err)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range v.headers {
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	for _, c := range v.cookies {
		r.AddCookie(c)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(r)
	ok(v.e.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	ok(v.e.t, err)
	return reply{res.StatusCode, res.Header, string(text)}
}

func (v *visitor) get(path string) reply { v.e.t.Helper(); return v.do("GET", path, nil) }

func (v *visitor) post(path string, pairs ...string) reply {
	v.e.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return v.do("POST", path, form)
}

var confirmField = regexp.MustCompile(`name="confirm" value="([0-9a-f]+)"`)

// agree posts a form, is asked, and agrees. It returns the question's page and what came
// after it.
func (v *visitor) agree(path string, pairs ...string) (asked, done reply) {
	v.e.t.Helper()
	asked = v.post(path, pairs...)
	found := confirmField.FindStringSubmatch(asked.body)
	if asked.status != http.StatusOK || found == nil {
		v.e.t.Fatalf("POST %s %v does not ask first: %d\n%s", path, pairs, asked.status, asked.body)
	}
	return asked, v.post(path, append(pairs, "confirm", found[1])...)
}

// data is the JSON at a path.
func data[T any](v *visitor, path string) (found T) {
	v.e.t.Helper()
	got := v.get(path)
	if err := json.Unmarshal([]byte(got.body), &found); err != nil {
		v.e.t.Fatalf("GET %s: %d, %v\n%s", path, got.status, err, got.body)
	}
	return found
}

// want checks a reply.
func (r reply) want(t *testing.T, status int, parts ...string) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d\n%s", r.status, status, r.body)
	}
	for _, part := range parts {
		if !strings.Contains(r.body, part) {
			t.Errorf("it has no %q:\n%s", part, r.body)
		}
	}
	return r
}
