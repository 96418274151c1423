package worker_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"orderworker/upstream"
	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// Why an order stays in doubt: what its log line says.
const (
	whyBlind    = "control number CONTROL is not shown, although it was bought"
	whyExists   = "the vendor has sold it, but the lookup does not say by which orderNumber"
	whyClaimed  = "the vendor said that it exists, but the lookup does not show it"
	whyStranger = "the answer has rows of orders that were not asked for"
	whyMore     = "the answer has more rows than it shows"
	whyList     = `an answer has an empty list`
	whyRefused  = "refused: code 1004"
)

// ambiguousEnds lists orders whose first request ends without a clear answer. The number is
// the packageCode too. Before them the order CONTROL is bought without trouble.
var ambiguousEnds = []struct {
	no     string
	rule   string // of the vendor
	bought bool   // by that call
}{
	{"FAILED-BOUGHT", "first=1 buy: refuse code=500", true},
	{"FAILED", "first=1: refuse code=500", false},
	{"HANGS-BOUGHT", "first=1 buy: hang", true},
	{"HANGS", "first=1: hang", false},
	{"EXISTS-BOUGHT", "first=1 buy: refuse code=503016", true},
	{"EXISTS", "first=1: refuse code=503016", false}, // a lie: it never existed, and nobody can know
	{"ADD-ON", "first=1 buy=0: hang", true},
	{"REFUNDED", "first=1 buy=2: hang", true},
}

// lookupMode is how the vendor's lookup behaves, and what becomes of the orders.
type lookupMode struct {
	vendor sandbox.Config
	rule   string  // of the vendor, for lookups
	states []int64 // that are asked; nil: 1, 0, 2
	heals  bool

	bought  string   // why the orders that were bought stay in doubt; "": they are found
	missing string   // why those that were not stay in doubt; "": they are sent again
	blind   bool     // orderworker_lookup_blind is 1 in the end
	found   []string // bought, and found all the same
	hidden  string   // bought, and to be taken for one of the missing
}

var lookupModes = map[string]lookupMode{
	"honest":                            {},
	"an object":                         {vendor: sandbox.Config{LookupShape: sandbox.ShapeObject}},
	"no state would mean 0":             {vendor: sandbox.Config{LookupWithoutState: sandbox.StateZero}},
	"no state would be refused":         {vendor: sandbox.Config{LookupWithoutState: sandbox.StateError}},
	"no state is asked, it means all":   {states: []int64{}},
	"no state is asked, it means 0":     {states: []int64{}, vendor: sandbox.Config{LookupWithoutState: sandbox.StateZero}, bought: whyBlind, missing: whyBlind, blind: true, found: []string{"ADD-ON"}},
	"no state is asked, it is refused":  {states: []int64{}, vendor: sandbox.Config{LookupWithoutState: sandbox.StateError}, bought: whyRefused, missing: whyRefused},
	"one state is not asked":            {states: []int64{0, 2}, bought: whyBlind, missing: whyBlind, blind: true, found: []string{"ADD-ON", "REFUNDED"}},
	"blind":                             {vendor: mode("hide=*"), bought: whyBlind, missing: whyBlind, blind: true},
	"blind for a while":                 {vendor: mode("hide=*"), heals: true},
	"blind in the control's state":      {rule: "endpoint=lookup state=1: rows hide=*", bought: whyBlind, missing: whyBlind, blind: true, found: []string{"ADD-ON", "REFUNDED"}},
	"away for a while":                  {rule: "endpoint=lookup first=2: status=503"},
	"rows without outTradeNo":           {vendor: mode("omit=outTradeNo"), bought: whyExists},
	"rows of packages":                  {vendor: mode("packages=3")},
	"rows of packages without numbers":  {vendor: mode("packages=2 omit=outTradeNo"), bought: whyExists},
	"rows without orderNumber":          {vendor: mode("omit=orderNumber"), bought: whyExists},
	"rows without anything":             {vendor: mode("omit=outTradeNo,orderNumber"), bought: whyExists, missing: whyExists, blind: true},
	"rows of others":                    {vendor: mode("strangers=2"), missing: whyStranger},
	"pages never end":                   {vendor: mode("full"), missing: whyStranger},
	"the counter is too high":           {vendor: mode("miscount=1"), missing: whyMore},
	"the counter is far too high":       {vendor: mode("miscount=1000000000"), missing: whyMore},
	"the counter is too low":            {vendor: mode("miscount=-1")},
	"an empty list of something else":   {vendor: mode("list=cards hide=*"), bought: whyBlind, missing: whyBlind, blind: true},
	"a list of something, in one state": {rule: "endpoint=lookup state=0: rows list=cards hide=*", missing: whyList, hidden: "ADD-ON"},
}

// mode is a vendor whose lookup has a mode.
func mode(text string) sandbox.Config {
	m, err := sandbox.ParseLookupMode(text)
	if err != nil {
		panic(err)
	}
	return sandbox.Config{LookupMode: m}
}

// Whatever the vendor's lookup hides or makes up, no order is bought twice, and
// each has its final result or stays in doubt for a reason that its log line states.
func TestLookupModes(t *testing.T) {
	t.Parallel()
	atOnce := make(chan struct{}, 8)
	for name, m := range lookupModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			m.run(t)
		})
	}
}

