package worker

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// follow begins the span of the delivery, a child of the publisher's where the
// request names that (https://www.w3.org/TR/trace-context/). Without a tracer there are no spans, and no cost.
func (h *handling) follow() {
	if h.tracer == nil {
		return
	}
	parent := propagation.TraceContext{}.Extract(h.hard, propagation.MapCarrier{"traceparent": h.d.trace()})
	h.hard, h.span = h.tracer.Start(parent, "order",
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(h.began))
}

// followed ends the span of the delivery, with what its log line says.
func (h *handling) followed(s step) {
	if h.span == nil {
		return
	}
	h.span.SetAttributes(
		attribute.String("out_trade_no", h.order.OutTradeNo),
		attribute.String("step", string(s)),
		attribute.Int("attempts", h.attempts),
		attribute.Int64("delivery", int64(h.d.Count)),
		attribute.String("class", string(h.class)),
		attribute.String("code", h.code))
	end(h.span, h.err)
}

// within does op in a span of its own, a child of the delivery's.
func (h *handling) within(name string, kind trace.SpanKind, op func(context.Context) error) error {
	if h.span == nil {
		return op(h.hard)
	}
	ctx, span := h.tracer.Start(h.hard, name, trace.WithSpanKind(kind))
	err := op(ctx)
	end(span, err)
	return err
}

func end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, cut(err.Error(), 512))
	}
	span.End()
}

// traceparent is what goes on the event that is published within ctx: our span
// there, or without a tracer what the request brought.
func (h *handling) traceparent(ctx context.Context) string {
	if h.span == nil {
		return h.d.trace()
	}
	header := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, header)
	return header["traceparent"]
}

// traceID is the trace that the delivery belongs to, "" for none.
func (h *handling) traceID() string {
	if h.span != nil {
		return h.span.SpanContext().TraceID().String()
	}
	if parent := h.d.trace(); parent != "" {
		return parent[3:35]
	}
	return ""
}
