package worker

import (
	"context"
	"errors"
	"fmt"
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
	buysUnclear                     // says code 500, "operation failed"
	unclear                         // the same, and does not buy
	buysBeside                      // gives an orderNumber beside another code
	buysExists                      // says that the number exists, for it was executed twice inside
	claimsExists                    // says so, and it does not: only a person can settle that
	forbids                         // says that the account may not
	simAnswers                      // how many there are
)

func (a simAnswer) String() string {
	return [...]string{"buys", "buys silently", "ignores", "refuses", "refuses for good", "buys, 502", "502",
		"buys, unnamed", "throttles", "buys, 500", "500", "buys, a number beside a code", "buys, exists", "exists", "forbids"}[a]
}

func (a simAnswer) sells() bool {
	return a == buys || a == buysSilently || a == buysBroken || a == buysUnnamed || a == buysUnclear || a == buysBeside || a == buysExists
}

// code is the one of the body, in an answer that is no success: see upstream.KnownCodes.
func (a simAnswer) code() string {
	return map[simAnswer]string{refuses: "3001", refusesForGood: "41018", throttles: "501", buysUnclear: "500", unclear: "500",
		buysExists: "503016", claimsExists: "503016", forbids: "403"}[a]
}

// simError is what a body code means, by the lists as they are by default.
func simError(code string) *upstream.Error {
	e := &upstream.Error{Class: upstream.Refused, Code: code, Message: "simulated"}
	switch simCodes[code] {
	case upstream.AmbiguousCodes:
		e.Class = upstream.Ambiguous
	case upstream.DuplicateCodes:
		e.Class, e.Exists = upstream.Ambiguous, true
	case upstream.AccountCodes:
		e.Class = upstream.Account
	case upstream.ThrottleCodes:
		e.Class, e.RetryAfter = upstream.Throttled, throttled
	case upstream.PermanentCodes:
		e.Permanent = true
	}
	return e
}

var simCodes = upstream.DefaultCodes()

// simSpec is what happens to one order.
type simSpec struct {
	arrives time.Duration
	expires time.Duration // after that; 0: never
	more    []simRequest
	answers []simAnswer   // to the first call, the second, ...; the last for ever
	hidden  bool          // the lookup shows a purchase as late as A2 of the design allows
	slowest bool          // where the vendor has said that it bought, the lookup shows it an hour later
	down    int           // lookups that fail, before the others
	vague   int           // lookups that leave it open, before the others
	state   simState      // of its package, from the purchase on
	double  bool          // the vendor's book shows it twice, under two orderNumbers
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
	missing   []time.Time          // when a round of lookups proved that there is none
	asks      map[*simProc]*simAsk // the rounds under way: a slot may have two processes, of which one is about to end
	answered  int                  // calls that met no ban
	told      bool                 // it said that it exists or was bought, and the journal has that
}

// ask is what p has asked for in its round.
func (b *simBook) ask(p *simProc) *simAsk {
	if b.asks == nil {
		b.asks = make(map[*simProc]*simAsk)
	}
	if b.asks[p] == nil {
		b.asks[p] = new(simAsk)
	}
	return b.asks[p]
}

// simSend is one request for an order that left a worker.
type simSend struct {
	owner   string // of the intent
	attempt int
	settled bool // the worker was told for certain that it bought nothing
}

// Times of the vendor.
const (
	simTimeout = 10 * time.Second
	throttled  = 2 * time.Second
	simIdle    = 5 * time.Second // the vendor closes a connection that waits for longer
)

// simLine is a connection to the vendor as one process sees it.
type simLine struct {
	p     *simProc
	since time.Time
	ended bool
}

// connect opens a connection. It is a point in the life of a lone order, as a
// slot is (see simQuota.wait).
func (p *simProc) connect(ctx context.Context) (Line, error) {
	w := p.w
	err := context.Cause(ctx)
	switch {
	case err != nil:
	case len(w.orders) == 1:
		_, err = simIO(p, ctx, w.orders[0], opConnect, "", func() (struct{}, error) { return struct{}{}, nil })
	case w.away != nil && w.away(opConnect, time.Since(w.begun)):
		err = errNotDone
	}
	if err != nil {
		return nil, &upstream.Error{Class: upstream.Unreachable, Err: err}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p.lines++
	return &simLine{p: p, since: time.Now()}, nil
}

func (l *simLine) Ready() bool { return !l.ended && time.Since(l.since) < simIdle }

func (l *simLine) Release() {
	if !l.ended {
		l.end()
	}
}

func (l *simLine) end() {
	w := l.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.ended {
		w.violate(nil, "a connection was used twice")
	}
	l.ended = true
	l.p.lines--
}

func (l *simLine) Place(ctx context.Context, u upstream.Order, sendBy time.Time) (upstream.Purchase, error) {
	l.end()
	p, w, o := l.p, l.p.w, l.p.w.find(u.OutTradeNo)
	w.checkHalt(o, "sent")
	w.checkSendBy(o, sendBy)
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
	banned := w.banned()
	if answer = banned.answer; !banned.is() {
		answer = o.answers[min(o.book.answered, len(o.answers)-1)]
		o.book.answered++
	}
	if w.picky && answer.sells() && o.book.purchases+o.book.underway > 0 {
		answer = claimsExists
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

// provable returns the time by which a purchase shows, as A1 and A2 of the design
// say. It does not use the worker's own computation, which may be wrong.
func (w *simWorld) provable(sendBy time.Time) time.Time {
	return sendBy.Add(w.rules.UpstreamTimeout + w.rules.ReconcileDelay)
}

// answered returns the answer that the worker gets.
func (w *simWorld) answered(o *simOrder, answer simAnswer, call int) (upstream.Purchase, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &upstream.Error{Class: upstream.Ambiguous, Code: "502"}
	switch answer {
	case buys:
		return o.purchase(), nil
	case buysBroken, breaks:
	case buysUnnamed, buysBeside:
		if o.slowest {
			o.book.visible = time.Now().Add(time.Hour)
		}
		e.Code, e.Bought = "200", true
	default:
		e = simError(answer.code())
	}
	o.book.sends[call].settled = e.Class != upstream.Ambiguous
	if e.Class == upstream.Refused {
		o.book.refused++
	}
	return upstream.Purchase{}, e
}

func (o *simOrder) purchase() upstream.Purchase {
	return upstream.Purchase{OrderNumber: fmt.Sprint("N", o.index), OrderID: int64(o.index), Code: "200", Message: "success"}
}
