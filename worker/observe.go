package worker

import (
	"context"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"orderworker/dedupe"
)

// answer acks or naks a delivery, and makes known how it ended. It is the only
// place that does.
func (w *Worker) answer(t *task, o outcome) {
	var err error
	if o.ack {
		err = t.delivery.Msg.Ack()
	} else {
		err = t.delivery.Msg.NakWithDelay(o.delay)
	}
	switch v := verdictOf(t.claim); {
	case v == dedupe.InDoubt && !o.ack, v == dedupe.Foreign:
		w.doubts.add(t.order.OutTradeNo, time.Now().Add(o.delay))
	case v.Owned(), v == dedupe.Done: // else another delivery counts it
		w.doubts.remove(t.order.OutTradeNo)
	}
	w.log(t, o, err)
	t.span.finish(t, o)
}

func verdictOf(c *dedupe.Claim) dedupe.Verdict {
	if c == nil {
		return ""
	}
	return c.Verdict
}

// log writes the one line that a delivery gets.
func (w *Worker) log(t *task, o outcome, unanswered error) {
	e := w.logger.WithLevel(levelOf(o))
	if t.order.OutTradeNo != "" {
		e = e.Str("out_trade_no", t.order.OutTradeNo)
	}
	if t.claim != nil {
		e = e.Int("attempts", t.attempts)
	}
	if t.class != "" {
		e = e.Str("class", string(t.class))
	}
	if t.code != "" {
		e = e.Str("code", t.code)
	}
	if t.message != "" {
		e = e.Str("vendor_message", cut(t.message, 512)) // "message" is the line's own
	}
	if o.err != nil {
		e = e.Str("error", cut(oneLine(o.err), 512))
	}
	if unanswered != nil {
		e = e.Str("unanswered", cut(oneLine(unanswered), 256))
	}
	if !o.ack {
		e = e.Str("next", Time{time.Now().Add(o.delay)}.String())
	}
	if id := t.span.traceID(); id != "" {
		e = e.Str("trace_id", id)
	}
	e.Uint64("delivery", t.delivery.Count).
		Str("step", string(o.step)).
		Int64("queued_ms", t.began.Sub(t.delivery.Stored).Milliseconds()).
		Int64("ran_ms", time.Since(t.began).Milliseconds()).
		Msg("delivery finished")
}

func levelOf(o outcome) zerolog.Level {
	switch {
	case unhealable(o.err):
		return zerolog.ErrorLevel // a person has to mend it
	case o.step == StepBusy, o.step == StepNotDue, o.step == StepPaused:
		return zerolog.DebugLevel // nothing happened
	case o.step == StepInDoubt, o.step == StepInterrupted:
		return zerolog.WarnLevel
	default:
		return zerolog.InfoLevel
	}
}

// oneLine is an error's text without line breaks, which joined errors have.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// span is the trace of one delivery. Without a tracer there are no spans, and
// what the request brought goes on the result as it came.
type span struct {
	tracer trace.Tracer
	parent string     // the request's traceparent; "" for none
	span   trace.Span // nil: no tracer
}

// follow begins the span of a delivery, a child of the publisher's where the
// request names that.
//
// Source: https://www.w3.org/TR/trace-context/.
func (w *Worker) follow(d *Delivery, began time.Time) span {
	s := span{tracer: w.tracer, parent: d.trace()}
	if w.tracer != nil {
		parent := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": s.parent})
		_, s.span = w.tracer.Start(parent, "order", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(began))
	}
	return s
}

// finish ends the span, with what the log line says.
func (s span) finish(t *task, o outcome) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(
		attribute.String("out_trade_no", t.order.OutTradeNo),
		attribute.String("step", string(o.step)),
		attribute.Int("attempts", t.attempts),
		attribute.Int64("delivery", int64(t.delivery.Count)),
		attribute.String("class", string(t.class)),
		attribute.String("code", t.code))
	end(s.span, o.err)
}

// within does op in a span of its own, a child of the delivery's.
func (s span) within(ctx context.Context, name string, op func(context.Context) error) error {
	return s.child(ctx, name, trace.SpanKindInternal, op)
}

// call is within for a call to the vendor.
func (s span) call(ctx context.Context, name string, op func(context.Context) error) error {
	return s.child(ctx, name, trace.SpanKindClient, op)
}

// publish is within for an event, which carries the traceparent on.
func (s span) publish(ctx context.Context, op func(ctx context.Context, traceparent string) error) error {
	return s.child(ctx, "publish", trace.SpanKindProducer, func(ctx context.Context) error {
		if s.span == nil {
			return op(ctx, s.parent)
		}
		header := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, header)
		return op(ctx, header["traceparent"])
	})
}

func (s span) child(ctx context.Context, name string, kind trace.SpanKind, op func(context.Context) error) error {
	if s.span == nil {
		return op(ctx)
	}
	ctx, child := s.tracer.Start(trace.ContextWithSpan(ctx, s.span), name, trace.WithSpanKind(kind))
	err := op(ctx)
	end(child, err)
	return err
}

func end(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, cut(oneLine(err), 512))
	}
	s.End()
}

// traceID is the trace that the delivery belongs to, "" for none.
func (s span) traceID() string {
	if s.span != nil {
		return s.span.SpanContext().TraceID().String()
	}
	if s.parent != "" {
		return s.parent[3:35]
	}
	return ""
}
