package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// words are headers with which NATS ends a pull. A publisher may set them too, and a
// client may then take a message without a payload for one of the server.
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

// hostilePublisher publishes messages that are made to do harm: with headers of the
// server, with as many bytes of headers as JetStream takes, and with headers that pretend
// to be the worker's. The valid order requests among them must be bought; all others
// must become dead letters.
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

// longHeader returns more than 65,000 bytes of headers in the given number of lines.
func longHeader(lines int) nats.Header {
	header := nats.Header{}
	for i := range lines {
		name := fmt.Sprintf("X-%03d", i)
		header.Set(name, strings.Repeat("x", 65_200/lines-len(name)-len(": \r\n")))
	}
	return header
}

// foreignSubject is a subject of the orders stream that is not the one of order requests.
const foreignSubject = "orders.package.other"

// foreignMessages publishes messages that look like order requests on another subject of
// the orders stream, with new numbers and with numbers of existing orders. Every other
// time the consumer's filter admits them for a while. None may be taken for an order
// request, and none may be lost.
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

// openForeignSubject adds foreignSubject to the orders stream.
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

// setFilter changes which subjects the consumer delivers.
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
