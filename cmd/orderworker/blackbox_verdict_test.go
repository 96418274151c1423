package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// verdict is what became of a scenario's orders, by the vendor's book and the
// streams alone. The lists hold one line for each order that ended wrong.
type verdict struct {
	w                             *world
	orders, bought, failed, found int             // found: by the lookup
	took                          []time.Duration // from stored to result
	slowest                       time.Duration
	slowestNo                     string
	doubles, lost, contradictions []string
}

// patience is how long nothing at all may happen while orders are unfinished:
// longer than the longest wait between two lookups, 13.5 s with these settings.
const patience = 60 * time.Second

// verdict waits until every request is stored and acknowledged, stops the
// workers, and judges.
func (w *world) verdict() *verdict {
	w.t.Helper()
	w.drain()
	w.readShown()
	for _, p := range w.workers {
		if !p.stop(30 * time.Second) {
			w.t.Errorf("%s did not stop with exit status 0", p.name)
		}
	}
	w.readLogs()
	return w.judge(w.book(), w.results())
}

// drain waits until no request is unfinished, as long as they become fewer.
func (w *world) drain() {
	w.t.Helper()
	least, since := w.unfinished(), time.Now()
	for n := least; n > 0; n = w.unfinished() {
		if n < least {
			least, since = n, time.Now()
		}
		if time.Since(since) > patience {
			w.t.Errorf("%d requests are left, and none ended for %v", n, patience)
			return
		}
		time.Sleep(50 * time.Millisecond) // between two polls, under the deadline above
	}
}

// unfinished counts the requests that are not stored or not acknowledged.
func (w *world) unfinished() int {
	waiting := w.publisher.left()
	stream, err := w.js.Stream(w.t.Context(), "ORDERS")
	if err != nil {
		return waiting + 1 // it cannot be seen: at least that is not finished
	}
	return waiting + int(stream.CachedInfo().State.Msgs)
}

// judge compares the vendor's book with the result events, by their
// Nats-Msg-Id.
func (w *world) judge(book sandbox.Book, events map[string][]event) *verdict {
	v := &verdict{w: w, orders: len(w.orders)}
	numbers := map[string]string{}
	for _, p := range slices.Backward(book.Purchases) { // of two, the first counts
		numbers[p.OutTradeNo] = p.OrderNumber
	}
	v.bought = len(book.PerOutTradeNo)
	for no, n := range book.PerOutTradeNo {
		if n > 1 {
			v.doubles = append(v.doubles, fmt.Sprintf("%s was bought %d times", no, n))
		}
	}
	known := map[string]bool{}
	for _, o := range w.orders {
		known[o.OutTradeNo] = true
		ends := events[o.OutTradeNo]
		if len(ends) == 0 {
			v.lost = append(v.lost, fmt.Sprintf("%s has no result; bought as %q", o.OutTradeNo, numbers[o.OutTradeNo]))
			continue
		}
		if why := contradiction(o, ends, numbers[o.OutTradeNo]); why != "" {
			v.contradictions = append(v.contradictions, fmt.Sprintf("%s %s", o.OutTradeNo, why))
		}
		if ends[0].result.Status == worker.Failed {
			v.failed++
		}
		took := ends[0].result.CompletedAt.Sub(ends[0].result.ReceivedAt.Time)
		v.took = append(v.took, took)
		if took > v.slowest {
			v.slowest, v.slowestNo = took, o.OutTradeNo
		}
		if ends[0].result.Reconciled {
			v.found++
		}
	}
	for no := range book.PerOutTradeNo {
		if !known[no] {
			v.contradictions = append(v.contradictions, no+" was bought, and nobody ordered it")
		}
	}
	return v
}

// contradiction says what is wrong with the ends of o, which the vendor sold
// as number; empty: it was not sold. The same event may have come again, but
// then with the same words.
func contradiction(o request, ends []event, number string) string {
	first := ends[0]
	for _, e := range ends[1:] {
		if e.id != first.id || e.payload != first.payload {
			return fmt.Sprintf("ended twice:\n\t%s %s\n\t%s %s", first.id, first.payload, e.id, e.payload)
		}
	}
	switch r := first.result; {
	case first.id != r.OutTradeNo+"."+string(r.Status):
		return fmt.Sprintf("has the wrong Nats-Msg-Id %q: %s", first.id, first.payload)
	case r.ICCID != o.ICCID || r.PackageCode != o.PackageCode:
		return "ended as another order: " + first.payload
	case r.Status != worker.Succeeded && r.Status != worker.Failed:
		return "ended as neither succeeded nor failed: " + first.payload
	case r.Status == worker.Succeeded && r.OrderNumber != number:
		return fmt.Sprintf("was sold as %q: %s", number, first.payload)
	case r.Status == worker.Failed && number != "":
		return fmt.Sprintf("failed, and was sold as %q: %s", number, first.payload)
	case r.Status == worker.Succeeded && o.PackageCode != "CN-5M":
		return "succeeded, and the vendor always refuses it: " + first.payload
	}
	return ""
}

