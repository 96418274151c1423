package upstream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// seller is the lookup of a vendor: what it has sold, by state, and what is wrong with
// its answers.
type seller struct {
	rows     map[int64][]Row // by state
	spoil    func(q Question, p *Page)
	asked    []string // each question: state and numbers
	anyState bool     // without a state it answers with all
}

// answer returns the rows of the numbers that q asks for, after spoil.
func (s *seller) answer(q Question) Page {
	var p Page
	state := "-"
	for _, have := range slices.Sorted(maps.Keys(s.rows)) {
		if q.State == nil && !s.anyState || q.State != nil && *q.State != have {
			continue
		}
		for _, r := range s.rows[have] {
			if slices.Contains(q.Numbers, r.OutTradeNo) {
				p.Rows = append(p.Rows, r)
			}
		}
	}
	if q.State != nil {
		state = fmt.Sprint(*q.State)
	}
	sorted := slices.Sorted(slices.Values(q.Numbers))
	s.asked = append(s.asked, state+"?"+strings.Join(sorted, ","))
	p.More = len(p.Rows) >= MaxNumbers
	p.Rows = p.Rows[:min(len(p.Rows), MaxNumbers)]
	if s.spoil != nil {
		s.spoil(q, &p)
	}
	return p
}

func rowOf(no, number string) Row { return Row{no, Purchase{OrderNumber: number, Code: "200"}} }

// nameless removes the outTradeNo from all rows.
func nameless(_ Question, p *Page) {
	for i := range p.Rows {
		p.Rows[i].OutTradeNo = ""
	}
}

// spell returns the findings of a round as one line.
func spell(f Findings) string {
	var b strings.Builder
	for _, no := range slices.Sorted(maps.Keys(f.Found)) {
		fmt.Fprintf(&b, "found %s=%s ", no, f.Found[no].OrderNumber)
	}
	for _, no := range slices.Sorted(maps.Keys(f.Exists)) {
		fmt.Fprintf(&b, "exists %s ", no)
	}
	for _, no := range slices.Sorted(maps.Keys(f.Missing)) {
		fmt.Fprintf(&b, "missing %s ", no)
	}
	for _, no := range slices.Sorted(maps.Keys(f.Double)) {
		fmt.Fprintf(&b, "double %s:%s ", no, strings.Join(f.Double[no], "+"))
	}
	if f.Blind {
		b.WriteString("blind ")
	}
	return strings.TrimSpace(b.String())
}

