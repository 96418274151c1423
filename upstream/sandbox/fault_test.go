package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Every action that answers at once: for an order without and with buy, and for a
// lookup of one purchase.
func TestActions(t *testing.T) {
	now := time.Now()
	isErr := func(want error) func(answered) bool {
		return func(a answered) bool { return errors.Is(a.err, want) }
	}
	is := func(status int, body string) func(answered) bool {
		return func(a answered) bool { return a.err == nil && a.status == status && string(a.body) == body }
	}
	page := func(status int) func(answered) bool {
		return func(a answered) bool {
			return a.err == nil && a.status == status && strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && !json.Valid(a.body)
		}
	}
	retryAfter := func(want string) func(answered) bool {
		return func(a answered) bool {
			return a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") == want
		}
	}
	has := func(status int, parts ...string) func(answered) bool {
		return func(a answered) bool {
			ok := a.err == nil && a.status == status && json.Valid(a.body)
			for _, part := range parts {
				ok = ok && strings.Contains(string(a.body), part)
			}
			return ok
		}
	}
	all := func(checks ...func(answered) bool) func(answered) bool {
		return func(a answered) bool {
			for _, ok := range checks {
				if !ok(a) {
					return false
				}
			}
			return true
		}
	}
	oversized := func(a answered) bool { return len(a.body) > 2<<20 }
	deep := func(a answered) bool {
		return a.status == 200 && strings.HasPrefix(string(a.body), `{"padding":`+strings.Repeat("[", DefaultDepth)+"]") && !json.Valid(a.body)
	}
	anyError := func(a answered) bool { return a.err != nil }
	const buysAlways = true

	for action, test := range map[string]struct {
		order      func(answered) bool
		lookup     func(answered) bool // nil: as order
		buysAlways bool
	}{
		`refuse`:                             {order: is(200, `{"code":"3000","message":"refused"}`)},
		`refuse code=3001 message="no such"`: {order: is(200, `{"code":"3001","message":"no such"}`)},
		`refuse code=41018`:                  {order: is(200, `{"code":"41018","message":"wrong package code"}`)},
		`deep`:                               {order: deep, lookup: deep},
		`pass`:                               {order: has(200, `"code":"200"`, `"orderNumber"`), buysAlways: buysAlways},
		`number="\x1b[2J" repeat=2`:          {order: has(200, `"code":"200"`, `"orderNumber":"\u001b[2J\u001b[2J"`), buysAlways: buysAlways},
		`number=A repeat=3000000`:            {order: func(a answered) bool { return len(a.body) > 3_000_000 && json.Valid(a.body) }, buysAlways: buysAlways},
		`status=500`:                         {order: is(500, `{"message":"Internal Server Error"}`)},
		`status=503 code=9 message=busy`:     {order: is(503, `{"code":"9","message":"busy"}`)},
		`status=502 html`:                    {order: page(502)},
		`status=400 code=7`:                  {order: is(400, `{"code":"7","message":"Bad Request"}`)},
		`status=301`:                         {order: has(301, "Moved")},
		`throttle`:                           {order: all(retryAfter(""), is(429, `{"code":"501","message":"too many requests"}`))},
		`throttle code=88 message=slow`:      {order: is(429, `{"code":"88","message":"slow"}`)},
		`throttle retry-after=1001ms`:        {order: retryAfter("2")},
		`throttle retry-after=2s date`:       {order: retryAfter(now.Truncate(time.Second).Add(2 * time.Second).UTC().Format(http.TimeFormat))},
		`reset`:                              {order: isErr(syscall.ECONNRESET)},
		`close`:                              {order: isErr(io.EOF)},
		`cut`:                                {order: all(isErr(io.ErrUnexpectedEOF), func(a answered) bool { return a.status == 200 && len(a.body) > 10 })},
		`notjson`:                            {order: page(200)},
		`redirect`:                           {order: func(a answered) bool { return a.status == 302 && a.header.Get("Location") == "/moved" }},
		`redirect to=http://127.0.0.1:1/`:    {order: func(a answered) bool { return a.status == 302 && a.header.Get("Location") == "http://127.0.0.1:1/" }},
		`hang=1ms`:                           {order: anyError},
		`nodata`:                             {order: is(200, `{"code":"200","message":"success"}`), buysAlways: buysAlways},
		`nonumber`:                           {order: is(200, `{"code":"200","message":"success","data":{"orderId":101106256}}`), lookup: is(200, `{"code":"200","message":"success","data":[{"outTradeNo":"old","orderId":101106255,"iccid":"8988308650100524999","packageCode":"CN-5M-7D-C-US-20230103AC4BF927","state":1}]}`), buysAlways: buysAlways},
		`numeric`:                            {order: has(200, `"code":200,`, `"orderNumber"`), buysAlways: buysAlways},
		`delay=1ms`:                          {order: has(200, `"code":"200"`, `"orderNumber"`), buysAlways: buysAlways},
		`oversized`:                          {order: all(oversized, has(200)), lookup: all(oversized, has(200, `"outTradeNo":"old"`))},
	} {
		if test.lookup == nil {
			test.lookup = test.order
		}
		for _, variant := range []struct {
			name, head string
			call       call
			want       func(answered) bool
			bought     bool
		}{
			{"before", "always", anOrder("T-1"), test.order, test.buysAlways},
			{"after", "buy", anOrder("T-1"), test.order, true},
			{"lookup", "endpoint=lookup", aLookup("old"), test.lookup, false},
			{"any", "endpoint=any", aLookup("old"), test.lookup, false},
		} {
			t.Run(action+" "+variant.name, func(t *testing.T) {
				r := newTestEnv(t, Config{})
				r.vendor.now = func() time.Time { return now.Truncate(time.Second) }
				r.wantCode(r.send(anOrder("old")), CodeSuccess)
				text := variant.head + ": " + action
				r.rules(text)
				a := r.send(variant.call)
				if !variant.want(a) {
					t.Errorf("HTTP %d %v %s, error %v", a.status, a.header, clip(a.body), a.err)
				}
				want := 0
				if variant.bought {
					want = 1
				}
				r.wantBought("T-1", want)
				r.rules(text)
				kind := r.vendor.Totals().Faults
				if len(kind) != 1 || kind[actionWord(action)] != 1 {
					t.Errorf("faults %v, want one %s", kind, actionWord(action))
				}
				// The fault ends with its rule.
				r.rules()
				r.wantCode(r.send(anOrder("T-2")), CodeSuccess)
			})
		}
	}
}