// summary is the scenario's one line. Where none of n orders ended wrong, the
// rate of wrong ends is below 3/n, with 95 % confidence.
func (v *verdict) summary(s size) string {
	return fmt.Sprintf("%d faults, %d orders (%d bought, %d failed, %d found by lookup, the slowest took %v): %d double purchases, %d lost, %d contradictions (bound 3/n = %.2g)",
		s.faults, v.orders, v.bought, v.failed, v.found, v.slowest.Round(time.Second), len(v.doubles), len(v.lost), len(v.contradictions), 3/float64(max(1, v.orders)))
}

// report fails the test where an order ended wrong, with what the logs say of
// the first few.
func (v *verdict) report(t *testing.T) {
	t.Helper()
	if v.slowest > patience {
		t.Logf("the slowest order:\n%s", v.w.logged(v.slowestNo))
	}
	for what, wrong := range map[string][]string{"double purchase": v.doubles, "lost": v.lost, "contradiction": v.contradictions} {
		slices.Sort(wrong)
		for i, line := range wrong {
			if i == 3 {
				t.Errorf("%s: and %d more", what, len(wrong)-i)
				break
			}
			no, _, _ := strings.Cut(line, " ")
			t.Errorf("%s: %s\n%s\n%s", what, line, v.w.journalled(no), v.w.logged(no))
		}
	}
	for i, line := range v.w.spilled.lines {
		if i == 10 {
			t.Errorf("and %d more", len(v.w.spilled.lines)-i)
			break
		}
		t.Error(line)
	}
	if seen := v.w.spilled.answers; seen["/metrics 200"] == 0 || seen["/readyz 200"]+seen["/readyz 503"] == 0 {
		t.Errorf("pages seen: %v", seen)
	}
	dead := 0
	v.w.messages("ORDERS_DEAD", func(msg jetstream.Msg) {
		dead++
		if reason := msg.Headers().Get("Dead-Reason"); reason != string(worker.Invalid) || v.w.invalid == 0 {
			t.Errorf("a dead letter, %s: %s", reason, msg.Data())
		}
	})
	if dead < v.w.invalid { // it may have been stored twice, and is then buried twice
		t.Errorf("%d dead letters, want %d", dead, v.w.invalid)
	}
}

// logged is what the workers' logs say of an order.
func (w *world) logged(outTradeNo string) string {
	var lines strings.Builder
	for _, p := range w.workers {
		lines.WriteString(p.linesWith(`"`+outTradeNo+`"`, 20))
	}
	return lines.String()
}

// journalled is the journal's record of an order.
func (w *world) journalled(outTradeNo string) string {
	stream, err := w.js.Stream(w.t.Context(), "ORDER_JOURNAL")
	if err != nil {
		return err.Error()
	}
	msg, err := stream.GetLastMsgForSubject(w.t.Context(), "orders.journal."+outTradeNo)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("journal %d: %s", msg.Sequence, msg.Data)
}

// book asks the vendor what was bought.
func (w *world) book() sandbox.Book {
	w.t.Helper()
	response, err := http.Get(w.vendorURL + "/book")
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var b sandbox.Book
	if err := json.NewDecoder(response.Body).Decode(&b); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// event is a final result event.
type event struct {
	id, payload string
	result      worker.Result
}

// results reads every final event, by outTradeNo.
func (w *world) results() map[string][]event {
	w.t.Helper()
	all := map[string][]event{}
	w.messages("ORDER_RESULTS", func(msg jetstream.Msg) {
		e := event{id: msg.Headers().Get(nats.MsgIdHdr), payload: string(msg.Data())}
		if err := json.Unmarshal(msg.Data(), &e.result); err != nil {
			w.t.Errorf("result %s: %v", e.id, err)
		}
		if e.result.Status != worker.InDoubt {
			all[e.result.OutTradeNo] = append(all[e.result.OutTradeNo], e)
		}
	})
	return all
}

// messages passes on every message in a stream, if there is one. What is stored
// meanwhile may be missing.
func (w *world) messages(stream string, read func(jetstream.Msg)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	s, err := w.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var consumer jetstream.Consumer
	w.until("the stream can be read", func() bool { // a cluster may lay the consumer on a node that has just died, and then does not answer
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		consumer, err = s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
		return err == nil
	})
	last := s.CachedInfo().State.LastSeq
	if s.CachedInfo().State.Msgs == 0 {
		return
	}
	messages, err := consumer.Messages()
	if err != nil {
		w.t.Fatal(err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			w.t.Fatalf("read %s: %v", stream, err)
		}
		read(msg)
		meta, err := msg.Metadata()
		if err != nil {
			w.t.Fatal(err)
		}
		if meta.Sequence.Stream >= last {
			return
		}
	}
}
