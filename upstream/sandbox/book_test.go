package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPurchaseIsAnsweredAndEntered(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.wantCode(r.send(aLookup("other")), CodeSuccess)
	a := r.send(anOrder("T-1").with(call{"renew": 2}))
	r.wantCode(a, CodeSuccess)

	var body struct {
		Code, Message string
		Data          struct {
			OrderNumber string
			OrderID     int64
		}
	}
	r.must(json.Unmarshal(a.body, &body))
	book := r.vendor.Book()
	if len(book.Purchases) != 1 {
		t.Fatalf("%d purchases, want 1", len(book.Purchases))
	}
	p := book.Purchases[0]
	if !regexp.MustCompile(`^[0-9]{13}[0-9a-f]{19}$`).MatchString(p.OrderNumber) {
		t.Errorf("orderNumber %s is not like the reference's example", p.OrderNumber)
	}
	if body.Data.OrderNumber != p.OrderNumber || body.Data.OrderID != p.OrderID || p.OrderID == 0 {
		t.Errorf("answered %+v, entered %+v", body.Data, p)
	}
	if p.OutTradeNo != "T-1" || p.ICCID != "8988308650100524999" || p.PackageCode != "CN-5M-7D-C-US-20230103AC4BF927" ||
		p.Renew == nil || *p.Renew != 2 || p.State != InUse || p.Call != 2 || time.Since(p.At) > time.Minute {
		t.Errorf("entered %+v", p)
	}
}

func TestRepeatIsBoughtAgain(t *testing.T) {
	r := newTestEnv(t, Config{})
	for _, no := range []string{"T-1", "T-2", "T-1"} {
		r.wantCode(r.send(anOrder(no)), CodeSuccess)
	}
	book := r.vendor.Book()
	if book.Bought != 3 || book.PerOutTradeNo["T-1"] != 2 || book.PerOutTradeNo["T-2"] != 1 || !slices.Equal(book.Doubles, []string{"T-1"}) {
		t.Errorf("book = %+v, want T-1 twice and listed as a double, T-2 once", book)
	}
	if book.Purchases[0].OrderNumber == book.Purchases[2].OrderNumber || book.Purchases[0].OrderID == book.Purchases[2].OrderID {
		t.Error("two purchases have the same number")
	}
}

func TestRepeatIsRefused(t *testing.T) {
	r := newTestEnv(t, Config{RefuseRepeats: "2005"})
	r.wantCode(r.send(anOrder("T-1")), CodeSuccess)
	r.wantCode(r.send(anOrder("T-1")), "2005")
	r.rules("buy: nodata")
	r.wantCode(r.send(anOrder("T-1")), "2005")
	r.rules("always: numeric")
	if a := r.send(anOrder("T-1")); string(a.body) != `{"code":2005,"message":"duplicate order number"}` {
		t.Errorf("numeric refusal = %s", a.body)
	}
	r.wantBought("T-1", 1)
	if got := r.vendor.Totals().Refused["2005"]; got != 3 {
		t.Errorf("%d repeats refused, want 3", got)
	}
}

// rows returns the rows of a lookup in either shape, each as its JSON text.
func (r *testEnv) rows(a answered) (rows []string, total int) {
	r.t.Helper()
	r.wantCode(a, CodeSuccess)
	var raw []json.RawMessage
	var array struct{ Data []json.RawMessage }
	if json.Unmarshal(a.body, &array) == nil {
		raw, total = array.Data, len(array.Data)
	} else {
		var object struct {
			Data struct {
				Total int
				List  []json.RawMessage
			}
		}
		r.must(json.Unmarshal(a.body, &object))
		raw, total = object.Data.List, object.Data.Total
	}
	for _, text := range raw {
		rows = append(rows, string(text))
	}
	return rows, total
}

// rowText is the JSON of an honest row.
func rowText(p Purchase) string {
	return fmt.Sprintf(`{"outTradeNo":"%s","orderNumber":"%s","orderId":%d,"iccid":"%s","packageCode":"%s","state":%d}`,
		p.OutTradeNo, p.OrderNumber, p.OrderID, p.ICCID, p.PackageCode, p.State)
}

func TestLookup(t *testing.T) {
	for _, shape := range []string{ShapeArray, ShapeObject} {
		t.Run(shape, func(t *testing.T) {
			r := newTestEnv(t, Config{LookupShape: shape})
			none := map[string]string{
				ShapeArray:  `{"code":"200","message":"success","data":[]}`,
				ShapeObject: `{"code":"200","message":"success","data":{"total":0,"list":[]}}`,
			}[shape]
			if a := r.send(aLookup("T-1")); string(a.body) != none {
				t.Errorf("nothing found: %s, want %s", a.body, none)
			}
			for _, no := range []string{"T-1", "T-2", "T-3", "T-1"} {
				r.send(anOrder(no))
			}
			bought := r.vendor.Book().Purchases

			rows, total := r.rows(r.send(aLookup("T-3", "T-0", "T-1", "T-3")))
			want := []string{rowText(bought[2]), rowText(bought[0]), rowText(bought[3])} // T-1 was bought twice
			if !slices.Equal(rows, want) || total != 3 {
				t.Errorf("rows = %+v of %d, want %+v of 3", rows, total, want)
			}

			rows, _ = r.rows(r.send(call{"orderNumberArrStr": bought[1].OrderNumber + ",0"}))
			if !slices.Equal(rows, []string{rowText(bought[1])}) {
				t.Errorf("by orderNumber: %+v, want T-2", rows)
			}
			if rows, _ = r.rows(r.send(aLookup("T-1").with(call{"state": 2}))); len(rows) != 0 {
				t.Errorf("state 2: %+v, want none", rows)
			}
			if rows, _ = r.rows(r.send(aLookup("T-1").with(call{"state": 1}))); len(rows) != 2 {
				t.Errorf("state 1: %+v, want both", rows)
			}
			rows, total = r.rows(r.send(aLookup("T-1", "T-2", "T-3").with(call{"page": 2, "pageSize": 3})))
			if !slices.Equal(rows, []string{rowText(bought[2])}) || shape == ShapeObject && total != 4 {
				t.Errorf("page 2: %+v of %d, want T-3 alone of 4", rows, total)
			}
			r.rules("endpoint=lookup: nonumber")
			if rows, _ = r.rows(r.send(aLookup("T-2"))); len(rows) != 1 || strings.Contains(rows[0], "orderNumber") || !strings.Contains(rows[0], fmt.Sprint(bought[1].OrderID)) {
				t.Errorf("without orderNumber: %+v", rows)
			}
			r.rules()
			if rows, _ = r.rows(r.send(aLookup("T-1").with(call{"page": 9}))); len(rows) != 0 {
				t.Errorf("page 9: %+v, want none", rows)
			}
		})
	}
}

