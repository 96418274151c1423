package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// placer makes one attempt to buy: Direct.
type placer interface {
	Place(ctx context.Context, o upstream.Order, sendBy time.Time) (upstream.Purchase, error)
}

// slots paces the requests of all workers: upstream.Quota.
type slots interface {
	// Ready opens the connection before a slot is taken: see upstream.Quota.
	Wait(ctx context.Context, ready func(context.Context) error) error       // for an order
	WaitAgain(ctx context.Context, ready func(context.Context) error) error  // for one whose slot was over
	WaitLookup(ctx context.Context, ready func(context.Context) error) error // for a lookup, which lets orders go first
	Over(slot time.Time) bool                                                // a slot of that time can no longer be used
	Slow(ctx context.Context, retryAfter time.Duration) error                // the vendor said "too fast": all workers slow down
}

// claims is what is known about orders: dedupe.Store.
type claims interface {
	NewOwner() string
	Claim(ctx context.Context, o dedupe.Order, owner string, redelivered bool) (*dedupe.Claim, error)
	Renew(ctx context.Context, c *dedupe.Claim) error
	Intent(ctx context.Context, c *dedupe.Claim, sendBy time.Time) error
	Wait(ctx context.Context, c *dedupe.Claim, attempts int, delay time.Duration) error
	Doubt(ctx context.Context, c *dedupe.Claim, d dedupe.Doubt, next time.Duration) error
	Disprove(ctx context.Context, c *dedupe.Claim) error
	Finish(ctx context.Context, c *dedupe.Claim, result []byte, succeeded bool) ([]byte, error)
	Remember(ctx context.Context, c *dedupe.Claim, result []byte) error
	Release(ctx context.Context, c *dedupe.Claim) error
}

// errMoved says that another owner wrote first: what we knew is old, claim again.
var errMoved = errors.New("the order moved on under another owner")

// handling is one delivery on its way. soft ends a little after the process was
// asked to stop: whatever has not begun is handed back. hard ends when its time is up.
type handling struct {
	*Worker
	soft, hard context.Context
	d          *Delivery
	order      Order
	invalid    error // which rules the payload breaks
	claim      *dedupe.Claim
	began      time.Time
	span       trace.Span // of the delivery; nil where traces are off

	attempts int            // for the log, as the two that follow
	class    upstream.Class // of the last answer
	code     string
	err      error
}

// receive begins with a delivery: it is decoded, in the order of the stream.
func (w *Worker) receive(soft, hard context.Context, d *Delivery) *handling {
	h := &handling{Worker: w, soft: soft, hard: hard, d: d, began: time.Now()}
	h.order, h.invalid = DecodeOrder(d.Data)
	h.follow()
	return h
}

// handle takes the delivery to its one answer, ack or nak.
func (h *handling) handle() {
	h.end(h.run())
}

// end writes down how the delivery ended.
func (h *handling) end(s step) {
	h.log(s, h.err)
	h.followed(s)
}

func (h *handling) run() step {
	if h.invalid != nil {
		return h.reject(Invalid, h.invalid)
	}
	for redelivered := h.d.redelivered(); ; redelivered = true {
		owner := h.claims.NewOwner() // a new one each time: what the last one wrote is not this one's, its intent least of all
		var claim *dedupe.Claim
		err := h.within("claim", trace.SpanKindInternal, func(ctx context.Context) (err error) {
			claim, err = keepOn(h.soft, h.Worker, "claim", func() (*dedupe.Claim, error) {
				return h.claims.Claim(ctx, h.key(), owner, redelivered)
			})
			return err
		})
		if err != nil {
			return h.handBack(err)
		}
		h.claim, h.attempts = claim, claim.Attempts
		h.working.claimed(h, claim)
		s, err := h.proceed()
		if !errors.Is(err, errMoved) {
			h.err = err
			return s
		}
	}
}

func (h *handling) key() dedupe.Order {
	return dedupe.Order{OutTradeNo: h.order.OutTradeNo, Fingerprint: h.order.Fingerprint(), Seq: h.d.Seq, Stored: h.d.Stored}
}

