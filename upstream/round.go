package upstream

import (
	"fmt"
	"maps"
	"slices"
)

// Control is an order that the vendor itself said was bought, long enough ago for
// every lookup to show it. A lookup that does not show it was not understood, by
// the vendor or by us. The zero Control means that there is none.
type Control struct {
	OutTradeNo  string
	OrderNumber string
}

// Round makes the lookups about a batch of orders: one in each state, until every
// order was found. It is pure: Next returns the lookup to make, and Add takes its
// answer.
//
// The state of a lookup is a filter, so one answer without an order proves nothing.
// An order is missing only if every state was asked, every answer was complete, and
// the control number was in one of them.
//
// Source: contract, section 7, "Lookup".
type Round struct {
	control Control
	orders  map[string]*evidence
	pending []query // to be asked, the next one first
	current query   // asked last
	single  bool    // rows have no outTradeNo: ask about one order at a time

	controlSeen bool            // the control number was in an answer
	controlList string          // the name of the list that had it
	emptyLists  map[string]bool // the names of the lists that were empty
	strange     string          // why an answer shows that its lookup was not understood
}

// query is one lookup: some of the orders, in one state.
type query struct {
	numbers []string
	state   *int64
}

// evidence is what the answers so far say about one order.
type evidence struct {
	sold        []Purchase // one per orderNumber
	exists      bool       // a row is or may be its own, but has no valid orderNumber, or no outTradeNo
	controlSeen bool       // the control number was in an answer about it
	partial     bool       // an answer about it was not complete
}

// NewRound returns a round about numbers, at most MaxNumbers, or one less with a
// control. It asks in each of states; no states means one lookup without a state.
func NewRound(numbers []string, control Control, states []int64) *Round {
	r := &Round{control: control, orders: make(map[string]*evidence, len(numbers)), emptyLists: make(map[string]bool)}
	for _, no := range numbers {
		r.orders[no] = &evidence{}
	}
	if len(states) == 0 {
		r.pending = []query{{numbers, nil}}
	}
	for _, state := range states {
		r.pending = append(r.pending, query{numbers, &state})
	}
	return r
}

// Next returns the next lookup of the round; false: the round is over.
func (r *Round) Next() (Question, bool) {
	for len(r.pending) > 0 {
		r.current, r.pending = r.pending[0], r.pending[1:]
		r.current.numbers = slices.DeleteFunc(slices.Clone(r.current.numbers), func(no string) bool { return len(r.orders[no].sold) > 0 })
		switch n := len(r.current.numbers); {
		case n == 0:
			continue
		case n > 1 && r.single:
			r.split(1)
			continue
		}
		numbers := r.current.numbers
		if r.control != (Control{}) {
			numbers = append(slices.Clone(numbers), r.control.OutTradeNo)
		}
		return Question{Numbers: numbers, State: r.current.state}, true
	}
	return Question{}, false
}

// split repeats the current query in groups of at most n orders.
func (r *Round) split(n int) {
	var groups []query
	for group := range slices.Chunk(r.current.numbers, n) {
		groups = append(groups, query{group, r.current.state})
	}
	r.pending = append(groups, r.pending...)
}

// Add takes the answer to the lookup that Next returned last.
func (r *Round) Add(p Page) {
	n := len(r.current.numbers)
	unnamed, controlSeen := r.assign(p)
	switch {
	case unnamed && n > 1:
		r.single = true
		r.split(1)
		return
	case len(p.Rows) >= MaxNumbers && n > 1:
		r.split((n + 1) / 2)
		return
	case unnamed: // exists, but is not found: the row may be a second purchase of the control
		r.orders[r.current.numbers[0]].exists = true
	}
	if len(p.Rows) == 0 && p.List != "" {
		r.emptyLists[p.List] = true
	}
	for _, no := range r.current.numbers {
		e := r.orders[no]
		e.controlSeen = e.controlSeen || controlSeen
		e.partial = e.partial || p.More
	}
}