func TestLookupLag(t *testing.T) {
	r := newTestEnv(t, Config{LookupLag: time.Minute})
	c := r.freeze()
	r.send(anOrder("T-1"))
	for _, step := range []struct {
		wait time.Duration
		want int
	}{{0, 0}, {time.Minute - 1, 0}, {1, 1}} {
		c.add(step.wait)
		if rows, _ := r.rows(r.send(aLookup("T-1"))); len(rows) != step.want {
			t.Errorf("after %v more: %d rows, want %d", step.wait, len(rows), step.want)
		}
	}
}

func TestRateIsASlidingSecond(t *testing.T) {
	r := newTestEnv(t, Config{Rate: 2, RetryAfter: 1500 * time.Millisecond, ThrottleCode: "4029"})
	c := r.freeze()
	throttled := func(a answered) bool { return a.status == http.StatusTooManyRequests }
	for i, step := range []struct {
		wait time.Duration
		call call
		want bool // throttled
	}{
		{0, anOrder("1"), false},
		{600 * time.Millisecond, aLookup("1"), false},
		{0, anOrder("2"), true},                       // both endpoints count
		{399 * time.Millisecond, anOrder("2"), true},  // the first is 999 ms old
		{1 * time.Millisecond, anOrder("2"), false},   // and now a second
		{599 * time.Millisecond, anOrder("3"), true},  // refused calls do not count, these two do
		{1 * time.Millisecond, aLookup("1"), false},   // the lookup is a second old
		{10 * time.Second, anOrder("3"), false},       // quiet
		{0, anOrder("4").with(call{"x": "y"}), false}, // a failed check uses the rate up
		{0, anOrder("4"), true},
	} {
		c.add(step.wait)
		a := r.send(step.call)
		if throttled(a) != step.want {
			t.Errorf("step %d: HTTP %d, want throttled: %v", i, a.status, step.want)
		}
		if step.want && (a.header.Get("Retry-After") != "2" || string(a.body) != `{"code":"4029","message":"too many requests"}`) {
			t.Errorf("step %d: Retry-After %q, body %s", i, a.header.Get("Retry-After"), a.body)
		}
	}
	got := r.vendor.Totals()
	if got.Throttled != 4 || got.PeakPerSecond != 5 || got.Bought != 3 || got.Calls[EndpointOrder] != 8 || got.Calls[EndpointLookup] != 2 {
		t.Errorf("totals = %+v, want 4 throttled, a peak of 5, 3 bought, 8 orders, 2 lookups", got)
	}
}

func TestWindowForgetsAfterASecond(t *testing.T) {
	var w window
	start := time.Now()
	for i := range 100_000 {
		if n := w.add(start.Add(time.Duration(i) * 10 * time.Millisecond)); n != min(i+1, 100) {
			t.Fatalf("arrival %d: %d in the second, want %d", i, n, min(i+1, 100))
		}
	}
	if n := cap(w.arrivals); n > 1000 {
		t.Errorf("room for %d arrivals is kept, want about 100", n)
	}
}

func TestManyAtOnce(t *testing.T) {
	r := newTestEnv(t, Config{Latency: time.Microsecond, Jitter: time.Millisecond, Seed: 1, Rules: []Rule{
		{Probability: 0.2, Buy: true, Action: Action{Kind: Status, Status: 503}},
	}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				no := fmt.Sprintf("T-%d-%d", i, j)
				if a := r.send(anOrder(no)); a.err != nil {
					t.Error(a.err)
				}
				r.send(aLookup(no))
				r.vendor.Book()
			}
		})
	}
	wg.Wait()
	book := r.vendor.Book()
	numbers := map[string]bool{}
	for _, p := range book.Purchases {
		numbers[p.OrderNumber] = true
	}
	if book.Bought != 400 || len(book.Doubles) != 0 || len(numbers) != 400 || book.Calls[EndpointLookup] != 400 {
		t.Errorf("bought %d, doubles %v, %d numbers, calls %v, want 400 of each and no doubles", book.Bought, book.Doubles, len(numbers), book.Calls)
	}
	if hits := book.Rules[0].Hits; hits < 40 || hits > 120 || hits != book.Faults[string(Status)] {
		t.Errorf("%d hits, %v faults, want about 80 of both", hits, book.Faults)
	}
}

// A call takes about 75 µs on a shared core, with the recorder: the sandbox is faster
// than a load test.
func BenchmarkOrder(b *testing.B) {
	v := New(Config{AppKey: testKey, Secret: testSecret})
	body := anOrder("T-1").signed(time.Now())
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, OrderPath, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		v.ServeHTTP(httptest.NewRecorder(), r)
	}
}
