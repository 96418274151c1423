package upstream

import (
	"fmt"
	"maps"
	"slices"
)

// Control is an order of which the vendor itself said that it was bought, long
// enough ago to show in any lookup. A lookup that does not show it was not
// understood, by the vendor or by us. The zero Control is none.
type Control struct {
	OutTradeNo  string
	OrderNumber string
}

// Round asks about some orders in every state: one lookup each, until each order
// was found. It is pure: Next says what to ask, and Add takes the answer.
//
// A lookup's state is a filter, so one answer without an order proves nothing.
// "Not found" is a conclusion only where every state was asked, every answer was
// whole, and the control number was in one of them.
//
// Source: contract, section 7, "Lookup".
type Round struct {
	control Control
	orders  map[string]*sought
	tasks   []task // to be asked, the next one first
	asked   task
	alone   bool // rows have no outTradeNo: one order is asked for at a time

	seen     bool   // the control number was in an answer
	seenList string // and in which list
	lists    map[string]bool
	strange  string // an answer that shows that the question was not understood
}

// task is one question: some of the orders, in one state.
type task struct {
	numbers []string
	state   *int64
}

// sought is what is known of one order.
type sought struct {
	sold    []Purchase // by orderNumber, each once
	exists  bool       // a row that is not known to be another's, and has no valid orderNumber or no outTradeNo
	seen    bool       // the control number was in an answer about it
	partial bool       // an answer about it was not whole
}

// NewRound returns a round about numbers (at most MaxNumbers, or one less with a
// control), in each of states; no states means one lookup without the parameter.
func NewRound(numbers []string, control Control, states []int64) *Round {
	r := &Round{control: control, orders: make(map[string]*sought, len(numbers)), lists: make(map[string]bool)}
	for _, no := range numbers {
		r.orders[no] = &sought{}
	}
	if len(states) == 0 {
		r.tasks = []task{{numbers, nil}}
	}
	for _, state := range states {
		r.tasks = append(r.tasks, task{numbers, &state})
	}
	return r
}

// Next returns the next lookup of the round; false: there is none.
func (r *Round) Next() (Question, bool) {
	for len(r.tasks) > 0 {
		r.asked, r.tasks = r.tasks[0], r.tasks[1:]
		r.asked.numbers = slices.DeleteFunc(slices.Clone(r.asked.numbers), func(no string) bool { return len(r.orders[no].sold) > 0 })
		switch n := len(r.asked.numbers); {
		case n == 0:
			continue
		case n > 1 && r.alone:
			r.split(1)
			continue
		}
		numbers := r.asked.numbers
		if r.control != (Control{}) {
			numbers = append(slices.Clone(numbers), r.control.OutTradeNo)
		}
		return Question{Numbers: numbers, State: r.asked.state}, true
	}
	return Question{}, false
}

// split asks again what was asked last, in groups of at most n orders.
func (r *Round) split(n int) {
	var groups []task
	for group := range slices.Chunk(r.asked.numbers, n) {
		groups = append(groups, task{group, r.asked.state})
	}
	r.tasks = append(groups, r.tasks...)
}

// Add takes the answer to the lookup that Next returned last.
func (r *Round) Add(p Page) {
	n := len(r.asked.numbers)
	loose, seen := r.sort(p)
	switch {
	case len(loose) > 0 && n > 1:
		r.alone = true
		r.split(1)
		return
	case len(p.Rows) >= MaxNumbers && n > 1:
		r.split((n + 1) / 2)
		return
	case len(loose) > 0: // not found: the row may be of a second purchase of the control
		r.orders[r.asked.numbers[0]].exists = true
	}
	if len(p.Rows) == 0 && p.List != "" {
		r.lists[p.List] = true
	}
	for _, no := range r.asked.numbers {
		order := r.orders[no]
		order.seen = order.seen || seen
		order.partial = order.partial || p.More
	}
}

// maxSold is how many purchases of one order are told apart.
const maxSold = 10

// sort gives each row to the order that it names, and returns those that name
// none, and whether the control's was there.
func (r *Round) sort(p Page) (loose []Row, seen bool) {
	list := func(p Purchase, s *sought) {
		if p.OrderNumber == "" {
			s.exists = true
		} else if len(s.sold) < maxSold && !slices.ContainsFunc(s.sold, func(o Purchase) bool { return o.OrderNumber == p.OrderNumber }) {
			s.sold = append(s.sold, p)
		}
	}
	for _, row := range p.Rows {
		order := r.orders[row.OutTradeNo]
		switch {
		case r.control != (Control{}) && row.isOf(r.control):
			r.seen, r.seenList, seen = true, p.List, true
		case order != nil && slices.Contains(r.asked.numbers, row.OutTradeNo):
			list(row.Purchase, order)
		case row.OutTradeNo == "":
			loose = append(loose, row)
		default:
			r.strange = "the answer has rows of orders that were not asked for"
		}
	}
	return loose, seen
}

// isOf says whether the row is the control's.
func (w Row) isOf(c Control) bool {
	return w.OutTradeNo == c.OutTradeNo || w.OutTradeNo == "" && c.OrderNumber != "" && w.OrderNumber == c.OrderNumber
}

// Findings is what a round came to.
type Findings struct {
	Found   map[string]Purchase // bought, by outTradeNo
	Exists  map[string]bool     // bought, but by which orderNumber is not known
	Missing map[string]bool     // the vendor has no such order
	Double  map[string][]string // the orderNumbers of one that was bought more than once
	Seen    bool                // the control number was found
	Blind   bool                // the control number was asked for, and not found
	Why     string              // why an order that is in none of these is not; "" where the round was cut short
}

// Findings returns what the answers prove, together; whole says that the round
// was not cut short by a lookup that failed. What was found stays found in a
// round that was.
func (r *Round) Findings(whole bool) Findings {
	f := Findings{Seen: r.seen, Found: map[string]Purchase{}, Exists: map[string]bool{}, Missing: map[string]bool{}, Double: map[string][]string{}}
	open := 0
	asked := false // in every state: about an order that no row names
	for no, s := range r.orders {
		asked = asked || len(s.sold) == 0
		switch {
		case len(s.sold) > 0:
			f.Found[no] = s.sold[0]
			if len(s.sold) > 1 {
				for _, p := range s.sold {
					f.Double[no] = append(f.Double[no], p.OrderNumber)
				}
			}
		case s.exists:
			f.Exists[no] = true
		default:
			open++
		}
	}
	f.Blind = whole && asked && r.control != (Control{}) && !r.seen
	if !whole || open == 0 {
		return f
	}
	if f.Why = r.unproven(); f.Why != "" {
		return f
	}
	for no, s := range r.orders {
		switch {
		case len(s.sold) > 0 || s.exists:
		case !s.seen:
			f.Why = "the answers about it do not show the control number"
		case s.partial:
			f.Why = "the answer has more rows than it shows"
		default:
			f.Missing[no] = true
		}
	}
	return f
}

// unproven says why no order is missing, whatever the answers did not show; ""
// where there is no such reason.
func (r *Round) unproven() string {
	switch {
	case r.control == (Control{}):
		return "there is no control number yet: no purchase that the vendor confirmed is old enough"
	case !r.seen:
		return fmt.Sprintf("the lookup does not show the control number %s, which was bought", r.control.OutTradeNo)
	case r.strange != "":
		return r.strange
	}
	for _, name := range slices.Sorted(maps.Keys(r.lists)) {
		if name != r.seenList {
			return fmt.Sprintf("an answer has an empty list %q in place of %q", name, r.seenList)
		}
	}
	return ""
}