// proceed does what the claim's verdict asks for.
func (h *handling) proceed() (step, error) {
	switch c := h.claim; c.Verdict {
	case dedupe.Conflict:
		return h.reject(Conflict, fmt.Errorf("outTradeNo: %s breaks the rule: it was already used with another %s",
			shown([]byte(h.order.OutTradeNo)), differences(c.Fingerprint, c.Standing))), nil
	case dedupe.Done:
		h.settled(h.order.OutTradeNo)
		return h.answered(c.ResultSeq), nil
	case dedupe.Final:
		return h.publishAgain(c.Result, republish)
	case dedupe.Busy:
		return leave, h.nak(min(c.Left, time.Second)) // its holder is at work: look again soon
	case dedupe.Waiting:
		return notBefore, h.nak(c.Left)
	case dedupe.Foreign:
		return held, h.nak(time.Minute) // until that account is back, or an operator settles it
	case dedupe.InDoubt:
		return h.resolve()
	default:
		return h.place()
	}
}

// release hands a claimed order back, nothing sent.
func (h *handling) release(err error) (step, error) {
	if err := h.keep("release", func() error { return h.claims.Release(h.hard, h.claim) }); err != nil {
		return handBack, err
	}
	return h.handBack(err), nil
}

func (h *handling) handBack(err error) step {
	h.err = h.giveUp(err)
	return handBack
}

func (h *handling) nak(delay time.Duration) error {
	return h.d.Msg.NakWithDelay(max(delay, time.Millisecond))
}

// keep goes on with a write until it is done. It fails with errMoved when
// another owner wrote first, and when the process runs out of time.
func (h *handling) keep(what string, write func() error) error {
	_, err := keepOn(h.hard, h.Worker, what, func() (struct{}, error) { return struct{}{}, write() })
	switch {
	case errors.Is(err, dedupe.ErrLost):
		return errMoved
	case err != nil:
		return h.giveUp(err)
	}
	return nil
}

// giveUp answers for a delivery whose process ran out of time, or whose record
// cannot be read: that does not heal by itself, and is left for a person.
func (h *handling) giveUp(err error) error {
	if errors.Is(err, dedupe.ErrBroken) {
		h.logger.Error().Err(err).Str("out_trade_no", h.order.OutTradeNo).Msg("the order cannot go on; it is looked at again every minute")
		return errors.Join(err, h.nak(time.Minute))
	}
	return errors.Join(err, h.d.Msg.NakWithDelay(0))
}

func (h *handling) note(err error) {
	h.class, h.code = "success", "200"
	if err != nil {
		h.class, h.code = upstream.ClassOf(err), codeOf(err)
	}
	h.err = err
}

// log writes the one line that a delivery gets, at its end.
func (h *handling) log(s step, err error) {
	level := zerolog.InfoLevel
	switch s {
	case leave, notBefore, held:
		level = zerolog.DebugLevel // nothing happened
	case settle, unsettled:
		level = zerolog.WarnLevel
	}
	e := h.logger.WithLevel(level)
	if h.order.OutTradeNo != "" {
		e = e.Str("out_trade_no", h.order.OutTradeNo)
	}
	if h.claim != nil {
		e = e.Int("attempts", h.attempts)
	}
	if h.class != "" {
		e = e.Str("class", string(h.class)).Str("code", h.code)
	}
	if err != nil {
		e = e.Str("error", cut(err.Error(), 512))
	}
	if id := h.traceID(); id != "" {
		e = e.Str("trace_id", id)
	}
	e.Uint64("delivery", h.d.Count).
		Str("step", string(s)).
		Int64("queued_ms", h.began.Sub(h.d.Stored).Milliseconds()).
		Int64("ran_ms", time.Since(h.began).Milliseconds()).
		Msg("order")
}

func upstreamError(err error) *upstream.Error {
	e, _ := errors.AsType[*upstream.Error](err)
	return e
}
