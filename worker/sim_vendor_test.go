package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"orderworker/upstream"
)

// simAnswer is what the vendor does with one call.
type simAnswer uint8

const (
	buys           simAnswer = iota // and says so
	buysSilently                    // and never answers
	ignores                         // does not buy, and never answers
	refuses                         // says no
	refusesForGood                  // says no, by a permanent code
	buysBroken                      // and answers HTTP 502
	breaks                          // answers HTTP 502, does not buy
	buysUnnamed                     // says code 200, without an orderNumber
	throttles                       // says "too fast"
)

func (a simAnswer) String() string {
	return [...]string{"buys", "buys silently", "ignores", "refuses", "refuses for good", "buys, 502", "502",
		"buys, unnamed", "throttles"}[a]
}

func (a simAnswer) sells() bool {
	return a == buys || a == buysSilently || a == buysBroken || a == buysUnnamed
}

// simSpec is what the world holds ready for an order.
type simSpec struct {
	arrives time.Duration
	expires time.Duration // after that; 0: never
	more    []simRequest
	answers []simAnswer   // to the first call, the second, ...; the last for ever
	hidden  bool          // the lookup shows a purchase as late as A2 of the design allows
	slowest bool          // where the vendor has said that it bought, the lookup shows it an hour later
	down    int           // lookups that fail, before the others
	vague   int           // lookups that leave it open, before the others
	slow    time.Duration // how long after the call a silent vendor buys
}

// simRequest is one more request with an order's number.
type simRequest struct {
	kind simKind
	at   time.Duration
}

// simBook is the vendor's book of one order: the truth.
type simBook struct {
	sends     []simSend
	purchases int
	underway  int       // purchases that nothing can stop any more
	visible   time.Time // from when on the lookup shows it
	refused   int       // refusals that were answered
	lookups   int
	missing   []time.Time // when a lookup said that there is none
}

// simSend is one request for an order that left a worker.
type simSend struct {
	owner   string // of the intent
	attempt int
	settled bool // the worker was told for certain that it bought nothing
}

// Times of the vendor.
const (
	simTimeout  = 10 * time.Second
	throttled   = 2 * time.Second
	codeRefused = "3001"
	codeForGood = "3002"
	codeExists  = "4009"
)

// simVendor is the vendor as one process sees it, through upstream.Client.
type simVendor struct{ p *simProc }

func (v simVendor) Place(ctx context.Context, u upstream.Order, sendBy time.Time) (upstream.Purchase, error) {
	p, w, o := v.p, v.p.w, v.p.w.find(u.OutTradeNo)
	pt, f, err := p.point(ctx, o, opPlace, "")
	if err != nil {
		return upstream.Purchase{}, &upstream.Error{Class: upstream.Unreachable, Err: err}
	}
	if time.Now().Round(0).After(sendBy) {
		return upstream.Purchase{}, &upstream.Error{Class: upstream.Unreachable, Err: errors.New("send-by time has passed")}
	}
	answer, call := w.sent(p, o, sendBy)
	ambiguous := func(err error) (upstream.Purchase, error) {
		return upstream.Purchase{}, &upstream.Error{Class: upstream.Ambiguous, Err: err}
	}
	silent := answer == buysSilently || answer == ignores || f == hang
	if answer.sells() {
		after := time.Duration(0)
		switch {
		case f == stray:
			after = simTimeout - time.Second
		case silent:
			after = min(o.slow, simTimeout-time.Second)
		}
		w.sell(o, sendBy, after)
	}
	switch {
	case f == crashAfter:
		return ambiguous(p.die(ctx, o, pt))
	case f == failAfter, f == stray:
		return ambiguous(errNoReply)
	case silent:
		if err := p.pause(ctx, w.rules.UpstreamTimeout); err != nil {
			return ambiguous(err)
		}
		return ambiguous(context.DeadlineExceeded)
	}
	return w.answered(o, answer, call)
}

// sent notes a request that leaves, and says what the vendor does with it.
func (w *simWorld) sent(p *simProc, o *simOrder, sendBy time.Time) (answer simAnswer, call int) {
	r, rev, _ := w.memory.Read(context.Background(), o.no)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checkSend(p, o, r, rev, sendBy)
	call = len(o.book.sends)
	o.book.sends = append(o.book.sends, simSend{owner: r.Owner, attempt: r.Attempt})
	answer = o.answers[min(call, len(o.answers)-1)]
	if w.picky && answer.sells() && o.book.purchases+o.book.underway > 0 {
		answer = refuses
	}
	w.note(o, p.slot, opPlace, call, fine, answer.String())
	return answer, call
}

