package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// words are what a server says in a pull, as a publisher may write them: without
// a payload, a client may take the message for the server's own.
var words = []nats.Header{
	{"Status": {"100"}, "Description": {"Idle Heartbeat"}},
	{"Status": {"404"}, "Description": {"No Messages"}},
	{"Status": {"408"}, "Description": {"Request Timeout"}, "Nats-Pending-Messages": {"1"}},
	{"Status": {"409"}, "Description": {"Batch Completed"}},
	{"Status": {"409"}, "Description": {"Message Size Exceeds MaxBytes"}},
	{"Status": {"409"}, "Description": {"Consumer Deleted"}},
	{"Status": {"503"}},
	{"Status": {"junk"}},
}

// hostilePublisher stores messages that are made to harm: words of the server,
// orders and invalid requests whose headers fill what JetStream allows, and
// headers that are to be taken for the worker's own. The orders among them are
// orders, and all others dead letters.
func hostilePublisher(w *world, n int) {
	w.pass(300*time.Millisecond, time.Second)
	for i := range 20 + w.random.IntN(40) {
		r := w.newInvalid()
		r.empty, r.header = true, words[i%len(words)]
		w.publisher.enqueue(r)
	}
	for _, long := range []nats.Header{longHeader(1), longHeader(500)} {
		r := w.newInvalid()
		r.header = long
		w.publisher.enqueue(r)
		o := w.newPlain(1)
		o[0].header = long
		w.publisher.enqueue(o...)
	}
	r := w.newInvalid()
	r.header = nats.Header{"Dead-Reason": {"conflict"}, "Dead-Headers-Dropped": {"x"}, "ce-id": {"x"}, "Traceparent": {"00-junk"}, "Status": {"503"}}
	w.publisher.enqueue(r)
	if n%3 == 2 {
		killWorker(w, n)
	}
}

// longHeader is over 65,000 bytes of headers, in so many lines.
func longHeader(lines int) nats.Header {
	header := nats.Header{}
	for i := range lines {
		name := fmt.Sprintf("X-%03d", i)
		header.Set(name, strings.Repeat("x", 65_200/lines-len(name)-len(": \r\n")))
	}
	return header
}

// foreignSubject is a subject of the stream of orders on which no orders are.
const foreignSubject = "orders.package.other"

// foreignMessages stores what looks like orders under another subject of their
// stream: new numbers, and some of those that there are. Every other time the
// consumer lets them in for a while. None is an order, and none may be lost.
func foreignMessages(w *world, n int) {
	w.pass(300*time.Millisecond, time.Second)
	w.openForeignSubject()
	if n%2 == 1 {
		for i := range w.workers {
			w.ready(i) // one that starts meanwhile would refuse such a consumer, and end
		}
		w.setFilter("orders.package.>")
	}
	for i := range 10 {
		r := request{OutTradeNo: fmt.Sprintf("foreign-%06d", w.foreign), ICCID: "8988308650100524999", PackageCode: "CN-5M", again: true, subject: foreignSubject}
		if i%2 == 1 {
			r.OutTradeNo = w.orders[w.random.IntN(len(w.orders))].OutTradeNo
		}
		w.foreign++
		w.publisher.enqueue(r)
	}
	if n%2 == 1 {
		w.until("a worker says that a message is not an order", func() bool {
			return slices.ContainsFunc(w.workers, func(p *process) bool { return p.linesWith("message of another subject handed back", 1) != "" })
		})
		w.pass(100*time.Millisecond, time.Second)
		w.setFilter(requestSubject)
	}
}

// openForeignSubject has the stream of orders take messages of another subject.
func (w *world) openForeignSubject() {
	w.t.Helper()
	w.until("the stream has another subject", func() bool {
		s, err := w.js.Stream(w.t.Context(), w.stream("ORDERS"))
		if err != nil {
			return false
		}
		config := s.CachedInfo().Config
		if slices.Contains(config.Subjects, foreignSubject) {
			return true
		}
		config.Subjects = append(config.Subjects, foreignSubject)
		_, err = w.js.UpdateStream(w.t.Context(), config)
		return err == nil
	})
}

// setFilter has the consumer deliver other subjects.
func (w *world) setFilter(subject string) {
	w.t.Helper()
	w.until("the consumer delivers "+subject, func() bool {
		c, err := w.js.Consumer(w.t.Context(), w.stream("ORDERS"), "order-worker")
		if err != nil {
			return false
		}
		config := c.CachedInfo().Config
		config.FilterSubject = subject
		_, err = w.js.UpdateConsumer(w.t.Context(), w.stream("ORDERS"), jetstream.ConsumerConfig(config))
		return err == nil
	})
}
