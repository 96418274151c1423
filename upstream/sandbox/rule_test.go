package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRuleMatches(t *testing.T) {
	order := request{endpoint: EndpointOrder, outTradeNo: "T-1/a", packageCode: "CN/5M"}
	lookup := request{endpoint: EndpointLookup, outTradeNos: []string{"X", "T-1/a"}, state: new(int64(1))}
	byNumber := request{endpoint: EndpointLookup, orderNumbers: []string{"T-1/a"}}
	for text, want := range map[string][3]bool{ // order, lookup, lookup by orderNumber
		`always: reset`:                             {true, false, false},
		`endpoint=order: reset`:                     {true, false, false},
		`endpoint=lookup: reset`:                    {false, true, true},
		`endpoint=lookup state=1: reset`:            {false, true, false},
		`endpoint=lookup state=0: reset`:            {false, false, false},
		`endpoint=any: reset`:                       {true, true, true},
		`packageCode=CN*: reset`:                    {true, false, false},
		`packageCode=CN: reset`:                     {false, false, false},
		`outTradeNo=T-*: reset`:                     {true, false, false},
		`outTradeNo=T-?/a: reset`:                   {true, false, false},
		`outTradeNo=[^T]*: reset`:                   {false, false, false},
		`endpoint=any outTradeNo=T-*: reset`:        {true, true, false},
		`endpoint=any outTradeNo=X: reset`:          {false, true, false},
		`packageCode=CN/5M outTradeNo=T-2*: reset`:  {false, false, false},
		`packageCode=CN/?M outTradeNo=*1/a*: reset`: {true, false, false},
	} {
		rule, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		for i, req := range []request{order, lookup, byNumber} {
			now := time.Now()
			if _, got := newRuleSet([]Rule{rule}, 0, now).pick(req, now); got != want[i] {
				t.Errorf("%s, request %d: %v, want %v", text, i, got, want[i])
			}
		}
	}
}

func TestFirstRuleDecides(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.rules("outTradeNo=A: refuse code=1", "outTradeNo=A*: refuse code=2", "first=1: refuse code=3")
	for _, step := range []struct{ no, want string }{{"A", "1"}, {"AB", "2"}, {"B", "3"}, {"B", CodeSuccess}, {"A", "1"}} {
		r.wantCode(r.send(anOrder(step.no)), step.want)
	}
	want := []RuleHits{{"outTradeNo=A: refuse code=1", 2}, {"outTradeNo=A*: refuse code=2", 1}, {"first=1: refuse code=3", 1}}
	if got := r.vendor.Totals().Rules; !slices.Equal(got, want) {
		t.Errorf("hits %v, want %v", got, want)
	}
}

func TestFirstCountsPerOutTradeNo(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.rules("first=2 outTradeNo=T*: refuse code=1", "endpoint=lookup first=1: refuse code=2")
	for _, step := range []struct {
		call call
		want string
	}{
		{anOrder("T-1"), "1"}, {anOrder("T-2"), "1"}, {anOrder("T-1"), "1"}, {anOrder("T-1"), CodeSuccess},
		{anOrder("T-2"), "1"}, {anOrder("T-2"), CodeSuccess}, {anOrder("other"), CodeSuccess},
		{aLookup("T-1"), "2"}, {aLookup("T-1", "T-2"), "2"}, {aLookup("T-2", "T-1"), CodeSuccess},
	} {
		r.wantCode(r.send(step.call), step.want)
	}
	r.must(r.vendor.SetRules(r.vendor.rules.rules)) // counts start anew
	r.wantCode(r.send(anOrder("T-1")), "1")
}

func TestTimeWindowOfARule(t *testing.T) {
	r := newTestEnv(t, Config{})
	c := r.freeze()
	r.rules("after=10s for=20s: refuse code=1", "after=60s: refuse code=2")
	for i, step := range []struct {
		wait time.Duration
		want string
	}{
		{0, CodeSuccess}, {10*time.Second - 1, CodeSuccess}, {1, "1"}, {20*time.Second - 1, "1"},
		{1, CodeSuccess}, {30 * time.Second, "2"}, {time.Minute, "2"},
	} {
		c.add(step.wait)
		r.wantCode(r.send(anOrder(fmt.Sprint(i))), step.want)
	}
}

