package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// holdPoll is how often an order that waits for an operator looks whether
// there is a verdict.
const holdPoll = 10 * time.Second

// enterDoubt parks an order whose newest request may have gone through, or
// whose earlier one still may; earlier is what was known of that.
func (h *handling) enterDoubt(err error, earlier dedupe.Doubt) (step, error) {
	d := h.claim.Doubt // of the newest intent: what "not found" said of the earlier one proves nothing for it
	if h.open() {
		d.Asked = earlier.Asked + 1
	}
	if e := upstreamError(err); e != nil {
		d.Bought = e.Bought
		d.Exists = e.Class == upstream.Refused && slices.Contains(h.rules.DuplicateCodes, e.Code)
	}
	return h.park(d)
}

// resolve goes on with an order in doubt by the policy.
func (h *handling) resolve() (step, error) {
	d := h.claim.Doubt
	switch {
	case h.rules.Reconcile == Hold:
		return h.park(d)
	case h.rules.Reconcile == Resend && !d.Bought && !d.Exists && !h.order.expired(time.Now()):
		if time.Now().Before(h.rules.certainlyOver(d.SendBy)) {
			return h.park(d)
		}
		return h.place()
	default:
		return h.ask(d)
	}
}

// ask has the vendor looked up, and draws the conclusion: found is bought; "not
// found" twice, the second time from the provable time on, is not bought;
// anything else proves nothing.
func (h *handling) ask(d dedupe.Doubt) (step, error) {
	asked := time.Now() // before it is sent: an answer is never younger than it looks
	var a answer
	var err error
	_ = h.within("getOrderPackageDetails", trace.SpanKindInternal, func(context.Context) error { // the call is that of many orders
		a, err = h.lookups.ask(h.soft, h.order.OutTradeNo)
		return errors.Join(err, a.err)
	})
	if err != nil {
		return h.release(err) // soft ended
	}
	d.Asked++
	h.err = a.err
	switch {
	case a.found:
		r := h.result(Succeeded, h.claim.Attempts+1).bought(a.purchase)
		r.Reconciled = true
		return h.finish(r)
	case a.missing && d.Missing && !d.Bought && !d.Exists && asked.After(h.rules.provable(d.SendBy)):
		if err := h.keep("disprove", func() error { return h.claims.Disprove(h.hard, h.claim) }); err != nil {
			return unsettled, err
		}
		h.settled(h.order.OutTradeNo)
		return h.place()
	case a.missing:
		d.Missing = true
	}
	return h.park(d)
}

// park leaves an order in doubt until it is worth another look, and tells the
// world once that it has been so for long.
func (h *handling) park(d dedupe.Doubt) (step, error) {
	now := time.Now()
	noticeIn := h.rules.InDoubtNotice - now.Sub(d.Since)
	if !d.Noticed && noticeIn <= 0 {
		if err := h.notice(); err != nil {
			return unsettled, err
		}
		d.Noticed = true
	}
	next := h.nextLook(d, now)
	if !d.Noticed {
		next = min(next, noticeIn)
	}
	if err := h.keep("doubt", func() error { return h.claims.Doubt(h.hard, h.claim, d, next) }); err != nil {
		return unsettled, err
	}
	h.doubts.add(h.order.OutTradeNo, now.Add(next+h.ackWait))
	return settle, h.nak(next)
}

// nextLook is when an order in doubt is worth another look.
func (h *handling) nextLook(d dedupe.Doubt, now time.Time) time.Duration {
	switch {
	case h.rules.Reconcile == Hold:
		return holdPoll
	case h.rules.Reconcile == Resend && !d.Bought && !d.Exists:
		return max(h.rules.certainlyOver(d.SendBy).Sub(now), h.rules.Backoff.Delay(d.Asked))
	}
	next := h.rules.nextAsk(d.Asked)
	if proof := h.rules.provable(d.SendBy).Sub(now); proof > 0 {
		next = min(next, proof+time.Millisecond)
	}
	return next
}

// notice publishes the in_doubt event.
func (h *handling) notice() error {
	r := h.result(InDoubt, h.claim.Attempts)
	if err := h.publish(r.event(r.encode())); err != nil {
		return err
	}
	h.metrics.results.WithLabelValues(string(InDoubt)).Inc()
	return nil
}

// finder asks the vendor which orders exist: Direct.
type finder interface {
	Lookup(ctx context.Context, outTradeNos []string, sendBy time.Time) (upstream.Lookup, error)
}

// The batch lookup takes 50 numbers at most (vendor facts); the first waits
// this long for others.
const (
	batchMost = 50
	batchWait = 250 * time.Millisecond
)

// lookups collects questions about single orders into calls about many.
type lookups struct {
	finder  finder
	slots   slots
	slow    func(context.Context, error) // takes the end of a call
	breaker *upstream.Breaker
	metrics *Metrics
	asks    chan question
}

type question struct {
	outTradeNo string
	answer     chan<- answer // one is sent, never blocking
}

// answer is what the vendor knows of one order: found, missing, or neither,
// which proves nothing.
type answer struct {
	purchase upstream.Purchase
	found    bool
	missing  bool
	err      error // why nothing is known
}

// ask waits for the answer about one order; the error is ctx's.
func (l *lookups) ask(ctx context.Context, outTradeNo string) (answer, error) {
	reply := make(chan answer, 1)
	select {
	case l.asks <- question{outTradeNo, reply}:
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
	select {
	case a := <-reply:
		return a, nil
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
}

// run answers until ctx ends.
func (l *lookups) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-l.asks:
			l.answer(ctx, l.collect(ctx, q))
		}
	}
}

// collect waits for others to go with the first question.
func (l *lookups) collect(ctx context.Context, first question) []question {
	batch := []question{first}
	full := time.NewTimer(batchWait)
	defer full.Stop()
	for len(batch) < batchMost {
		select {
		case q := <-l.asks:
			batch = append(batch, q)
		case <-full.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

func (l *lookups) answer(ctx context.Context, batch []question) {
	numbers := make([]string, 0, len(batch))
	for _, q := range batch {
		if !slices.Contains(numbers, q.outTradeNo) {
			numbers = append(numbers, q.outTradeNo)
		}
	}
	found, err := l.lookUp(ctx, numbers)
	for _, q := range batch {
		p, ok := found.Found[q.outTradeNo]
		q.answer <- answer{purchase: p, found: ok, missing: err == nil && found.Missing(q.outTradeNo), err: err}
	}
}

// errNotAsked says that lookups end without an answer, and this one was not made.
var errNotAsked = errors.New("not asked: earlier lookups got no answer")

func (l *lookups) lookUp(ctx context.Context, numbers []string) (upstream.Lookup, error) {
	if !l.breaker.MayLookUp() {
		return upstream.Lookup{}, errNotAsked
	}
	if err := l.slots.WaitLookup(ctx, unconnected); err != nil {
		return upstream.Lookup{}, err
	}
	begun := time.Now()
	found, err := l.finder.Lookup(ctx, numbers, begun.Add(3*time.Second))
	l.metrics.call("getOrderPackageDetails", begun, err)
	if ctx.Err() == nil {
		l.breaker.LookedUp(len(found.Found) > 0, err)
	}
	l.slow(ctx, err)
	if err != nil {
		return upstream.Lookup{}, err
	}
	return found, nil
}
