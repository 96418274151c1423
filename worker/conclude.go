package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"orderworker/dedupe"
)

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
	e.Seq, e.Fingerprint = h.d.Seq, h.claim.Fingerprint
	if h.claim.ResultSeq != 0 {
		e.Seq = h.claim.ResultSeq
	}
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
		return h.publisher.Bury(h.hard, DeadLetter{Delivery: h.d, Reason: reason, Error: cut(text, 1024), At: now})
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