// assign adds each row to the order that it names. It reports whether a row names
// no order, and whether a row is the control's.
func (r *Round) assign(p Page) (unnamed, controlSeen bool) {
	for _, row := range p.Rows {
		e := r.orders[row.OutTradeNo]
		switch {
		case r.control != (Control{}) && row.isOf(r.control):
			r.controlSeen, r.controlList, controlSeen = true, p.List, true
		case e != nil && slices.Contains(r.current.numbers, row.OutTradeNo):
			e.add(row.Purchase)
		case row.OutTradeNo == "":
			unnamed = true
		default:
			r.strange = "the answer has rows of orders that were not asked for"
		}
	}
	return unnamed, controlSeen
}

// maxSold is how many purchases of one order are told apart.
const maxSold = 10

// add adds a purchase, once for each orderNumber.
func (e *evidence) add(p Purchase) {
	same := func(other Purchase) bool { return other.OrderNumber == p.OrderNumber }
	if p.OrderNumber == "" {
		e.exists = true
	} else if len(e.sold) < maxSold && !slices.ContainsFunc(e.sold, same) {
		e.sold = append(e.sold, p)
	}
}

// isOf reports whether the row is the control's.
func (w Row) isOf(c Control) bool {
	return w.OutTradeNo == c.OutTradeNo || w.OutTradeNo == "" && c.OrderNumber != "" && w.OrderNumber == c.OrderNumber
}

// Findings is what a round found out about its orders, by outTradeNo.
type Findings struct {
	Found   map[string]Purchase // bought
	Exists  map[string]bool     // bought, but the orderNumber is not known
	Missing map[string]bool     // the vendor does not know the order
	Double  map[string][]string // the orderNumbers of an order that was bought more than once
	Seen    bool                // the control number was found
	Blind   bool                // the control number was asked for, and not found
	Why     string              // why nothing is known of the orders in no map; "" if the round was cut short
}

// Findings returns what all answers prove together. Whole says that no lookup of
// the round failed. If one did, what was found before is still found, and no order
// is missing.
func (r *Round) Findings(whole bool) Findings {
	f := Findings{Seen: r.controlSeen, Found: map[string]Purchase{}, Exists: map[string]bool{}, Missing: map[string]bool{}, Double: map[string][]string{}}
	var absent []string // in no answer
	for no, e := range r.orders {
		switch {
		case len(e.sold) > 0:
			f.addSold(no, e.sold)
		case e.exists:
			f.Exists[no] = true
		default:
			absent = append(absent, no)
		}
	}
	everyState := len(f.Found) < len(r.orders) // an order that was not found was asked for in every state
	f.Blind = whole && everyState && r.control != (Control{}) && !r.controlSeen
	if whole && len(absent) > 0 {
		r.addMissing(&f, absent)
	}
	return f
}

func (f *Findings) addSold(no string, sold []Purchase) {
	f.Found[no] = sold[0]
	if len(sold) > 1 {
		for _, p := range sold {
			f.Double[no] = append(f.Double[no], p.OrderNumber)
		}
	}
}

// addMissing adds those of the absent orders that the vendor does not know, or why
// that is not proven.
func (r *Round) addMissing(f *Findings, absent []string) {
	if f.Why = r.unproven(); f.Why != "" {
		return
	}
	for _, no := range absent {
		switch e := r.orders[no]; {
		case !e.controlSeen:
			f.Why = "the answers about it do not show the control number"
		case e.partial:
			f.Why = "the answer has more rows than it shows"
		default:
			f.Missing[no] = true
		}
	}
}

// unproven returns why the answers prove of no order that it is missing; "" if they
// can.
func (r *Round) unproven() string {
	switch {
	case r.control == (Control{}):
		return "no control number yet: no purchase that the vendor confirmed is old enough"
	case !r.controlSeen:
		return fmt.Sprintf("control number %s is not shown, although it was bought", r.control.OutTradeNo)
	case r.strange != "":
		return r.strange
	}
	for _, name := range slices.Sorted(maps.Keys(r.emptyLists)) {
		if name != r.controlList {
			return fmt.Sprintf("an answer has an empty list %q in place of %q", name, r.controlList)
		}
	}
	return ""
}
