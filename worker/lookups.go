package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"orderworker/upstream"
	"orderworker/upstream/pause"
)

// controls finds a control number: the newest order of this account that the
// vendor itself said was bought, by an event that was stored before a time.
// False: there is none.
type controls interface {
	Sold(ctx context.Context, before time.Time) (Sold, bool, error)
}

const (
	// batchWait is how long the first number of a lookup waits for others.
	batchWait = 250 * time.Millisecond
	// maxRetry is the longest wait after a lookup that failed. It is half of
	// the 30 s within which each order is to be asked about when lookups work
	// again: the other half is for asking them all.
	maxRetry = 15 * time.Second
)

// lookups collects questions about single orders into lookups about many.
type lookups struct {
	connect  func(context.Context) (Line, error)
	slots    slots
	slow     func(context.Context, error) // takes the end of a call
	pause    *pause.Pause
	controls controls
	states   []int64
	proof    time.Duration // how old a control has to be: RECONCILE_DELAY
	metrics  *Metrics
	logger   zerolog.Logger
	asks     chan question

	// Of the goroutine that answers.
	control  upstream.Control
	found    time.Time // when the control was looked for
	blind    bool      // the last whole round did not show it
	failures *backoff.ExponentialBackOff
	notNow   time.Time // no lookup before: earlier ones failed
}

type question struct {
	outTradeNo string
	answer     chan<- finding // one is sent, never blocking
}

// finding is what the vendor knows of one order: found, exists, missing, or none
// of them, which proves nothing.
type finding struct {
	purchase upstream.Purchase
	found    bool
	exists   bool // sold, but by which orderNumber is not known
	missing  bool
	failed   bool          // a lookup failed: ask again after retry
	retry    time.Duration // with failed
	err      error         // why nothing is known
}

func newLookups(c Config, w *Worker) *lookups {
	return &lookups{
		connect: c.Connect, slots: c.Slots, slow: w.slow, pause: w.pause, controls: c.Stream, states: c.Rules.LookupStates,
		proof: c.Rules.ReconcileDelay, metrics: c.Metrics, logger: c.Logger, asks: make(chan question),
		failures: backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMultiplier(2),
			backoff.WithRandomizationFactor(0), backoff.WithMaxInterval(maxRetry), backoff.WithMaxElapsedTime(0)),
	}
}

// ask waits for what the vendor knows of one order; the error is ctx's.
func (l *lookups) ask(ctx context.Context, outTradeNo string) (finding, error) {
	reply := make(chan finding, 1)
	select {
	case l.asks <- question{outTradeNo, reply}:
	case <-ctx.Done():
		return finding{}, context.Cause(ctx)
	}
	select {
	case f := <-reply:
		return f, nil
	case <-ctx.Done():
		return finding{}, context.Cause(ctx)
	}
}

// run answers until ctx ends, and makes the lookups that find out whether a
// pause is over.
func (l *lookups) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.pause.Due():
			if no, due := l.pause.Probe(); due {
				_ = l.probe(ctx, no) // the pause has heard
			}
		case q := <-l.asks:
			l.answer(ctx, l.collect(ctx, q))
		}
	}
}

