package worker

import (
	"context"
	"errors"
	"slices"
	"sort"
	"time"

	"orderworker/upstream"
)

// simRows is how the vendor's lookup writes its rows.
type simRows uint8

const (
	rowsNamed   simRows = iota // one for each order, with its outTradeNo
	rowsUnnamed                // without the outTradeNo
	rowsPackage                // one for each package: two of an order
	simRowForms                // how many there are
)

// simState is the state of a package that was bought.
type simState uint8

const (
	inUse     simState = iota // 1: a main package takes effect at once
	addOn                     // 0: it waits
	refunded                  // 2
	simStates                 // how many there are
)

// simMissing is what a lookup without state means to the vendor.
type simMissing uint8

const (
	missingIsAll simMissing = iota
	missingIsZero
	missingIsWrong
)

// simDim is a time in which the lookup is not what it seems: it answers code
// 200, and shows no purchase. A round of lookups falls into it as a whole or not
// at all: what changes between two questions of one round, nobody can see.
type simDim struct {
	from, to time.Duration
	strange  bool // it shows the control, and rows of others that nobody asked for
}

// simBan is a time in which the account is refused.
type simBan struct {
	from, to time.Duration
	answer   simAnswer // to each order: forbids, or refuses by a code that says nothing
	lookups  bool      // lookups are refused too
}

func (b simBan) is() bool { return b.to > 0 }

// banned is the ban of now. The caller holds the mutex.
func (w *simWorld) banned() simBan {
	at := time.Since(w.begun)
	for _, b := range w.bans {
		if b.from <= at && at < b.to {
			return b
		}
	}
	return simBan{}
}

// simAsk is a round of lookups about one order, as the vendor sees it.
type simAsk struct {
	states int // that were asked and did not show it, as bits
	dim    *simDim
	seen   bool // the control was shown
	shown  bool // or something that makes the round prove nothing
}

// controlNo is the number of an order that was bought long ago.
func (w *simWorld) controlNo() string { return "control" }

// isControl says whether a number can be a control: the old one, or that of an
// order whose success is in the results stream.
func (w *simWorld) isControl(no string) bool {
	if no == w.controlNo() {
		return true
	}
	return slices.ContainsFunc(w.find(no).audit.events, func(e simStored) bool { return e.Status == Succeeded })
}

// simSale is an event that names a control.
type simSale struct {
	Control
	at time.Time
}

