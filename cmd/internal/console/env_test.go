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
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/operator"
	"orderworker/worker/logtest"
)

const testToken = "a-token-of-the-tests"

// env is a deployment with a console, and workers where a test starts them.
type env struct {
	*apptest.Deployment
	desk *operator.Desk
	log  *logtest.Buffer
	base string // the console's address, with its prefix
	stop func() // stops the console
}

// newEnv starts the servers, makes the streams, and serves a console. rules are the
// vendor's.
func newEnv(t *testing.T, cfg Config, rules ...string) *env {
	t.Helper()
	e := &env{log: new(logtest.Buffer), Deployment: apptest.New(t, map[string]string{
		"UPSTREAM_RATE": "100", "BACKOFF_INITIAL": "30s", "BACKOFF_MAX": "1m",
	}, rules...)}
	var err error
	e.desk, err = operator.Open(t.Context(), e.Settings())
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
	e.T.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(e.T, err)
	e.stop = e.Run(func(ctx context.Context) error {
		if err := Serve(ctx, listener, cfg, e.desk, e.logger()); err != nil {
			return fmt.Errorf("console: %w", err)
		}
		return nil
	})
	e.base = "http://" + listener.Addr().String() + cfg.Prefix
}

// request is an order request, of the package CN-5M unless another is given.
func request(no string, code ...string) string {
	return apptest.OrderRequest(no, append(code, "CN-5M")[0], "")
}

// The rules of a vendor that refuses some packages, and does not answer for another.
var badPackages = []string{
	`packageCode=GONE always: refuse code=41002 message="no such package"`,
	`packageCode=POOR always: refuse code=3009 message="balance too low"`,
	`packageCode=HANG first=1 buy: hang`,
}

// history stores the results of an hour, and returns how many of them are of each kind.
func (e *env) history() (succeeded, failed int) {
	e.T.Helper()
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
			ok(e.T, err)
			_, err = e.JS.PublishAsync("orders.package.result."+string(r.State)+"."+r.OutTradeNo, payload)
			ok(e.T, err)
		}
	}
	<-e.JS.PublishAsyncComplete()
	return succeeded, failed
}

// letter stores a dead letter; header nil: of a request whose card is not valid.
func (e *env) letter(payload []byte, header nats.Header) uint64 {
	e.T.Helper()
	if header == nil {
		header = nats.Header{"Dead-Reason": {"invalid"}, "Dead-Error": {"iccid: must be 15 to 22 of 0-9 A-Z a-z"}, "Dead-Stream-Seq": {"7"}}
	}
	return e.DeadLetter(payload, header)
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
	v.e.T.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(v.e.T.Context(), method, v.e.base+path, body)
	ok(v.e.T, err)
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
	ok(v.e.T, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	ok(v.e.T, err)
	return reply{res.StatusCode, res.Header, string(text)}
}

func (v *visitor) get(path string) reply { v.e.T.Helper(); return v.do("GET", path, nil) }

func (v *visitor) post(path string, pairs ...string) reply {
	v.e.T.Helper()
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
	v.e.T.Helper()
	asked = v.post(path, pairs...)
	found := confirmField.FindStringSubmatch(asked.body)
	if asked.status != http.StatusOK || found == nil {
		v.e.T.Fatalf("POST %s %v does not ask first: %d\n%s", path, pairs, asked.status, asked.body)
	}
	return asked, v.post(path, append(pairs, "confirm", found[1])...)
}

// data is the JSON at a path.
func data[T any](v *visitor, path string) (found T) {
	v.e.T.Helper()
	got := v.get(path)
	if err := json.Unmarshal([]byte(got.body), &found); err != nil {
		v.e.T.Fatalf("GET %s: %d, %v\n%s", path, got.status, err, got.body)
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
