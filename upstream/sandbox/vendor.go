package sandbox

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Paths of the two calls. Source: the reference, the vendor's site index.
const (
	OrderPath  = "/api/v3/package/orderPackage"
	LookupPath = "/api/v3/package/getOrderPackageDetails"
)

// Shapes of the lookup's data, for Config.LookupShape.
const (
	ShapeArray  = "array"  // [row, ...]
	ShapeObject = "object" // {"total": n, "list": [row, ...]}
)

// maxBodyBytes bounds the body of a request; the largest that means something is
// a lookup of 50 numbers, below 2 KiB.
const maxBodyBytes = 64 << 10

// Config says how the vendor behaves. The zero value of every field but AppKey
// and Secret is a well-behaved vendor.
type Config struct {
	AppKey string // required; the one account there is
	Secret string // required; signs that account's calls

	MaxAge time.Duration // how far timestamp may be from now, both ways; default 5m

	Rate         int           // calls per sliding second over both endpoints; 0 = no limit. A call that is over it does not use it up
	ThrottleCode string        // code in the body of HTTP 429 when over the rate; default CodeThrottled
	RetryAfter   time.Duration // Retry-After of HTTP 429 when over the rate, rounded up to seconds; 0 = no such header

	Latency time.Duration // from the arrival of a call to its execution
	Jitter  time.Duration // up to this much more, evenly spread

	RefuseRepeats string // the code a repeated outTradeNo is refused with; empty: it is bought again, so that buying twice shows

	LookupLag   time.Duration // a purchase shows in the lookup only when it is this old
	LookupShape string        // ShapeArray (default) or ShapeObject

	Rules []Rule // faults; the first rule that applies to a call decides it
	Seed  uint64 // decides which calls a rule with a probability picks
}

// Validate reports every fault of c in one error, or nil.
func (c Config) Validate() error {
	var found faults
	found.add(c.AppKey == "", "AppKey is required")
	found.add(c.Secret == "", "Secret is required")
	notNegative := func(name string, d time.Duration) { found.add(d < 0, "%s (%v) must not be negative", name, d) }
	notNegative("MaxAge", c.MaxAge)
	notNegative("RetryAfter", c.RetryAfter)
	notNegative("Latency", c.Latency)
	notNegative("Jitter", c.Jitter)
	notNegative("LookupLag", c.LookupLag)
	found.add(c.Rate < 0, "Rate (%d) must not be negative", c.Rate)
	found.add(c.ThrottleCode == CodeSuccess, "ThrottleCode must not be %q: that means success", CodeSuccess)
	found.add(c.RefuseRepeats == CodeSuccess, "RefuseRepeats must not be %q: that means success", CodeSuccess)
	found.add(c.LookupShape != "" && c.LookupShape != ShapeArray && c.LookupShape != ShapeObject,
		"LookupShape (%q) must be %s or %s", c.LookupShape, ShapeArray, ShapeObject)
	return errors.Join(append(found, validateRules(c.Rules))...)
}

// Vendor is the simulated vendor, an http.Handler. All its methods are safe for
// concurrent use.
type Vendor struct {
	cfg Config
	now func() time.Time // the clock; a test may put in another before the first call

	closeOnce sync.Once
	closed    chan struct{}

	mu      sync.Mutex
	book    book
	arrived window // every call
	granted window // calls that were within the rate
	rules   *ruleSet
	down    bool
}

// New returns a vendor with an empty book. It panics when cfg.Validate reports an
// error: call that first on settings that come from outside.
func New(cfg Config) *Vendor {
	if err := cfg.Validate(); err != nil {
		panic(fmt.Errorf("sandbox.New: %w", err))
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 5 * time.Minute
	}
	if cfg.ThrottleCode == "" {
		cfg.ThrottleCode = CodeThrottled
	}
	if cfg.LookupShape == "" {
		cfg.LookupShape = ShapeArray
	}
	return &Vendor{
		cfg: cfg, now: time.Now, closed: make(chan struct{}),
		book: newBook(), rules: newRuleSet(cfg.Rules, cfg.Seed, time.Now()),
	}
}

// SetRules replaces the rules from the next call on. Counts of first, the clock
// of after and for, and the hits per rule start anew. The error names every
// faulty rule; then nothing changes.
func (v *Vendor) SetRules(rules []Rule) error {
	if err := validateRules(rules); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.rules = newRuleSet(rules, v.cfg.Seed, v.now())
	return nil
}

// SetDown makes every call end in HTTP 503 with an HTML page, before any check,
// or ends that.
func (v *Vendor) SetDown(down bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = down
}

// Close ends all calls that hang or are delayed, without an answer and without a
// purchase that was not yet made, and keeps later ones from waiting. Call it
// before httptest.Server.Close, which waits for them; Serve calls it itself.
func (v *Vendor) Close() { v.closeOnce.Do(func() { close(v.closed) }) }

// ServeHTTP answers a call of the API, or an admin request.
func (v *Vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case OrderPath:
		v.serveCall(w, r, EndpointOrder)
	case LookupPath:
		v.serveCall(w, r, EndpointLookup)
	default:
		v.serveAdmin(w, r)
	}
}

// serveCall is the way of a call: arrival, rate, checks, latency, rules, execution.
func (v *Vendor) serveCall(w http.ResponseWriter, r *http.Request, endpoint Endpoint) {
	call, gate := v.arrive(endpoint)
	body, bodyErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	switch gate {
	case gateDown:
		writeHTML(w, http.StatusServiceUnavailable)
		return
	case gateThrottled:
		writeThrottled(w, v.cfg.ThrottleCode, "too many requests", retryAfterSeconds(v.cfg.RetryAfter))
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

// gate is what stops a call before its body counts.
type gate int

const (
	gateOpen gate = iota
	gateDown
	gateThrottled
)

// arrive numbers a call, from 1 over both endpoints, and decides whether it may go on.
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

// execute carries the call out, or makes the fault of the first rule that applies.
func (v *Vendor) execute(w http.ResponseWriter, r *http.Request, req request, call int) {
	v.mu.Lock()
	rule, ok := v.rules.pick(req, v.now())
	if ok {
		v.book.faults[string(rule.Action.Kind)]++
	}
	v.mu.Unlock()

	answer := func() reply { return v.answer(req, call) }
	if !ok {
		writeJSON(w, http.StatusOK, answer())
		return
	}
	v.fail(w, r, rule, answer)
}

// answer carries a checked call out: it buys, or looks up.
func (v *Vendor) answer(req request, call int) reply {
	v.mu.Lock()
	defer v.mu.Unlock()
	if req.endpoint == EndpointLookup {
		return v.lookup(req)
	}
	if v.cfg.RefuseRepeats != "" && len(v.book.byOutTradeNo[req.outTradeNo]) > 0 {
		v.book.refused[v.cfg.RefuseRepeats]++
		return reply{Code: v.cfg.RefuseRepeats, Message: "outTradeNo exists"}
	}
	p := v.book.buy(req, call, v.now())
	return success(orderData{OrderNumber: p.OrderNumber, OrderID: p.OrderID})
}

// orderData is the data of a successful orderPackage.
type orderData struct {
	OrderNumber string `json:"orderNumber,omitempty"`
	OrderID     int64  `json:"orderId"`
}

// wait waits for d and reports true, or false as soon as gone is closed (nil:
// never) or the vendor is.
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
