package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"orderworker/dedupe"
	"orderworker/upstream"
)

// placer makes one attempt to buy: upstream.Client.
type placer interface {
	Place(ctx context.Context, o upstream.Order, sendBy time.Time) (upstream.Purchase, error)
}

// slots paces the requests of all workers: upstream.Quota.
type slots interface {
	Wait(ctx context.Context) error                           // for an order
	WaitLookup(ctx context.Context) error                     // for a lookup, which lets orders go first
	Over(slot time.Time) bool                                 // a slot of that time can no longer be used
	Slow(ctx context.Context, retryAfter time.Duration) error // the vendor said "too fast": all workers slow down
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
	case dedupe.InDoubt:
		return h.resolve()
	default:
		return h.place()
	}
}

// place buys: leave of the breaker, slot, intent, call (steps 3 to 5 of the
// design), then what the answer asks for.
func (h *handling) place() (step, error) {
	pass, s, err := h.enter()
	if pass == nil {
		return s, err
	}
	defer pass.GiveBack()
	open, earlier := h.open(), h.claim.Doubt
	slot := time.Now()
	sendBy := slot.Add(h.rules.sendWindow())
	if expires := h.order.ExpiresAt; !expires.IsZero() && expires.Before(sendBy) {
		sendBy = expires
	}
	// From here on soft no longer counts: an intent that may have been stored
	// must be known to be, or the order would be in doubt for nothing.
	if err := h.keep("intent", func() error { return h.claims.Intent(h.hard, h.claim, sendBy) }); err != nil {
		return handBack, err
	}
	bought, err := upstream.Purchase{}, h.again(slot, sendBy)
	late := err != nil || time.Now().After(sendBy)
	if err == nil {
		bought, err = h.buy(sendBy)
	}
	h.note(err)
	blameless := false
	if !late && h.hard.Err() == nil { // else the end is our own doing
		blameless = pass.End(h.order.OutTradeNo, err, h.rules.own(codeOf(err)))
	}
	h.slow(h.hard, err)
	v := h.rules.decide(err, open, h.claim.Attempts, blameless)
	h.attempts = v.attempts
	if e := upstreamError(err); e != nil && e.Class == upstream.Refused {
		h.claim.Last = dedupe.Answer{Code: e.Code, Message: e.Message}
	}
	switch v.step {
	case succeed:
		r := h.result(Succeeded, v.attempts).bought(bought)
		return h.finish(r)
	case fail:
		return h.fail(v.reason, v.attempts)
	case wait:
		delay := h.rules.Backoff.Delay(h.claim.Waits)
		if e := upstreamError(err); e != nil && e.RetryAfter > 0 {
			delay = e.RetryAfter
		}
		if err := h.keep("wait", func() error { return h.claims.Wait(h.hard, h.claim, v.attempts, delay) }); err != nil {
			return unsettled, err
		}
		return wait, h.nak(delay)
	default:
		h.claim.Attempts = v.attempts
		return h.enterDoubt(err, earlier)
	}
}

// enter waits until one call may be made: for the vendor's health, then for a
// slot. Without a pass the order is done with for now, as the step says.
func (h *handling) enter() (*upstream.Pass, step, error) {
	ctx := h.soft
	if !h.order.ExpiresAt.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, h.order.ExpiresAt)
		defer cancel()
	}
	for {
		if h.order.expired(time.Now()) {
			s, err := h.expire()
			return nil, s, err
		}
		pass, err := h.breaker.Enter(ctx, h.order.PackageCode)
		begun := time.Now()
		if err == nil {
			err = h.slots.Wait(ctx)
		}
		if err == nil && !h.order.expired(time.Now()) {
			h.metrics.quotaWait.Observe(time.Since(begun).Seconds())
			if pass.Begin() {
				return pass, "", nil
			}
			continue
		}
		if pass != nil {
			pass.GiveBack()
		}
		if away, ok := errors.AsType[*upstream.Held](err); ok {
			s, err := h.sendAway(away.For)
			return nil, s, err
		}
		if h.soft.Err() != nil || !h.order.expired(time.Now()) {
			s, err := h.release(err)
			return nil, s, err
		}
	}
}

// sendAway gives an order back whose packageCode is held, nothing sent.
func (h *handling) sendAway(delay time.Duration) (step, error) {
	if err := h.keep("release", func() error { return h.claims.Release(h.hard, h.claim) }); err != nil {
		return handBack, err
	}
	return held, h.nak(delay)
}

// again takes another slot where the intent took so long that the first is over:
// all that waited for the journal would else leave at once. The error is that
// nothing was sent.
func (h *handling) again(slot, sendBy time.Time) error {
	if !h.slots.Over(slot) {
		return nil
	}
	ctx, cancel := context.WithDeadline(h.hard, sendBy)
	defer cancel()
	if err := h.slots.Wait(ctx); err != nil {
		return &upstream.Error{Class: upstream.Unreachable, Err: fmt.Errorf("not sent: the slot was over before the intent was stored: %w", err)}
	}
	return nil
}