// With the same seed a rule applies to the same calls, in whatever order they arrive.
func TestProbabilityIsReproducible(t *testing.T) {
	rules := []Rule{{Probability: 0.3, Action: Action{Kind: Reset}}}
	picks := func(seed uint64, backwards bool) string {
		set, picked := newRuleSet(rules, seed, time.Now()), make([]byte, 2000)
		for i := range picked {
			if backwards {
				i = len(picked) - 1 - i
			}
			picked[i] = '-'
			if _, ok := set.pick(request{endpoint: EndpointOrder, outTradeNo: fmt.Sprint("T-", i)}, time.Now()); ok {
				picked[i] = 'x'
			}
		}
		return string(picked)
	}
	one := picks(1, false)
	if one != picks(1, true) {
		t.Error("the order of the calls made a difference")
	}
	if one == picks(2, false) {
		t.Error("the seed made no difference")
	}
	if n := strings.Count(one, "x"); n < 500 || n > 700 {
		t.Errorf("picked %d of 2000, want about 600", n)
	}

	set, n := newRuleSet(rules, 1, time.Now()), 0
	for range 2000 {
		if _, ok := set.pick(request{endpoint: EndpointOrder, outTradeNo: "T"}, time.Now()); ok {
			n++
		}
	}
	if n < 500 || n > 700 {
		t.Errorf("picked one outTradeNo %d of 2000 times, want about 600", n)
	}
}

func TestConfigValidateNamesEveryFault(t *testing.T) {
	err := Config{
		MaxAge: -1, Rate: -2, ThrottleCode: "200", RetryAfter: -3, Latency: -4, Jitter: -5, RefuseRepeats: "200",
		LookupLag: -6, LookupShape: "list", LookupWithoutState: "none", ThrottleAs: "tcp", LookupMode: LookupMode{Omit: "x", Packages: -7},
		Rules: []Rule{
			{Action: Action{Kind: Reset}},
			{Action: Action{Kind: "explode"}},
			{Endpoint: "x", Probability: 2, First: -1, After: -1, For: -1, State: "9", BuyState: "8", Action: Action{Kind: Hang, Wait: -1}},
			{Endpoint: EndpointLookup, PackageCode: "[", Buy: true, Action: Action{Kind: Reset, Status: 500}},
		},
	}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"AppKey is required", "Secret is required", "MaxAge (-1ns)", "Rate (-2)", "ThrottleCode", "RetryAfter (-3ns)", "Latency (-4ns)",
		"Jitter (-5ns)", "RefuseRepeats", "LookupLag (-6ns)", `LookupShape ("list")`,
		`LookupWithoutState ("none")`, `ThrottleAs ("tcp")`, "omit=x:", "packages=-7:", "state=9: only a lookup", "state=9: must be 0", "BuyState (8): only with Buy", "buy=8: must be 0",
		`rule 2 (always: explode): action "explode"`, "endpoint=x:", "p=2:", "first=-1:", "after=-1ns:", "for=-1ns:", "hang=-1ns:",
		"packageCode=[: a lookup has", "packageCode=[: not a pattern", "buy: nothing", "status=500: reset has no such argument",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "rule 1") {
		t.Errorf("the error names the rule that is right:\n%v", err)
	}
}

func TestNewPanicsAndSetRulesRefuses(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.rules("always: refuse code=1")
	if err := r.vendor.SetRules([]Rule{{Action: Action{Kind: Delay}}}); err == nil {
		t.Error("SetRules took a delay without a time")
	}
	r.wantCode(r.send(anOrder("T-1")), "1")
	defer func() {
		if recover() == nil {
			t.Error("New took settings without an AppKey")
		}
	}()
	New(Config{})
}