func (m lookupMode) run(t *testing.T) {
	var rules []string
	for _, e := range ambiguousEnds {
		rules = append(rules, "packageCode="+e.no+" "+e.rule)
	}
	if m.rule != "" {
		rules = append(rules, m.rule)
	}
	w := newWorldOf(t, m.vendor, rules...)
	w.rules.ReconcileDelay = 500 * time.Millisecond
	if m.states != nil {
		w.rules.LookupStates = m.states
	}
	w.start()
	w.publish(request("CONTROL", "CONTROL"))
	w.idle()
	sold := time.Now()
	w.until("the control is old enough", time.Minute, func() bool { return time.Since(sold) > w.rules.ReconcileDelay })
	for _, e := range ambiguousEnds {
		w.publish(request(e.no, e.no))
	}
	if m.heals {
		for _, e := range ambiguousEnds {
			w.untilInDoubt(e.no, whyBlind)
		}
		w.wantBlind(true)
		if err := w.vendor.SetLookupMode(sandbox.LookupMode{}); err != nil {
			t.Fatal(err)
		}
	}

	stay := map[string]string{} // why, by number
	for _, e := range ambiguousEnds {
		why := m.missing
		switch {
		case slices.Contains(m.found, e.no):
			why = ""
		case e.no == m.hidden: // as those that were not bought
		case e.bought:
			why = m.bought
		case e.no == "EXISTS":
			why = cmp.Or(m.missing, whyClaimed)
		}
		if why != "" {
			stay[e.no] = why
		}
	}
	w.until("the others are settled", 2*time.Minute, func() bool { return w.count("ORDERS") <= uint64(len(stay)) })
	for _, no := range slices.Sorted(maps.Keys(stay)) {
		w.untilInDoubt(no, stay[no])
	}
	w.wantBlind(m.blind)
	w.wantEnds(stay)
}

// untilInDoubt waits until an order in doubt has been asked about when "not
// found" would have been proof, twice, and has stayed in doubt for that reason.
func (w *world) untilInDoubt(no, why string) {
	w.t.Helper()
	proof := w.rules.ReconcileDelay/2 + w.rules.UpstreamTimeout + w.rules.ReconcileDelay
	w.until(no+" stays in doubt: "+why, 2*time.Minute, func() bool {
		lines := w.log.doubts(no)
		late := 0
		for _, line := range lines {
			if line.at.Sub(lines[0].at) > proof && strings.Contains(line.Error, why) {
				late++
			}
		}
		return late >= 2
	})
}

func (w *world) wantBlind(want bool) {
	w.t.Helper()
	w.until(fmt.Sprintf("orderworker_lookup_blind is %v", want), time.Minute, func() bool {
		return (w.metric("orderworker_lookup_blind", "") == 1) == want
	})
}

// wantEnds checks that no order was bought twice, that those in stay are in
// doubt and were sent once, and that the others have true final results.
func (w *world) wantEnds(stay map[string]string) {
	w.t.Helper()
	results := map[string]worker.Result{}
	for _, r := range w.results() {
		if r.Status != worker.InDoubt {
			results[r.OutTradeNo] = r
		}
	}
	calls := 1 // the control's
	for _, e := range ambiguousEnds {
		r, final := results[e.no]
		bought := w.vendor.Purchases(e.no)
		calls++
		switch _, stays := stay[e.no]; {
		case stays:
			if final || (len(bought) == 1) != e.bought || len(bought) > 1 {
				w.t.Errorf("%s: %+v, bought %d times, want it in doubt and not sent again", e.no, r, len(bought))
			}
		case len(bought) != 1 || r.Status != worker.Succeeded || r.OrderNumber != bought[0].OrderNumber || r.Reconciled != e.bought:
			w.t.Errorf("%s: %+v, bought %d times, want the one purchase", e.no, r, len(bought))
		case !e.bought:
			calls++
		}
	}
	if got := w.calls(); got != calls {
		w.t.Errorf("%d calls to buy, want %d: nothing in doubt is sent again", got, calls)
	}
	w.until("the orders in doubt are counted", time.Minute, func() bool { return int(w.metric("orderworker_in_doubt", "")) == len(stay) })
}

// An order that the vendor sold twice is reported, and ends by one of the two.
func TestDoublePurchaseIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "packageCode=P first=1 buy: hang")
	client, err := upstream.NewClient(upstream.Config{BaseURL: w.url, AppKey: appkey, Secret: secret, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	line, err := client.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	first, err := line.Place(t.Context(), upstream.Order{OutTradeNo: "A", ICCID: "8988308650100524999", PackageCode: "ELSEWHERE"}, time.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	w.publish(request("A", "P"))
	w.idle()
	bought := w.vendor.Purchases("A")
	if r := w.one(); len(bought) != 2 || w.calls() != 2 || r.Status != worker.Succeeded || !r.Reconciled {
		t.Errorf("%+v, bought %d times by %d calls", r, len(bought), w.calls())
	}
	if n := w.metric("orderworker_double_purchases_total", ""); n != 1 {
		t.Errorf("%v double purchases are counted, want 1", n)
	}
	lines := w.log.find(func(l logLine) bool { return l.Level == "error" && strings.HasPrefix(l.Message, "double purchase") })
	if len(lines) != 1 || !strings.Contains(lines[0].text, first.OrderNumber) || !strings.Contains(lines[0].text, bought[1].OrderNumber) {
		t.Errorf("error lines: %+v, want one with both orderNumbers", lines)
	}
}
