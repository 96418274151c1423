package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testKey    = "000001"
	testSecret = "a1b1c1d1"
)

// testEnv is a vendor behind a real server on loopback, and a client to call it.
type testEnv struct {
	t      *testing.T
	vendor *Vendor
	url    string
	client *http.Client
}

func newTestEnv(t *testing.T, cfg Config) *testEnv {
	t.Helper()
	cfg.AppKey, cfg.Secret = testKey, testSecret
	v := New(cfg)
	server := httptest.NewServer(v)
	transport := &http.Transport{}
	t.Cleanup(func() {
		v.Close()
		transport.CloseIdleConnections()
		server.Close()
	})
	return &testEnv{t: t, vendor: v, url: server.URL, client: &http.Client{
		Transport:     transport,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// clock is a clock that moves only when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// freeze gives the vendor a clock that only the test moves, and starts its rules again.
func (r *testEnv) freeze() *clock {
	r.t.Helper()
	c := &clock{now: time.Now()}
	r.vendor.now = c.Now
	r.must(r.vendor.SetRules(r.vendor.cfg.Rules))
	return c
}

func (r *testEnv) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *testEnv) rules(texts ...string) {
	r.t.Helper()
	rules, err := ParseRules(strings.Join(texts, "\n"))
	r.must(err)
	r.must(r.vendor.SetRules(rules))
}

// call has the fields of one call, which are signed when it is sent.
type call map[string]any

func anOrder(outTradeNo string) call {
	return call{"iccid": "8988308650100524999", "packageCode": "CN-5M-7D-C-US-20230103AC4BF927", "outTradeNo": outTradeNo}
}

func aLookup(numbers ...string) call {
	return call{"outTradeNoArrStr": strings.Join(numbers, ","), "page": 1, "pageSize": 50}
}

func (c call) path() string {
	if _, ok := c["iccid"]; ok {
		return OrderPath
	}
	return LookupPath
}

// with returns c with the given fields changed; nil removes a field.
func (c call) with(changes call) call {
	changed := maps.Clone(c)
	for name, value := range changes {
		if changed[name] = value; value == nil {
			delete(changed, name)
		}
	}
	return changed
}

// signed returns the body of c, signed at now, with the system fields that c lacks.
func (c call) signed(now time.Time) []byte {
	full := call{"appkey": testKey, "timestamp": now.Unix(), "nonce": 81537}
	maps.Copy(full, c)
	if _, ok := full["sign"]; !ok {
		spelled := map[string]string{}
		for name, value := range full {
			spelled[name] = fmt.Sprint(value)
		}
		full["sign"] = signature(spelled, testSecret)
	}
	body, err := json.Marshal(full)
	if err != nil {
		panic(err)
	}
	return body
}

// answered is an answer; err is the error of the call or of reading the body.
type answered struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (r *testEnv) do(req *http.Request) answered {
	resp, err := r.client.Do(req)
	if err != nil {
		return answered{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answered{status: resp.StatusCode, header: resp.Header, body: body, err: err}
}

func (r *testEnv) request(method, path string, body []byte) *http.Request {
	req, err := http.NewRequest(method, r.url+path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json;charset=utf-8")
	return req
}

// send makes the call now, by the vendor's clock.
func (r *testEnv) send(c call) answered {
	return r.do(r.request(http.MethodPost, c.path(), c.signed(r.vendor.now())))
}

// code returns the code of a JSON answer with HTTP 200.
func (r *testEnv) code(a answered) string {
	r.t.Helper()
	var body struct{ Code, Message string }
	if err := json.Unmarshal(a.body, &body); a.err != nil || err != nil || a.status != http.StatusOK {
		r.t.Fatalf("HTTP %d %q, error %v, want HTTP 200 with JSON", a.status, clip(a.body), a.err)
	}
	return body.Code
}

func (r *testEnv) wantCode(a answered, want string) {
	r.t.Helper()
	if got := r.code(a); got != want {
		r.t.Fatalf("code %s, want %s: %s", got, want, clip(a.body))
	}
}

func (r *testEnv) wantBought(outTradeNo string, want int) {
	r.t.Helper()
	if got := len(r.vendor.Purchases(outTradeNo)); got != want {
		r.t.Fatalf("%s was bought %d times, want %d", outTradeNo, got, want)
	}
}

// eventually polls until ok, for at most 10 s.
func (r *testEnv) eventually(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within 10s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func clip(b []byte) string { return fmt.Sprintf("%.200s", b) }
