package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe"
	"orderworker/worker"
)

// event is a result event.
type event struct {
	seq                           uint64
	subject, id, account, payload string
	result                        worker.Result
}

// ended reports whether e is a final event of an order.
func (e event) ended() bool { return e.result.Status != worker.InDoubt }

// results reads every event, by outTradeNo, in the order of the stream.
func (w *world) results() map[string][]event {
	w.t.Helper()
	all := map[string][]event{}
	w.messages("ORDER_RESULTS", func(msg *jetstream.RawStreamMsg) {
		e := event{seq: msg.Sequence, subject: msg.Subject, id: msg.Header.Get(nats.MsgIdHdr), account: msg.Header.Get("Order-Account"), payload: string(msg.Data)}
		if err := json.Unmarshal(msg.Data, &e.result); err != nil {
			w.t.Errorf("result %s: %v", e.id, err)
		}
		all[e.result.OutTradeNo] = append(all[e.result.OutTradeNo], e)
	})
	return all
}

// judge compares the vendors' books with the events.
func (w *world) judge(sold books, events map[string][]event) *verdict {
	v := &verdict{w: w, orders: len(w.orders)}
	sales := sold.sales()
	v.bought = len(sales)
	for no, s := range sales {
		if s.times > 1 {
			v.doubles = append(v.doubles, fmt.Sprintf("%s was bought %d times", no, s.times))
		}
	}
	for _, b := range sold {
		v.peak = max(v.peak, b.PeakPerSecond)
		v.above += b.Throttled
	}
	known := map[string]bool{}
	for _, o := range w.orders {
		known[o.OutTradeNo] = true
		v.order(o, sales[o.OutTradeNo], events[o.OutTradeNo])
	}
	for no := range sales {
		if !known[no] {
			v.contradictions = append(v.contradictions, no+" was bought, and nobody ordered it")
		}
	}
	return v
}

// order judges how one order ended.
func (v *verdict) order(o request, s sale, events []event) {
	var ends []event
	why := ""
	for _, e := range events {
		switch {
		case e.ended():
			ends = append(ends, e)
			continue
		case len(ends) > 0:
			why = "was called in doubt after its end: " + e.payload
		case e.seq != events[0].seq:
			why = "was called in doubt twice: " + e.payload
		}
		v.notices++
	}
	if len(ends) == 0 {
		v.lost = append(v.lost, fmt.Sprintf("%s has no result; bought as %q", o.OutTradeNo, s.number))
		return
	}
	if wrong := v.w.contradiction(o, ends, s); wrong != "" {
		why = wrong
	}
	if why != "" {
		v.contradictions = append(v.contradictions, fmt.Sprintf("%s %s", o.OutTradeNo, why))
	}
	end := ends[0].result
	if end.Status == worker.Failed {
		v.failed++
	}
	if end.Reconciled {
		v.found++
	}
	took := end.CompletedAt.Sub(end.ReceivedAt.Time)
	v.took = append(v.took, took)
	if took > v.slowest {
		v.slowest, v.slowestNo = took, o.OutTradeNo
	}
}

// contradiction returns what is wrong with the final events of o; s is its sale, if there
// was one. There must be exactly one final event, and it must agree with the sale.
func (w *world) contradiction(o request, ends []event, s sale) string {
	end := ends[0]
	if len(ends) > 1 {
		return fmt.Sprintf("ended twice:\n\t%s %s\n\t%s %s", end.id, end.payload, ends[1].id, ends[1].payload)
	}
	status := string(end.result.Status)
	switch r := end.result; {
	case r.Status != worker.Succeeded && r.Status != worker.Failed:
		return "ended as neither succeeded nor failed: " + end.payload
	case end.id != r.OutTradeNo+"."+status:
		return fmt.Sprintf("has the wrong Nats-Msg-Id %q: %s", end.id, end.payload)
	case end.subject != w.subject("orders.package.result.")+status+"."+dedupe.SubjectToken(r.OutTradeNo):
		return fmt.Sprintf("has the wrong subject %q: %s", end.subject, end.payload)
	case r.ICCID != o.ICCID || r.PackageCode != o.PackageCode:
		return "ended as another order: " + end.payload
	case r.Status == worker.Succeeded && r.OrderNumber != s.number:
		return fmt.Sprintf("was sold as %q: %s", s.number, end.payload)
	case r.Status == worker.Succeeded && end.account != s.account:
		return fmt.Sprintf("was sold to account %s, not %s: %s", s.account, end.account, end.payload)
	case r.Status == worker.Failed && s.number != "":
		return fmt.Sprintf("failed, and was sold as %q: %s", s.number, end.payload)
	case r.Status == worker.Succeeded && o.PackageCode != "CN-5M":
		return "succeeded, and the vendor always refuses it: " + end.payload
	}
	return ""
}

// messages calls its function with every message of a stream, if the stream exists.
// Messages that are stored while it reads may be missing.
func (w *world) messages(stream string, read func(*jetstream.RawStreamMsg)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Minute)
	defer cancel()
	s, err := w.js.Stream(ctx, w.stream(stream))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if state := s.CachedInfo().State; stream == "ORDERS_DEAD" {
		w.oneByOne(ctx, s, state, read)
	} else if state.Msgs > 0 {
		w.inOrder(ctx, s, state.LastSeq, read)
	}
}

// oneByOne requests each message by itself. A consumer cannot be used: nats.go drops a
// message without a payload that has a Status header, as a dead letter may.
func (w *world) oneByOne(ctx context.Context, s jetstream.Stream, state jetstream.StreamState, read func(*jetstream.RawStreamMsg)) {
	w.t.Helper()
	for seq := max(1, state.FirstSeq); seq <= state.LastSeq; seq++ {
		msg, err := s.GetMsg(ctx, seq)
		if err != nil {
			w.t.Fatalf("read message %d: %v", seq, err)
		}
		read(msg)
	}
}

// inOrder reads a stream through consumers, up to the message that was its last when it
// began. On a very busy machine a consumer may give up; the next one continues.
func (w *world) inOrder(ctx context.Context, s jetstream.Stream, last uint64, read func(*jetstream.RawStreamMsg)) {
	w.t.Helper()
	for next := uint64(1); next <= last; {
		var err error
		if next, err = readFrom(ctx, s, next, last, read); err != nil && ctx.Err() != nil {
			w.t.Fatalf("read %s from message %d to %d: %v", s.CachedInfo().Config.Name, next, last, err)
		}
	}
}

// readFrom reads messages by one consumer, and returns which one is the next.
func readFrom(ctx context.Context, s jetstream.Stream, next, last uint64, read func(*jetstream.RawStreamMsg)) (uint64, error) {
	// A cluster may place the consumer on a node that has just died, and then does not reply.
	begin, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	consumer, err := s.OrderedConsumer(begin, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: next})
	if err != nil {
		return next, err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return next, err
	}
	defer messages.Stop()
	for next <= last {
		msg, err := nextWithin(ctx, messages, 10*time.Second)
		if err != nil {
			return next, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return next, err
		}
		read(&jetstream.RawStreamMsg{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data(), Sequence: meta.Sequence.Stream})
		next = meta.Sequence.Stream + 1
	}
	return next, nil
}

func nextWithin(ctx context.Context, messages jetstream.MessagesContext, most time.Duration) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return messages.Next(jetstream.NextContext(ctx))
}
