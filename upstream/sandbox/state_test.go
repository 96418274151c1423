package sandbox

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// numbersIn returns the outTradeNos that a lookup shows.
func (r *testEnv) numbersIn(c call) (numbers []string) {
	r.t.Helper()
	rows, _ := r.rows(r.send(c))
	for _, row := range rows {
		number, ok := strings.CutPrefix(row, `{"outTradeNo":"`)
		if !ok {
			r.t.Fatalf("row without outTradeNo: %s", row)
		}
		numbers = append(numbers, number[:strings.Index(number, `"`)])
	}
	return numbers
}

// A main package is in use at once, an add-on waits until it takes effect, and both can
// be finished. A lookup shows the packages in the state that it asks for.
func TestStates(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.rules("packageCode=ADD-* first=1 buy=0: reset", "packageCode=OLD-* buy=2: refuse code=500")
	r.wantCode(r.send(anOrder("MAIN")), CodeSuccess)
	if a := r.send(anOrder("ADD").with(call{"packageCode": "ADD-1"})); a.err == nil {
		t.Errorf("HTTP %d, want a reset", a.status)
	}
	r.wantCode(r.send(anOrder("OLD").with(call{"packageCode": "OLD-1"})), CodeFailed)
	all := aLookup("MAIN", "ADD", "OLD")
	want := func(moment string, perState ...string) {
		t.Helper()
		for state, numbers := range perState {
			if got := strings.Join(r.numbersIn(all.with(call{"state": state})), ","); got != numbers {
				t.Errorf("%s, state %d: %s, want %s", moment, state, got, numbers)
			}
		}
	}
	want("at first", "ADD", "MAIN", "OLD", "")
	if got := r.numbersIn(all); !slices.Equal(got, []string{"MAIN", "ADD", "OLD"}) {
		t.Errorf("without a state: %s, want all", got)
	}
	if n := r.vendor.SetState("ADD", InUse); n != 1 {
		t.Errorf("%d purchases changed, want 1", n)
	}
	want("after a month", "", "MAIN,ADD", "OLD")
	r.vendor.SetState("MAIN", Finished)
	want("after a refund", "", "ADD", "MAIN,OLD")
	if n := r.vendor.SetState("other", Finished); n != 0 {
		t.Errorf("%d purchases of an order that was not bought", n)
	}
}

func TestLookupWithoutState(t *testing.T) {
	for setting, want := range map[string]string{"": "WAITS,RUNS", StateAll: "WAITS,RUNS", StateZero: "WAITS", StateError: ""} {
		t.Run(setting, func(t *testing.T) {
			r := newTestEnv(t, Config{LookupWithoutState: setting, Rules: []Rule{{OutTradeNo: "WAITS", Buy: true, BuyState: "0", Action: Action{Kind: Pass}}}})
			r.send(anOrder("WAITS"))
			r.send(anOrder("RUNS"))
			all := aLookup("WAITS", "RUNS")
			if setting == StateError {
				r.wantCode(r.send(all), CodeField)
				if n := r.vendor.Totals().Refused[CodeField]; n != 1 {
					t.Errorf("%d refusals counted, want 1", n)
				}
			} else if got := strings.Join(r.numbersIn(all), ","); got != want {
				t.Errorf("without a state: %s, want %s", got, want)
			}
			for state, want := range []string{"WAITS", "RUNS", ""} {
				if got := strings.Join(r.numbersIn(all.with(call{"state": state})), ","); got != want {
					t.Errorf("state %d: %s, want %s", state, got, want)
				}
			}
		})
	}
}

// A rule can hide one state for a while. Its state=0 matches a lookup without a state if
// that means 0.
func TestRuleHidesAState(t *testing.T) {
	r := newTestEnv(t, Config{LookupWithoutState: StateZero})
	c := r.freeze()
	r.rules("outTradeNo=WAITS buy=0: pass", "endpoint=lookup state=1 for=30s: rows hide=*", "endpoint=lookup state=0: refuse code=403")
	r.send(anOrder("WAITS"))
	r.send(anOrder("RUNS"))
	all := aLookup("WAITS", "RUNS")
	if got := r.numbersIn(all.with(call{"state": 1})); len(got) != 0 {
		t.Errorf("hidden, but %s is shown", got)
	}
	r.wantCode(r.send(all), CodePermission)
	r.wantCode(r.send(all.with(call{"state": 0})), CodePermission)
	c.add(30 * time.Second)
	if got := r.numbersIn(all.with(call{"state": 1})); !slices.Equal(got, []string{"RUNS"}) {
		t.Errorf("after the rule: %s, want RUNS", got)
	}
}

// With buy, an order that is refused is bought all the same. The refusal may have its
// orderNumber.
func TestRefusedAndBought(t *testing.T) {
	r := newTestEnv(t, Config{RefuseRepeats: CodeDuplicate})
	r.rules("outTradeNo=A buy: refuse code=500", "outTradeNo=B buy: refuse code=10000 data", "outTradeNo=C buy: status=400 code=41018 data")
	number := func(no string) string { return r.vendor.Purchases(no)[0].OrderNumber }
	for _, no := range []string{"A", "B", "C"} {
		a := r.send(anOrder(no))
		r.wantBought(no, 1)
		told := no != "A"
		if strings.Contains(string(a.body), `"orderNumber":"`+number(no)+`"`) != told {
			t.Errorf("%s: %s, want the orderNumber in it: %v", no, a.body, told)
		}
	}
	if a := r.send(anOrder("B")); string(a.body) != `{"code":"10000","message":"refused"}` {
		t.Errorf("a repeat that was refused: %s, want no data", a.body)
	}
	r.wantBought("B", 1)
	r.rules()
	r.wantCode(r.send(anOrder("A")), CodeDuplicate)
}

func TestPassDecidesBeforeLaterRules(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.rules("outTradeNo=GOOD-*: pass", "endpoint=any: refuse code=502")
	r.wantCode(r.send(anOrder("GOOD-1")), CodeSuccess)
	r.wantCode(r.send(anOrder("BAD-1")), CodeWhitelist)
	r.wantCode(r.send(aLookup("GOOD-1")), CodeWhitelist)
}

func TestThrottleAsCode(t *testing.T) {
	r := newTestEnv(t, Config{Rate: 1, ThrottleAs: ThrottleAsCode})
	r.freeze()
	r.wantCode(r.send(anOrder("A")), CodeSuccess)
	a := r.send(anOrder("B"))
	if a.status != http.StatusOK || string(a.body) != `{"code":"501","message":"too many requests"}` || a.header.Get("Retry-After") != "" {
		t.Errorf("HTTP %d %v %s", a.status, a.header, a.body)
	}
	if got := r.vendor.Totals(); got.Throttled != 1 || got.Bought != 1 {
		t.Errorf("throttled %d, bought %d, want 1 and 1", got.Throttled, got.Bought)
	}
	if err := (Config{AppKey: "a", Secret: "b", ThrottleAs: ThrottleAsCode, RetryAfter: 1}).Validate(); err == nil {
		t.Error("a Retry-After without HTTP 429 was taken")
	}
}
