package demo

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"orderworker/upstream/sandbox"
)

// The report has to be able to say no.
func TestReportSeesBrokenPromises(t *testing.T) {
	plan := &orderPlan{orders: map[string]orderKind{"A": kindPlain}}
	book := sandbox.Book{
		Totals:        sandbox.Totals{PeakPerSecond: rate + 1},
		Purchases:     []sandbox.Purchase{{OutTradeNo: "A"}, {OutTradeNo: "A"}},
		PerOutTradeNo: map[string]int{"A": 2}, Doubles: []string{"A"},
	}
	r := newReport(plan, observed{requestsLeft: 1}, book, time.Second)
	var out bytes.Buffer
	r.print(&out)
	if r.kept() {
		t.Errorf("kept, with this report:\n%s", out.String())
	}
	for _, want := range []string{"BROKEN  never buy twice: A was bought 2 times", "BROKEN  never lose an order: A has no result", "BROKEN  never exceed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}

func TestCrashCountsTheOrdersOfTheSilentWorker(t *testing.T) {
	before := claims{"dead": {"dead-1", "dead-2"}, "live": {"live-7"}}
	for name, c := range map[string]struct {
		now    claims
		late   bool
		known  bool
		inHand int
	}{
		"nothing changed":           {before, false, false, 0},
		"the other claimed":         {claims{"dead": {"dead-1", "dead-2"}, "live": {"live-7", "live-8"}}, false, true, 2},
		"the other ended all":       {claims{"dead": {"dead-1", "dead-2"}}, false, true, 2},
		"both changed":              {claims{"dead": {"dead-1"}, "live": {"live-8"}}, false, false, 0},
		"leases may have ended too": {claims{"dead": {"dead-1", "dead-2"}, "live": {"live-8"}}, true, true, 0},
	} {
		got := crash{before: before}
		got.count(c.now, c.late)
		if got.known != c.known || got.inHand != c.inHand {
			t.Errorf("%s: known %v, %d orders, want %v, %d", name, got.known, got.inHand, c.known, c.inHand)
		}
	}
}
