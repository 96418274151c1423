package worker

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// log writes the one line of a delivery. ackErr is the error of its ack or nak.
func (w *Worker) log(t *task, o outcome, ackErr error) {
	e := w.logger.WithLevel(levelOf(o))
	if t.order.OutTradeNo != "" {
		e = e.Str("out_trade_no", t.order.OutTradeNo)
	}
	if t.claim != nil {
		e = e.Int("attempts", t.refusals)
	}
	if t.class != "" {
		e = e.Str("class", string(t.class))
	}
	if t.code != "" {
		e = e.Str("code", t.code)
	}
	if t.message != "" {
		e = e.Str("vendor_message", cut(t.message, 512)) // the key "message" is taken by the event
	}
	if o.err != nil {
		e = e.Str("error", cut(oneLine(o.err), 512))
	}
	if ackErr != nil {
		e = e.Str("unanswered", cut(oneLine(ackErr), 256))
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
	case unrecoverable(o.err):
		return zerolog.ErrorLevel // a person has to repair something
	case o.step == StepBusy, o.step == StepNotDue, o.step == StepPaused:
		return zerolog.DebugLevel // nothing happened
	case o.step == StepInDoubt, o.step == StepInterrupted:
		return zerolog.WarnLevel
	default:
		return zerolog.InfoLevel
	}
}

// oneLine returns the text of err without line breaks, which joined errors have.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// span is the trace of one delivery. Without a tracer there are no spans, and an
// event carries the request's traceparent as it came.
type span struct {
	tracer trace.Tracer
	parent string     // the request's traceparent; "" for none
	span   trace.Span // nil: no tracer
}

// traceparent is the form of the header of that name: 55 characters. A header of
// another form is not put on other messages.
//
// Source: https://www.w3.org/TR/trace-context/#traceparent-header.
var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// startSpan starts the span of a delivery, as a child of the span that the
// request's traceparent names.
func (w *Worker) startSpan(d *Delivery, began time.Time) span {
	s := span{tracer: w.tracer}
	for _, name := range []string{"Traceparent", "traceparent"} { // the last one counts
		if v := d.Header[name]; len(v) > 0 && traceparent.MatchString(v[0]) {
			s.parent = v[0]
		}
	}
	if w.tracer != nil {
		parent := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": s.parent})
		_, s.span = w.tracer.Start(parent, "order", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(began))
	}
	return s
}

// finish ends the span of the delivery, with the facts of the log line.
func (s span) finish(t *task, o outcome) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(
		attribute.String("out_trade_no", t.order.OutTradeNo),
		attribute.String("step", string(o.step)),
		attribute.Int("attempts", t.refusals),
		attribute.Int64("delivery", int64(t.delivery.Count)),
		attribute.String("class", string(t.class)),
		attribute.String("code", t.code))
	end(s.span, o.err)
}

// do calls op in a span of its own, a child of the delivery's.
func (s span) do(ctx context.Context, name string, op func(context.Context) error) error {
	if s.span == nil {
		return op(ctx)
	}
	kind := trace.SpanKindInternal
	switch name {
	case "orderPackage":
		kind = trace.SpanKindClient
	case "publish":
		kind = trace.SpanKindProducer
	}
	ctx, child := s.tracer.Start(trace.ContextWithSpan(ctx, s.span), name, trace.WithSpanKind(kind))
	err := op(ctx)
	end(child, err)
	return err
}

// traceparent returns what an event carries on: the span in ctx or, without a
// tracer, the request's own traceparent.
func (s span) traceparent(ctx context.Context) string {
	if s.span == nil {
		return s.parent
	}
	header := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, header)
	return header["traceparent"]
}

func end(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, cut(oneLine(err), 512))
	}
	s.End()
}

// traceID returns the trace that the delivery belongs to, or "".
func (s span) traceID() string {
	if s.span != nil {
		return s.span.SpanContext().TraceID().String()
	}
	if s.parent != "" {
		return s.parent[3:35]
	}
	return ""
}
