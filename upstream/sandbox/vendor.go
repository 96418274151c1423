package sandbox

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path"
	"sync"
	"time"
)

// Paths of the two calls. Source: upstream/VENDOR.md, "orderPackage" and "Batch lookup".
const (
	OrderPath  = "/api/v3/package/orderPackage"
	LookupPath = "/api/v3/package/getOrderPackageDetails"
)

// maxBodyBytes is the largest body of a request. A lookup of 50 numbers has less than
// 2 KiB.
const maxBodyBytes = 64 << 10

// Vendor is the simulated vendor, an http.Handler. Its methods are safe for concurrent
// use.
type Vendor struct {
	cfg Config
	mux *http.ServeMux
	now func() time.Time // the clock; tests replace it before the first call

	closeOnce sync.Once
	closed    chan struct{}

	mu      sync.Mutex
	book    book
	arrived window // all calls
	granted window // the calls within the rate
	rules   *ruleSet
	mode    LookupMode
	down    bool
}

// New returns a vendor with an empty book. It panics if cfg.Validate returns an error:
// call that first if the settings come from a user.
func New(cfg Config) *Vendor {
	if err := cfg.Validate(); err != nil {
		panic(fmt.Errorf("sandbox.New: %w", err))
	}
	cfg.MaxAge = cmp.Or(cfg.MaxAge, 5*time.Minute)
	cfg.ThrottleCode = cmp.Or(cfg.ThrottleCode, CodeThrottled)
	cfg.LookupShape = cmp.Or(cfg.LookupShape, ShapeArray)
	v := &Vendor{
		cfg: cfg, mux: http.NewServeMux(), now: time.Now, closed: make(chan struct{}), mode: cfg.LookupMode,
		book: newBook(), rules: newRuleSet(cfg.Rules, cfg.Seed, time.Now()),
	}
	v.mux.HandleFunc(OrderPath, func(w http.ResponseWriter, r *http.Request) { v.serveCall(w, r, EndpointOrder) })
	v.mux.HandleFunc(LookupPath, func(w http.ResponseWriter, r *http.Request) { v.serveCall(w, r, EndpointLookup) })
	v.mux.HandleFunc("/", v.noSuchPath)
	v.addAdmin(v.mux)
	return v
}

// SetRules replaces the rules from the next call on. The counts of first, the time of
// after and for, and the hits per rule start again. The error names every faulty rule;
// then nothing changes.
func (v *Vendor) SetRules(rules []Rule) error {
	if err := validateRules(rules); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rules = newRuleSet(rules, v.cfg.Seed, v.now())
	return nil
}

// SetDown sets whether every call is answered with HTTP 503 and an HTML page, before
// any check.
func (v *Vendor) SetDown(down bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = down
}

// Close ends all calls that are hanging or delayed. They get no answer, and what they
// have not bought yet is not bought. Later calls do not wait. Call Close before
// httptest.Server.Close, which waits for these calls; Serve calls it itself.
func (v *Vendor) Close() { v.closeOnce.Do(func() { close(v.closed) }) }

// ServeHTTP answers a call of the API, or an admin request.
func (v *Vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if path.Clean(r.URL.Path) != r.URL.Path { // ServeMux would redirect to the clean path
		v.noSuchPath(w, r)
		return
	}
	v.mux.ServeHTTP(w, r)
}

// noSuchPath refuses a path that has no handler, as the vendor would.
func (v *Vendor) noSuchPath(w http.ResponseWriter, r *http.Request) {
	v.refuse(w, refusef(CodePath, "no such interface: %s", r.URL.Path))
}

// serveCall serves a call: arrival, rate, checks, latency, rules, execution.
func (v *Vendor) serveCall(w http.ResponseWriter, r *http.Request, endpoint Endpoint) {
	call, gate := v.arrive(endpoint)
	body, bodyErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	switch gate {
	case gateDown:
		writeHTML(w, http.StatusServiceUnavailable)
		return
	case gateThrottled:
		v.throttle(w)
		return
	}

	req, refusal := v.check(endpoint, r, body, bodyErr)
	if refusal != nil {
		v.refuse(w, refusal)
		return
	}

	if latency := v.cfg.Latency + upTo(v.cfg.Jitter); !v.wait(latency, nil) {
		panic(http.ErrAbortHandler)
	}
	v.execute(w, r, req, call)
}

// gate says whether a call is stopped before its body is checked.
type gate int

const (
	gateOpen gate = iota
	gateDown
	gateThrottled
)

// arrive enters a call in the book, and decides whether it is stopped.
func (v *Vendor) arrive(endpoint Endpoint) (call int, g gate) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.now() // under the lock, so that arrivals are in order
	call = v.book.arrive(endpoint, v.arrived.add(now))
	switch {
	case v.down:
		v.book.faults["down"]++
		return call, gateDown
	case v.cfg.Rate > 0 && v.granted.count(now) >= v.cfg.Rate:
		v.book.throttled++
		return call, gateThrottled
	}
	if v.cfg.Rate > 0 {
		v.granted.add(now)
	}
	return call, gateOpen
}

// refuse answers a call that failed a check, and counts it.
func (v *Vendor) refuse(w http.ResponseWriter, refusal *refusal) {
	v.mu.Lock()
	v.book.refused[refusal.code]++
	v.mu.Unlock()
	writeJSON(w, http.StatusOK, reply{Code: refusal.code, Message: refusal.message})
}

// execute executes a call, or makes the fault of the first rule that applies.
func (v *Vendor) execute(w http.ResponseWriter, r *http.Request, req request, call int) {
	v.mu.Lock()
	rule, ok := v.rules.pick(req, v.now())
	if ok {
		v.book.faults[string(rule.Action.Kind)]++
	}
	v.mu.Unlock()

	answer := func() reply { return v.answer(req, call, rule) }
	if !ok {
		writeJSON(w, http.StatusOK, answer())
		return
	}
	v.fail(w, r, rule, answer)
}

// answer executes a checked call: it buys, or looks up. Of the rule, which may be the
// zero Rule, it uses the state of a purchase and the mode of a lookup.
func (v *Vendor) answer(req request, call int, rule Rule) reply {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case rule.Action.Kind == Rows:
		return v.lookup(req, rule.Action.Rows)
	case req.endpoint == EndpointLookup:
		return v.lookup(req, v.mode)
	}
	if v.cfg.RefuseRepeats != "" && len(v.book.byOutTradeNo[req.outTradeNo]) > 0 {
		v.book.refused[v.cfg.RefuseRepeats]++
		return reply{Code: v.cfg.RefuseRepeats, Message: messages[CodeDuplicate]}
	}
	p := v.book.buy(req, rule.bought(), call, v.now())
	return success(orderData{OrderNumber: p.OrderNumber, OrderID: p.OrderID})
}

// orderData is the data of a successful orderPackage.
type orderData struct {
	OrderNumber string `json:"orderNumber,omitempty"`
	OrderID     int64  `json:"orderId"`
}

// wait waits for d and returns true. It returns false as soon as gone or the vendor is
// closed. A nil gone is never closed.
func (v *Vendor) wait(d time.Duration, gone <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	v.addWaiting(1)
	defer v.addWaiting(-1)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-gone:
		return false
	case <-v.closed:
		return false
	}
}

func (v *Vendor) addWaiting(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.book.waiting += n
}

// upTo returns a random duration in 0..d.
func upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d + 1)
}