// FindControl finds the newest success that was stored before a time.
func (s simStream) FindControl(ctx context.Context, before time.Time) (Control, bool, error) {
	w := s.p.w
	err := context.Cause(ctx)
	switch {
	case err != nil:
	case len(w.orders) == 1:
		_, err = simIO(s.p, ctx, w.orders[0], opSold, "", func() (struct{}, error) { return struct{}{}, nil })
	case w.away != nil && w.away(opSold, time.Since(w.begun)):
		err = errNotDone
	}
	if err != nil {
		return Control{}, false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(before) < w.rules.ReconcileDelay {
		w.violate(nil, "a control number may be %v old, and need not show yet", time.Since(before))
	}
	i := sort.Search(len(w.sales), func(i int) bool { return !w.sales[i].at.Before(before) })
	if i > 0 {
		s.p.control = true
		return w.sales[i-1].Control, true, nil
	}
	if w.unsold {
		return Control{}, false, nil
	}
	s.p.control = true
	return Control{OutTradeNo: w.controlNo(), OrderNumber: "N-control"}, true, nil
}

// Lookup is a point in the life of the first order that it asks for.
func (l *simLine) Lookup(ctx context.Context, q upstream.Question, sendBy time.Time) (upstream.Page, error) {
	l.end()
	p, w := l.p, l.p.w
	first := w.firstOf(q)
	page, err := simIO(p, ctx, first, opLookup, "", func() (upstream.Page, error) {
		if time.Now().Round(0).After(sendBy) {
			return upstream.Page{}, &upstream.Error{Class: upstream.Unreachable, Err: errors.New("send-by time has passed")}
		}
		return w.lookUp(p, q)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked(p, q, page, err)
	if err != nil && upstreamError(err) == nil {
		err = &upstream.Error{Class: upstream.Ambiguous, Err: err}
	}
	return page, err
}

// firstOf is the order with the lowest index in a question, the control aside.
func (w *simWorld) firstOf(q upstream.Question) *simOrder {
	var first *simOrder
	for _, no := range q.Numbers {
		if no == w.controlNo() {
			continue
		}
		if o := w.find(no); first == nil || o.index < first.index {
			first = o
		}
	}
	return first
}

// lookUp reads the book, as the vendor lets others read it.
func (w *simWorld) lookUp(p *simProc, q upstream.Question) (upstream.Page, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.banned(); b.is() && b.lookups {
		return upstream.Page{}, simError(b.answer.code())
	}
	if q.State == nil && w.missing == missingIsWrong {
		return upstream.Page{}, simError("3002")
	}
	var page upstream.Page
	var err error
	dim := w.dim(p, q)
	for _, no := range q.Numbers {
		if no == w.controlNo() {
			if (dim == nil || dim.strange) && w.inState(q, w.sold) {
				page.Rows = append(page.Rows, w.rows(no, "N-control", false)...)
			}
			continue
		}
		o := w.find(no)
		o.book.lookups++
		visible := o.book.purchases > 0 && !time.Now().Before(o.book.visible) && w.inState(q, o.state)
		switch {
		case o.book.lookups <= o.down:
			err = errors.New("simulated: the lookup is down") // for all that are asked with it
		case dim != nil && (!dim.strange || !w.isControl(no)):
		case o.book.lookups <= o.down+o.vague && visible:
			page.Rows = append(page.Rows, upstream.Row{OutTradeNo: no})
		case o.book.lookups <= o.down+o.vague:
			page.More = true
		case visible:
			page.Rows = append(page.Rows, w.rows(no, o.purchase().OrderNumber, o.double)...)
		}
	}
	if dim != nil && dim.strange {
		page.Rows = append(page.Rows, upstream.Row{OutTradeNo: "another", Purchase: upstream.Purchase{OrderNumber: "N-another", Code: "200"}})
	}
	page.More = page.More || len(page.Rows) >= upstream.MaxNumbers
	page.Rows = page.Rows[:min(len(page.Rows), upstream.MaxNumbers)]
	return page, err
}

// inState says whether a question is about packages in that state.
func (w *simWorld) inState(q upstream.Question, s simState) bool {
	state := [...]int64{1, 0, 2}[s]
	switch {
	case q.State != nil:
		return *q.State == state
	case w.missing == missingIsZero:
		return state == 0
	}
	return true
}

// rows are those of one order.
func (w *simWorld) rows(no, orderNumber string, double bool) []upstream.Row {
	row := upstream.Row{OutTradeNo: no, Purchase: upstream.Purchase{OrderNumber: orderNumber, Code: "200", Message: "success"}}
	if w.form == rowsUnnamed {
		row.OutTradeNo = ""
	}
	rows := []upstream.Row{row}
	if w.form == rowsPackage {
		rows = append(rows, row)
	}
	if double {
		row.OrderNumber += "-again"
		rows = append(rows, row)
	}
	return rows
}

// dim returns how the vendor treats the round that a question belongs to: as it
// treats the first question of the round.
func (w *simWorld) dim(p *simProc, q upstream.Question) (dim *simDim) {
	if len(w.dims) == 0 {
		return nil
	}
	at := time.Since(w.begun)
	for i, d := range w.dims {
		if d.from <= at && at < d.to {
			dim = &w.dims[i]
		}
	}
	a := w.firstOf(q).book.ask(p)
	if w.stateIndex(q) > 0 {
		return a.dim
	}
	return dim
}

// stateIndex says which of the states a question asks.
func (w *simWorld) stateIndex(q upstream.Question) int {
	if q.State == nil {
		return 0
	}
	return slices.Index(w.rules.LookupStates, *q.State)
}

// asked judges what the answer to a question proves of each order, independently
// of upstream.Round: the auditor allows another send only after two proofs. The
// caller holds the mutex.
func (w *simWorld) asked(p *simProc, q upstream.Question, page upstream.Page, err error) {
	i := w.stateIndex(q)
	control := slices.ContainsFunc(q.Numbers, w.isControl)
	probe := len(q.Numbers) == 1 && i == 0
	if p.control && !control && !probe {
		w.violate(w.firstOf(q), "a lookup without a control number")
	}
	var seen, loose, strange bool
	shown := make(map[string]bool, len(page.Rows))
	for _, r := range page.Rows {
		switch {
		case r.OutTradeNo == "" && w.isControlRow(r, q):
			seen = true
		case r.OutTradeNo == "":
			loose = true
		case slices.Contains(q.Numbers, r.OutTradeNo):
			shown[r.OutTradeNo] = true
			seen = seen || w.isControl(r.OutTradeNo)
		default:
			strange = true
		}
	}
	others := len(q.Numbers)
	if control {
		others--
	}
	again := others > 1 && (loose || len(page.Rows) >= upstream.MaxNumbers) // it is asked once more, of fewer
	first := w.firstOf(q)
	dim := w.dim(p, q)
	for _, no := range q.Numbers {
		if w.isControl(no) && no != first.no || no == w.controlNo() || !control {
			continue
		}
		o := w.find(no)
		a := o.book.ask(p)
		if i == 0 {
			*a = simAsk{dim: dim}
		}
		if again {
			continue
		}
		a.states |= 1 << i
		a.seen = a.seen || seen
		a.shown = a.shown || err != nil || strange || shown[no] || loose || page.More
		if a.seen && !a.shown && a.states == 1<<max(1, len(w.rules.LookupStates))-1 {
			o.book.missing = append(o.book.missing, time.Now())
			w.note(o, p.slot, opLookup, o.book.lookups, fine, "there is none")
		}
	}
}

// isControlRow says whether a row without an outTradeNo is that of a control that
// was asked for.
func (w *simWorld) isControlRow(r upstream.Row, q upstream.Question) bool {
	return slices.ContainsFunc(q.Numbers, func(no string) bool {
		return w.isControl(no) && (no == w.controlNo() && r.OrderNumber == "N-control" || no != w.controlNo() && r.OrderNumber == w.find(no).purchase().OrderNumber)
	})
}