// open says that an earlier attempt may still have gone through.
func (h *handling) open() bool { return h.claim.Verdict == dedupe.InDoubt }

// buy makes the call and counts it.
func (h *handling) buy(sendBy time.Time) (p upstream.Purchase, err error) {
	begun := time.Now()
	err = h.within("orderPackage", trace.SpanKindClient, func(ctx context.Context) error {
		p, err = h.placer.Place(ctx, h.order.Order, sendBy)
		return err
	})
	h.metrics.call("orderPackage", begun, err)
	return p, err
}

// expire ends an order whose time is over; one in doubt is settled by the lookup.
func (h *handling) expire() (step, error) {
	if h.open() {
		return h.ask(h.claim.Doubt)
	}
	return h.fail(Expired, h.claim.Attempts)
}

func (h *handling) fail(reason Reason, attempts int) (step, error) {
	r := h.result(Failed, attempts)
	r.Reason = reason
	r.Code, r.Message = h.claim.Last.Code, h.claim.Last.Message
	return h.finish(r)
}

func (h *handling) result(status Status, attempts int) Result {
	return result(h.order, status, attempts, h.d.Stored, time.Now())
}

// finish writes a final result down, then tells the world.
func (h *handling) finish(r Result) (step, error) {
	payload := r.encode()
	stands, err := keepOn(h.hard, h.Worker, "finish", func() ([]byte, error) {
		return h.claims.Finish(h.hard, h.claim, payload, r.Status == Succeeded)
	})
	if errors.Is(err, dedupe.ErrLost) {
		return unsettled, errMoved
	}
	if err != nil {
		return unsettled, h.giveUp(err)
	}
	if bytes.Equal(stands, payload) {
		return h.conclude(r.event(payload), step(r.Status))
	}
	return h.publishAgain(stands, step(r.Status))
}

// publishAgain concludes an order whose result was written before, maybe by
// another worker.
func (h *handling) publishAgain(payload []byte, s step) (step, error) {
	e, err := event(payload)
	if err != nil {
		return unsettled, errors.Join(err, h.nak(time.Minute)) // not ours, not to be guessed at
	}
	return h.conclude(e, s)
}

// conclude is steps 7 to 9 of the design, for a result that the journal holds:
// publish, remember, and only then ack.
func (h *handling) conclude(e Event, s step) (step, error) {
	if err := h.publish(e); err != nil {
		return unsettled, err
	}
	if err := h.keep("remember", func() error { return h.claims.Remember(h.hard, h.claim, e.Payload) }); err != nil {
		return unsettled, err
	}
	h.settled(h.order.OutTradeNo)
	if s == republish && h.claim.ResultSeq != h.d.Seq {
		return h.answered(h.claim.ResultSeq), nil
	}
	h.metrics.results.WithLabelValues(string(e.Status)).Inc()
	h.metrics.orderDuration.Observe(time.Since(h.d.Stored).Seconds())
	return s, h.d.Msg.Ack()
}

// publish stores an event.
func (h *handling) publish(e Event) error {
	return h.within("publish", trace.SpanKindProducer, func(ctx context.Context) error {
		e.Trace = h.traceparent(ctx)
		return h.keep("publish", func() error { return h.publisher.Publish(ctx, e) })
	})
}

// answered acks a request whose result stands: a redelivery of the one that got
// it, or a duplicate of it.
func (h *handling) answered(resultSeq uint64) step {
	h.err = h.d.Msg.Ack()
	if resultSeq == h.d.Seq {
		return republish
	}
	h.metrics.duplicates.Inc()
	return duplicate
}

// reject buries the request, tells its publisher where it can be named, and
// acks it. The order that the number may belong to is not touched.
func (h *handling) reject(reason Reason, why error) step {
	h.err = why
	now := time.Now()
	text := strings.ReplaceAll(why.Error(), "\n", "; ")
	bury := func() error {
		return h.publisher.Bury(h.hard, DeadLetter{Delivery: h.d, Reason: reason, Error: text, At: now})
	}
	if h.keep("bury", bury) != nil {
		return unsettled
	}
	h.metrics.deadLetters.WithLabelValues(string(reason)).Inc()
	if h.order.OutTradeNo != "" {
		r := h.result(Rejected, 0)
		r.Reason, r.Message = reason, cut(text, 1024)
		sum := sha256.Sum256(h.d.Data)
		e := Event{
			Status: Rejected, ID: r.OutTradeNo + ".rejected." + hex.EncodeToString(sum[:16]),
			Subject: r.OutTradeNo, At: r.CompletedAt.String(), Payload: r.encode(),
		}
		if h.publish(e) != nil {
			return unsettled
		}
		h.metrics.results.WithLabelValues(string(Rejected)).Inc()
	}
	if err := h.d.Msg.Ack(); err != nil {
		h.err = errors.Join(why, err)
	}
	return reject
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