// collect waits for others to go with the first question, up to the most that
// one lookup takes beside the control number.
func (l *lookups) collect(ctx context.Context, first question) map[string][]question {
	batch := map[string][]question{first.outTradeNo: {first}}
	full := time.NewTimer(batchWait)
	defer full.Stop()
	for len(batch) < upstream.MaxNumbers-1 {
		select {
		case q := <-l.asks:
			batch[q.outTradeNo] = append(batch[q.outTradeNo], q)
		case <-full.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// answer asks about a batch, and answers each question in it.
func (l *lookups) answer(ctx context.Context, batch map[string][]question) {
	findings, err := l.lookUp(ctx, batch)
	var retry time.Duration
	if err != nil {
		retry = time.Until(l.notNow) + time.Millisecond
	}
	for no, questions := range batch {
		f := finding{exists: findings.Exists[no], missing: findings.Missing[no]}
		f.purchase, f.found = findings.Found[no]
		switch proven := f.found || f.exists || f.missing; {
		case !proven && err != nil:
			f.failed, f.retry, f.err = true, retry, err
		case f.exists:
			f.err = errors.New("the vendor has sold it, but the lookup does not say by which orderNumber")
		case !proven:
			f.err = errors.New(findings.Why)
		}
		for _, q := range questions {
			q.answer <- f
		}
	}
}

// errNotAsked says that lookups failed a moment ago, and this one was not made.
var errNotAsked = errors.New("not asked: earlier lookups failed")

// lookUp makes a round of lookups about a batch. What was found before one of
// them failed stays found.
func (l *lookups) lookUp(ctx context.Context, batch map[string][]question) (upstream.Findings, error) {
	if time.Now().Before(l.notNow) {
		return upstream.Findings{}, errNotAsked
	}
	control := l.findControl(ctx, batch)
	round := upstream.NewRound(slices.Sorted(maps.Keys(batch)), control, l.states)
	for q, more := round.Next(); more; q, more = round.Next() {
		page, err := l.call(ctx, q, l.slots.WaitLookup)
		if err != nil {
			l.notNow = time.Now().Add(l.failures.NextBackOff())
			return l.report(round.Findings(false), control), err
		}
		round.Add(page)
	}
	l.failures.Reset()
	return l.report(round.Findings(true), control), nil
}

// report makes known what concerns more than the orders that were asked about.
func (l *lookups) report(f upstream.Findings, control upstream.Control) upstream.Findings {
	for no, numbers := range f.Double {
		l.metrics.doublePurchases.Inc()
		l.logger.Error().Str("out_trade_no", no).Strs("order_numbers", numbers).
			Msg("double purchase: the vendor sold one order more than once; a refund within 24 hours is free")
	}
	switch {
	case f.Blind:
		l.blind = true
		l.metrics.lookupBlind.Set(1)
		l.logger.Error().Str("control", control.OutTradeNo).
			Str("hint", "the lookup does not show an order that was bought, so its \"not found\" proves nothing; see UPSTREAM_LOOKUP_STATES").
			Msg("lookup blind")
	case control != (upstream.Control{}) && f.Seen:
		l.blind = false
		l.metrics.lookupBlind.Set(0)
	}
	return f
}

// findControl returns the control number of the next round; the zero one where
// there is none, or it cannot be found now: then "not found" proves nothing. One
// that was not shown stays until it is: a newer one may be shown only because it
// is in another state, and says nothing about the orders that are not.
func (l *lookups) findControl(ctx context.Context, batch map[string][]question) upstream.Control {
	now := time.Now()
	if l.control == (upstream.Control{}) || !l.blind && now.Sub(l.found) > l.proof/10 {
		control, ok, err := l.controls.Sold(ctx, now.Add(-l.proof))
		if err != nil {
			l.logger.Warn().Err(err).Msg("find control number failed")
		}
		if ok {
			l.control, l.found = upstream.Control(control), now
		}
	}
	if _, asked := batch[l.control.OutTradeNo]; asked {
		return upstream.Control{}
	}
	return l.control
}

// probe asks for one number in one state, to learn whether the account works.
// Its answer proves nothing about the order. It goes before other lookups, as
// orders wait for it.
func (l *lookups) probe(ctx context.Context, outTradeNo string) error {
	q := upstream.Question{Numbers: []string{outTradeNo}}
	if len(l.states) > 0 {
		q.State = &l.states[0]
	}
	_, err := l.call(ctx, q, l.slots.Wait)
	return err
}

// call makes one lookup: connection, slot, call.
func (l *lookups) call(ctx context.Context, q upstream.Question, wait func(context.Context, func(context.Context) error) error) (page upstream.Page, err error) {
	var line Line
	defer func() {
		if line != nil {
			line.Release()
		}
	}()
	begun := time.Now()
	err = wait(ctx, func(ctx context.Context) (err error) {
		line, err = upstream.Reconnect(ctx, line, l.connect)
		return err
	})
	if err == nil {
		begun = time.Now()
		page, err = line.Lookup(ctx, q, begun.Add(3*time.Second))
	}
	if ctx.Err() != nil {
		return upstream.Page{}, fmt.Errorf("lookup: %w", context.Cause(ctx))
	}
	l.metrics.call("getOrderPackageDetails", begun, err)
	l.pause.LookedUp(err)
	l.slow(ctx, err)
	if err != nil {
		return upstream.Page{}, fmt.Errorf("lookup of %s: %w", strings.Join(q.Numbers[:1], ","), err)
	}
	return page, nil
}
