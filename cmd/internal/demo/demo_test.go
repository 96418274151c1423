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
