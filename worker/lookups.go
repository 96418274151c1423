package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"orderworker/upstream"
	"orderworker/upstream/pause"
)

// Control is a control number: an order known to be bought, which every lookup
// asks for too.
type Control = upstream.Control

// controls finds control numbers: *natsio.JetStream.
type controls interface {
	// FindControl returns the newest order of this account that the vendor itself
	// said was bought, by an event that was stored before a time. False: there is
	// none.
	FindControl(ctx context.Context, before time.Time) (Control, bool, error)
}

const (
	// batchWait is how long the first number of a round waits for others.
	batchWait = 250 * time.Millisecond
	// maxRetry is the longest wait after a failed lookup. It is half of the 30 s
	// within which each order is asked about when lookups work again; the other
	// half is for asking about them all.
	maxRetry = 15 * time.Second
)

// lookups collects the numbers of single orders, and looks many up in one round.
type lookups struct {
	connect   func(context.Context) (Line, error)
	slots     slots
	throttle  func(context.Context, error)
	pause     *pause.Pause
	controls  controls
	states    []int64
	minAge    time.Duration // of a control number: RECONCILE_DELAY
	metrics   *Metrics
	logger    zerolog.Logger
	inquiries chan inquiry

	// Only run's goroutine uses these.
	control   upstream.Control
	controlAt time.Time // when the control number was found
	blind     bool      // the last complete round did not show the control number
	failures  *backoff.ExponentialBackOff
	retryAt   time.Time // no lookup before: earlier ones failed

	mu     sync.Mutex
	proofs upstream.Streak // of rounds; a bad one proved nothing of an order that it did not find
}

// inquiry asks for one order.
type inquiry struct {
	outTradeNo string
	reply      chan<- finding // has room for the one finding, so that sending never blocks
}

// finding is what the vendor knows of one order: found, exists, missing, or none
// of them, which proves nothing.
type finding struct {
	purchase upstream.Purchase
	found    bool
	exists   bool // sold, but by which orderNumber is not known
	missing  bool
	failed   bool          // a lookup failed: ask again after retryIn
	retryIn  time.Duration // with failed
	err      error         // why nothing is known
}

func newLookups(c Config, w *Worker) *lookups {
	return &lookups{
		connect: c.Connect, slots: c.Slots, throttle: w.throttle, pause: w.pause, controls: c.Stream, states: c.Rules.LookupStates,
		minAge: c.Rules.ReconcileDelay, metrics: c.Metrics, logger: c.Logger, inquiries: make(chan inquiry),
		failures: backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMultiplier(2),
			backoff.WithRandomizationFactor(0), backoff.WithMaxInterval(maxRetry), backoff.WithMaxElapsedTime(0)),
	}
}

// find returns what the vendor knows of one order, as soon as a round has asked
// for it. The error is ctx's.
func (l *lookups) find(ctx context.Context, outTradeNo string) (finding, error) {
	reply := make(chan finding, 1)
	select {
	case l.inquiries <- inquiry{outTradeNo, reply}:
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

// run makes the rounds, and the lookups that probe whether a pause is over, until
// ctx ends.
func (l *lookups) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.pause.Due():
			if no, due := l.pause.Probe(); due {
				_ = l.probe(ctx, no) // lookUp has told the pause
			}
		case q := <-l.inquiries:
			l.resolve(ctx, l.collect(ctx, q))
		}
	}
}