func TestRound(t *testing.T) {
	control := Control{OutTradeNo: "ctl", OrderNumber: "C1"}
	ctl := rowOf("ctl", "C1")
	usual := []int64{1, 0, 2}
	states := func(in1, in0, in2 []Row) map[int64][]Row { return map[int64][]Row{1: in1, 0: in0, 2: in2} }
	for name, c := range map[string]struct {
		seller    seller
		noControl bool
		states    []int64
		want      string
		asked     string // the questions, where they are the point
	}{
		"not bought, twice over": {seller{rows: states([]Row{ctl}, nil, nil)}, false, usual, "missing a missing b",
			"1?a,b,ctl 0?a,b,ctl 2?a,b,ctl"},
		"one found, one not":           {seller{rows: states([]Row{ctl, rowOf("a", "A1")}, nil, nil)}, false, usual, "found a=A1 missing b", "1?a,b,ctl 0?b,ctl 2?b,ctl"},
		"all found at once":            {seller{rows: states([]Row{rowOf("a", "A1"), rowOf("b", "B1")}, nil, nil)}, false, usual, "found a=A1 found b=B1", "1?a,b,ctl"},
		"found in the last state":      {seller{rows: states([]Row{ctl}, nil, []Row{rowOf("a", "A1")})}, false, usual, "found a=A1 missing b", ""},
		"without a control":            {seller{rows: states(nil, nil, nil)}, true, usual, "", "1?a,b 0?a,b 2?a,b"},
		"found without a control":      {seller{rows: states([]Row{rowOf("a", "A1")}, nil, nil)}, true, usual, "found a=A1", ""},
		"a blind lookup":               {seller{rows: states(nil, nil, nil)}, false, usual, "blind", ""},
		"the control in another state": {seller{rows: states(nil, nil, []Row{ctl})}, false, usual, "missing a missing b", ""},
		"a state that is not asked":    {seller{rows: states([]Row{ctl}, nil, nil)}, false, []int64{0, 2}, "blind", ""},
		"without state, all":           {seller{rows: states([]Row{ctl, rowOf("a", "A1")}, nil, nil), anyState: true}, false, nil, "found a=A1 missing b", "-?a,b,ctl"},
		"without state, none":          {seller{rows: states([]Row{ctl, rowOf("a", "A1")}, nil, nil)}, false, nil, "blind", ""},

		"rows per package": {seller{rows: states([]Row{ctl, rowOf("a", "A1"), rowOf("a", "A1")}, nil, nil)}, false, usual, "found a=A1 missing b", ""},
		"a double purchase": {seller{rows: states([]Row{ctl, rowOf("a", "A1"), rowOf("a", "A1"), rowOf("a", "A2")}, nil, nil)}, false, usual,
			"found a=A1 missing b double a:A1+A2", ""},
		"no valid orderNumber":        {seller{rows: states([]Row{ctl, rowOf("a", "")}, nil, nil)}, false, usual, "exists a missing b", ""},
		"and then a valid one":        {seller{rows: states([]Row{ctl, rowOf("a", ""), rowOf("a", "A1")}, nil, nil)}, false, usual, "found a=A1 missing b", ""},
		"rows without outTradeNo":     {seller{rows: states([]Row{ctl, rowOf("a", "A1")}, nil, nil), spoil: nameless}, false, usual, "exists a missing b", "1?a,b,ctl 1?a,ctl 1?b,ctl 0?a,ctl 0?b,ctl 2?a,ctl 2?b,ctl"},
		"two rows that name no order": {seller{rows: states([]Row{ctl, rowOf("a", "A1"), rowOf("a", "A2")}, nil, nil), spoil: nameless}, false, usual, "exists a missing b", ""},
		"nameless without a control":  {seller{rows: states([]Row{rowOf("a", "A1")}, nil, nil), spoil: nameless}, true, usual, "exists a", ""},
		"nameless, control elsewhere": {seller{rows: states([]Row{rowOf("a", "A1")}, nil, []Row{ctl}), spoil: nameless}, false, usual, "exists a missing b", ""},
		"asked alone, the control shown to another only": {seller{rows: states([]Row{ctl, rowOf("a", "A1")}, nil, nil), spoil: func(q Question, p *Page) {
			nameless(q, p)
			if len(q.Numbers) == 2 && slices.Contains(q.Numbers, "b") {
				p.Rows = nil
			}
		}}, false, usual, "exists a", ""},
		"the control bought twice": {seller{rows: states([]Row{ctl, rowOf("ctl", "C2")}, nil, nil), spoil: nameless}, false, usual, "exists a exists b", ""},

		"nameless, and no row is the control's": {seller{rows: states([]Row{rowOf("a", "A1"), rowOf("b", "B1")}, nil, nil), spoil: nameless}, false, usual,
			"exists a exists b blind", ""},

		"rows of others": {seller{rows: states([]Row{ctl}, nil, nil), spoil: func(_ Question, p *Page) { p.Rows = append(p.Rows, rowOf("x", "X1")) }},
			false, usual, "", ""},
		"a counter that says more": {seller{rows: states([]Row{ctl}, nil, nil), spoil: func(_ Question, p *Page) { p.More = true }},
			false, usual, "", "1?a,b,ctl 0?a,b,ctl 2?a,b,ctl"},
		"an empty list of something else": {seller{rows: states([]Row{ctl}, nil, nil), spoil: func(_ Question, p *Page) {
			p.List = "list"
			if len(p.Rows) == 0 {
				p.List = "warnings"
			}
		}}, false, usual, "", ""},
		"an empty list of the same": {seller{rows: states([]Row{ctl}, nil, nil), spoil: func(_ Question, p *Page) { p.List = "list" }},
			false, usual, "missing a missing b", ""},
		"pages that never end": {seller{rows: states([]Row{ctl}, nil, nil), spoil: func(_ Question, p *Page) {
			p.Rows, p.More = slices.Repeat([]Row{ctl}, MaxNumbers), true
		}}, false, usual, "", "1?a,b,ctl 1?a,ctl 1?b,ctl 0?a,b,ctl 0?a,ctl 0?b,ctl 2?a,b,ctl 2?a,ctl 2?b,ctl"},
	} {
		t.Run(name, func(t *testing.T) {
			ctl := control
			if c.noControl {
				ctl = Control{}
			}
			r := NewRound([]string{"a", "b"}, ctl, c.states)
			for q, more := r.Next(); more; q, more = r.Next() {
				r.Add(c.seller.answer(q))
			}
			f := r.Findings(true)
			if got := spell(f); got != c.want {
				t.Errorf("found %q (%s), want %q", got, f.Why, c.want)
			}
			if proven := len(f.Found) + len(f.Exists) + len(f.Missing); proven < 2 && f.Why == "" {
				t.Error("it does not say why nothing is known of an order")
			}
			if got := strings.Join(c.seller.asked, " "); c.asked != "" && got != c.asked {
				t.Errorf("asked %q, want %q", got, c.asked)
			}
		})
	}
}

// After a full page, its numbers are asked again in halves: an order may be missing
// because the page had no room for it.
func TestRoundSplitsAFullPage(t *testing.T) {
	control := Control{OutTradeNo: "ctl", OrderNumber: "C1"}
	rows := []Row{rowOf("ctl", "C1")}
	var numbers []string
	for i := range MaxNumbers - 1 {
		no := fmt.Sprintf("no-%02d", i)
		numbers = append(numbers, no)
		if i%2 == 0 { // three packages each: 75 rows, a page and a half
			rows = append(rows, rowOf(no, "N"+no), rowOf(no, "N"+no), rowOf(no, "N"+no))
		}
	}
	s := seller{rows: map[int64][]Row{1: rows}}
	r := NewRound(numbers, control, []int64{1, 0, 2})
	for q, more := r.Next(); more; q, more = r.Next() {
		r.Add(s.answer(q))
	}
	f := r.Findings(true)
	if len(f.Found) != 25 || len(f.Missing) != 24 || f.Why != "" {
		t.Errorf("%d found, %d missing (%s), want 25 and 24", len(f.Found), len(f.Missing), f.Why)
	}
}

// What was found before a lookup failed stays found, and nothing else is known.
func TestRoundCutShort(t *testing.T) {
	s := seller{rows: map[int64][]Row{1: {rowOf("a", "A1"), rowOf("ctl", "C1")}}}
	r := NewRound([]string{"a", "b"}, Control{"ctl", "C1"}, []int64{1, 0, 2})
	q, _ := r.Next()
	r.Add(s.answer(q))
	if got := spell(r.Findings(false)); got != "found a=A1" {
		t.Errorf("found %q, want a alone", got)
	}
}