// sell writes a purchase into the book, after a while.
func (w *simWorld) sell(o *simOrder, sendBy time.Time, after time.Duration) {
	buy := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		o.book.underway--
		o.book.purchases++
		w.purchases++
		o.book.visible = time.Now()
		if o.hidden {
			o.book.visible = w.provable(sendBy)
		}
		w.note(o, -1, opPlace, o.book.purchases, fine, "BOUGHT")
		if o.book.purchases > 1 {
			w.violate(o, "bought %d times", o.book.purchases)
		}
	}
	w.mu.Lock()
	o.book.underway++
	w.mu.Unlock()
	if after == 0 {
		buy()
		return
	}
	w.later(after, buy)
}

// provable is what A1 and A2 of the design promise: until when a purchase shows.
// It is reckoned here once more, lest the worker's own reckoning be wrong.
func (w *simWorld) provable(sendBy time.Time) time.Time {
	return sendBy.Add(w.rules.UpstreamTimeout + w.rules.ReconcileDelay)
}

// answered is what the worker is told.
func (w *simWorld) answered(o *simOrder, answer simAnswer, call int) (upstream.Purchase, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	no := func(class upstream.Class, code string) (upstream.Purchase, error) {
		o.book.sends[call].settled = class != upstream.Ambiguous
		if class == upstream.Refused {
			o.book.refused++
		}
		return upstream.Purchase{}, &upstream.Error{Class: class, Code: code, Message: "simulated"}
	}
	switch answer {
	case refuses:
		if o.book.purchases > 0 { // only where a vendor refuses repeats
			return no(upstream.Refused, codeExists)
		}
		return no(upstream.Refused, codeRefused)
	case refusesForGood:
		return no(upstream.Refused, codeForGood)
	case buysBroken, breaks:
		return no(upstream.Ambiguous, "502")
	case throttles:
		_, err := no(upstream.Throttled, "429")
		err.(*upstream.Error).RetryAfter = throttled
		return upstream.Purchase{}, err
	case buysUnnamed:
		if o.slowest {
			o.book.visible = time.Now().Add(time.Hour)
		}
		return upstream.Purchase{}, &upstream.Error{Class: upstream.Ambiguous, Code: "200", Bought: true}
	}
	return o.purchase(), nil
}

func (o *simOrder) purchase() upstream.Purchase {
	return upstream.Purchase{OrderNumber: fmt.Sprint("N", o.index), OrderID: int64(o.index), Code: "200", Message: "success"}
}

func (v simVendor) Lookup(ctx context.Context, outTradeNos []string, sendBy time.Time) (upstream.Lookup, error) {
	w := v.p.w
	first := w.find(slices.MinFunc(outTradeNos, func(a, b string) int { return cmp.Compare(w.find(a).index, w.find(b).index) }))
	l, err := simIO(v.p, ctx, first, opLookup, "", func() (upstream.Lookup, error) {
		if time.Now().Round(0).After(sendBy) {
			return upstream.Lookup{}, errors.New("send-by time has passed")
		}
		return w.lookUp(outTradeNos)
	})
	if err != nil {
		return upstream.Lookup{}, &upstream.Error{Class: upstream.Ambiguous, Err: err}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, no := range outTradeNos {
		if o := w.find(no); l.Missing(no) {
			o.book.missing = append(o.book.missing, time.Now())
			w.note(o, v.p.slot, opLookup, o.book.lookups, fine, "there is none")
		}
	}
	return l, nil
}

// lookUp reads the book, as the vendor lets others read it.
func (w *simWorld) lookUp(numbers []string) (upstream.Lookup, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := make(map[string]upstream.Purchase)
	var missing []string
	var err error
	for _, no := range numbers {
		o := w.find(no)
		o.book.lookups++
		switch {
		case o.book.lookups <= o.down:
			err = errors.New("simulated: the lookup is down") // for all that are asked with it
		case o.book.lookups <= o.down+o.vague:
		case o.book.purchases > 0 && !time.Now().Before(o.book.visible):
			found[no] = o.purchase()
		default:
			missing = append(missing, no)
		}
	}
	return upstream.NewLookup(found, missing...), err
}