// collect waits for other inquiries to go with the first one, up to the most
// numbers that one lookup takes beside the control number.
func (l *lookups) collect(ctx context.Context, first inquiry) map[string][]inquiry {
	batch := map[string][]inquiry{first.outTradeNo: {first}}
	timeout := time.NewTimer(batchWait)
	defer timeout.Stop()
	for len(batch) < upstream.MaxNumbers-1 {
		select {
		case q := <-l.inquiries:
			batch[q.outTradeNo] = append(batch[q.outTradeNo], q)
		case <-timeout.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// resolve makes a round about a batch, and replies to each inquiry in it.
func (l *lookups) resolve(ctx context.Context, batch map[string][]inquiry) {
	findings, err := l.round(ctx, batch)
	var retryIn time.Duration
	if err != nil {
		retryIn = time.Until(l.retryAt) + time.Millisecond
	}
	for no, inquiries := range batch {
		f := finding{exists: findings.Exists[no], missing: findings.Missing[no]}
		f.purchase, f.found = findings.Found[no]
		switch proven := f.found || f.exists || f.missing; {
		case !proven && err != nil:
			f.failed, f.retryIn, f.err = true, retryIn, err
		case f.exists:
			f.err = errors.New("the vendor has sold it, but the lookup does not say by which orderNumber")
		case !proven:
			f.err = errors.New(findings.Why)
		}
		for _, q := range inquiries {
			q.reply <- f
		}
	}
}

// errNotAsked says that lookups failed a moment ago, and no round was made.
var errNotAsked = errors.New("not asked: earlier lookups failed")

// round makes one round of lookups about a batch. Where one of them fails, what
// was found before stays found.
func (l *lookups) round(ctx context.Context, batch map[string][]inquiry) (upstream.Findings, error) {
	if time.Now().Before(l.retryAt) {
		return upstream.Findings{}, errNotAsked
	}
	control, without := l.controlFor(ctx, batch)
	round := upstream.NewRound(slices.Sorted(maps.Keys(batch)), control, l.states)
	for q, more := round.Next(); more; q, more = round.Next() {
		page, err := l.lookUp(ctx, q, l.slots.WaitLookup)
		if err != nil {
			l.retryAt = time.Now().Add(l.failures.NextBackOff())
			if ctx.Err() == nil {
				l.noteFailed(err)
			}
			return l.report(round.Findings(false), control), err
		}
		round.Add(page)
	}
	l.failures.Reset()
	f := round.Findings(true)
	if f.Why != "" && control == (upstream.Control{}) && without != "" {
		f.Why = without
	}
	l.noteRound(f)
	return l.report(f, control), nil
}

// noteRound notes whether a whole round proved something of an order that it did not find,
// or could have: then it showed the control number. A round that found every order and did
// not show it says nothing.
func (l *lookups) noteRound(f upstream.Findings) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch now := time.Now(); {
	case len(f.Missing) > 0, f.Why == "" && f.Seen:
		l.proofs = l.proofs.AfterGood(now)
	case f.Why != "":
		l.proofs = l.proofs.AfterBad(f.Why, now)
	}
}

// noteFailed notes that a round failed with err, and so proved nothing.
func (l *lookups) noteFailed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proofs = l.proofs.AfterBad(upstream.Brief(err), time.Now())
}

// Proofs says since when rounds have proved nothing, and why.
func (l *lookups) Proofs() upstream.Streak {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proofs
}

// report logs double purchases and a control number that was not shown, and
// returns f.
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

// controlFor returns the control number of the round about batch. It returns the zero one
// where there is none or it cannot be found now: then "not found" proves nothing. without
// says why, unless no purchase is old enough.
// A control number that was not shown is kept until it is shown. A newer one may
// be shown only because it is in another state, and would say nothing about
// orders in the state that is not shown.
func (l *lookups) controlFor(ctx context.Context, batch map[string][]inquiry) (c upstream.Control, without string) {
	now := time.Now()
	if l.control == (upstream.Control{}) || !l.blind && now.Sub(l.controlAt) > l.minAge/10 {
		control, ok, err := l.controls.FindControl(ctx, now.Add(-l.minAge))
		if err != nil {
			l.logger.Warn().Err(err).Msg("find control number failed")
			without = "no control number: the results cannot be read"
		}
		if ok {
			l.control, l.controlAt = control, now
		}
	}
	if _, asked := batch[l.control.OutTradeNo]; asked {
		return upstream.Control{}, "the control number is itself looked up in this round"
	}
	return l.control, without
}

// probe looks one number up in one state, to learn whether the account works. The
// answer proves nothing about the order. It takes a slot before other lookups do,
// because orders wait for its end.
func (l *lookups) probe(ctx context.Context, outTradeNo string) error {
	q := upstream.Question{Numbers: []string{outTradeNo}}
	if len(l.states) > 0 {
		q.State = &l.states[0]
	}
	_, err := l.lookUp(ctx, q, l.slots.Wait)
	return err
}

// lookUp makes one lookup: it opens a connection, waits for a slot, and sends the
// question. wait is a wait of slots.
func (l *lookups) lookUp(ctx context.Context, q upstream.Question, wait func(context.Context, func(context.Context) error) error) (page upstream.Page, err error) {
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
	l.metrics.request("getOrderPackageDetails", begun, err)
	l.pause.LookedUp(err)
	l.throttle(ctx, err)
	if err != nil {
		return upstream.Page{}, fmt.Errorf("lookup of %s: %w", strings.Join(q.Numbers[:1], ","), err)
	}
	return page, nil
}