func actionWord(action string) string {
	return action[:len(action)-len(strings.TrimLeft(action, "abcdefghijklmnopqrstuvwxyz"))]
}

// A spoiled body does not say "bought" if nothing was bought.
func TestOversizedDoesNotClaimAPurchase(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.rules("outTradeNo=A: oversized", "buy: oversized")
	r.wantCode(r.send(anOrder("A")), CodeFailed)
	r.wantCode(r.send(anOrder("B")), CodeSuccess)
	r.wantBought("A", 0)
	r.wantBought("B", 1)
}

func TestHangEndsWhenTheCallerGivesUp(t *testing.T) {
	for head, want := range map[string]int{"always": 0, "buy": 1} {
		t.Run(head, func(t *testing.T) {
			r := newTestEnv(t, Config{})
			r.rules(head + ": hang")
			ctx, giveUp := context.WithCancel(t.Context())
			done := make(chan answered)
			go func() {
				req := r.request(http.MethodPost, OrderPath, anOrder("T-1").signed(time.Now()))
				done <- r.do(req.WithContext(ctx))
			}()
			r.eventually("the call hangs", func() bool { return r.vendor.Totals().Waiting == 1 })
			giveUp()
			if a := <-done; !errors.Is(a.err, context.Canceled) {
				t.Errorf("error %v, want canceled", a.err)
			}
			r.eventually("the call has ended", func() bool { return r.vendor.Totals().Waiting == 0 })
			r.wantBought("T-1", want)
		})
	}
}

// The vendor executes what it has read, even if the caller has given up.
func TestDelayBuysAfterTheCallerHasGone(t *testing.T) {
	r := newTestEnv(t, Config{})
	const delay = 200 * time.Millisecond
	r.rules("always: delay=" + delay.String())
	start := time.Now()
	ctx, giveUp := context.WithCancel(t.Context())
	done := make(chan answered)
	go func() {
		req := r.request(http.MethodPost, OrderPath, anOrder("T-1").signed(time.Now()))
		done <- r.do(req.WithContext(ctx))
	}()
	r.eventually("the call waits", func() bool { return r.vendor.Totals().Waiting == 1 })
	r.wantBought("T-1", 0)
	giveUp()
	<-done
	r.eventually("the order is bought", func() bool { return len(r.vendor.Purchases("T-1")) == 1 })
	if took := time.Since(start); took < delay {
		t.Errorf("bought after %v, want at least %v", took, delay)
	}
}

func TestDelayAfterThePurchase(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.rules("buy: delay=1h")
	done := make(chan answered)
	go func() { done <- r.send(anOrder("T-1")) }()
	r.eventually("the order is bought", func() bool { return len(r.vendor.Purchases("T-1")) == 1 })
	r.vendor.Close()
	if a := <-done; a.err == nil {
		t.Errorf("HTTP %d, want the connection closed", a.status)
	}
}

func TestLatency(t *testing.T) {
	r := newTestEnv(t, Config{Latency: 50 * time.Millisecond, Jitter: 10 * time.Millisecond})
	start := time.Now()
	r.wantCode(r.send(anOrder("T-1")), CodeSuccess)
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("answered after %v, want at least 50ms", took)
	}
	r.vendor.Close()
	if a := r.send(anOrder("T-2")); a.err == nil {
		t.Errorf("HTTP %d from a closed vendor with latency, want the connection closed", a.status)
	}
	r.wantBought("T-2", 0)
}

func TestDown(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.vendor.SetDown(true)
	for _, c := range []call{anOrder("T-1"), aLookup("T-1"), anOrder("T-1").with(call{"sign": "x"})} {
		if a := r.send(c); a.status != http.StatusServiceUnavailable || json.Valid(a.body) {
			t.Errorf("HTTP %d %s, want 503 with a page", a.status, clip(a.body))
		}
	}
	if got := r.vendor.Totals(); !got.Down || got.Faults["down"] != 3 || got.Bought != 0 || got.RefusedSignatures != 0 {
		t.Errorf("totals %+v, want 3 calls that met a vendor that is down", got)
	}
	r.vendor.SetDown(false)
	r.wantCode(r.send(anOrder("T-1")), CodeSuccess)
}
