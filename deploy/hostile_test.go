package deploy

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
)

// order is a valid request.
func order(no string) []byte {
	return fmt.Appendf(nil, `{"outTradeNo":%q,"iccid":"8988308650100524999","packageCode":"CN-5M"}`, no)
}

// stored is what a hostile client must not change: every message of every
// stream but the requests themselves.
func stored(t *testing.T, admin *client) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range streamFiles {
		s, err := admin.Stream(t.Context(), name)
		if err != nil {
			t.Fatalf("stream %s: %v", name, err)
		}
		state := s.CachedInfo().State
		if name == "ORDERS" {
			all[name] = fmt.Sprint("from ", state.FirstSeq)
			continue
		}
		all[name] = fmt.Sprint(state.FirstSeq, " to ", state.LastSeq)
		for seq := max(1, state.FirstSeq); seq <= state.LastSeq; seq++ {
			m, err := s.GetMsg(t.Context(), seq)
			if err != nil {
				t.Fatalf("stream %s, message %d: %v", name, seq, err)
			}
			all[fmt.Sprint(name, " ", seq)] = m.Subject + " " + string(m.Data)
		}
	}
	return all
}

// attacked starts a guarded server with an order in each state that is worth an
// attack: journalled, finished, delivered to a worker and not acknowledged.
// The subject of that acknowledgement is returned too.
func attacked(t *testing.T) (admin, publisher, subscriber *client, ack string) {
	t.Helper()
	s := guarded(t)
	admin, publisher, subscriber = as(t, s, "admin"), as(t, s, "publisher"), as(t, s, "subscriber")
	worker := as(t, s, "worker")
	if _, err := publisher.Publish(t.Context(), "orders.package.request", order("under-way")); err != nil {
		t.Fatal(err)
	}
	for subject, data := range map[string]string{
		"orders.journal.X":                    `{"state":"intent"}`,
		"orders.package.result.succeeded.old": `{"outTradeNo":"old","status":"succeeded"}`,
		"orders.package.dead":                 `letter`,
	} {
		if _, err := worker.Publish(t.Context(), subject, []byte(data)); err != nil {
			t.Fatalf("worker: %s: %v", subject, err)
		}
	}
	consumer, err := worker.Consumer(t.Context(), "ORDERS", "order-worker")
	if err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next()
	if err != nil {
		t.Fatal(err)
	}
	return admin, publisher, subscriber, m.Reply()
}

// hostile are subjects that a client names as the reply of a request, so that
// the server publishes there.
func hostile(ack string) []string {
	const api = "$JS.API."
	return []string{
		"orders.journal.X", "orders.journal.Y",
		"orders.package.result.succeeded.X", "orders.package.result.failed.old", "orders.package.dead",
		"$KV.ORDER_CONTROL.ORDERS",
		ack, // an acknowledgement: the order would be gone
		api + "STREAM.PURGE.ORDER_JOURNAL", api + "STREAM.PURGE.ORDER_RESULTS", api + "STREAM.PURGE.ORDERS", api + "STREAM.PURGE.ORDERS_DEAD",
		api + "STREAM.DELETE.ORDER_JOURNAL", api + "CONSUMER.DELETE.ORDERS.order-worker",
		api + "CONSUMER.MSG.NEXT.ORDERS.order-worker", api + "STREAM.MSG.GET.ORDER_JOURNAL",
		api + "CONSUMER.MSG.NEXT.ORDER_RESULTS.results-reader", api + "DIRECT.GET.ORDER_RESULTS.orders.package.result.succeeded.old",
		"$JS.ACK.ORDER_RESULTS.results-reader.1.1.1.1.0", "_INBOX.worker", "orders.other",
	}
}

// unchanged fails the test where an attack changed what is stored.
func unchanged(t *testing.T, admin *client, before map[string]string, attack string) {
	t.Helper()
	after := stored(t, admin)
	for name, want := range before {
		if got := after[name]; got != want {
			t.Errorf("%s: %s is\n%s\nwas\n%s", attack, name, got, want)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%s: %d entries, were %d: %v", attack, len(after), len(before), after)
	}
}

// TestHostileReplies: a publisher that names a subject of ours as the reply of
// its request changes nothing there. In one account the server would publish
// its acknowledgement there, with its own authority.
func TestHostileReplies(t *testing.T) {
	admin, publisher, subscriber, ack := attacked(t)
	before := stored(t, admin)
	settle := func() {
		t.Helper()
		for _, c := range []*client{publisher, subscriber} { // in order, one connection: all before it was handled
			if err := c.nc.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := publisher.Publish(t.Context(), "orders.package.request", order("after")); err != nil {
			t.Fatal(err)
		}
		if _, err := direct(publisher, "orders.package.result.succeeded.old"); err != nil {
			t.Fatal(err)
		}
	}
	send := func(c *client, subject, reply string, data []byte, header nats.Header) {
		t.Helper()
		if err := c.nc.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: data, Header: header}); err != nil {
			t.Fatal(err)
		}
	}
	for i, reply := range hostile(ack) {
		no := fmt.Sprint("h-", i)
		send(publisher, "orders.package.request", reply, order(no), nil)
		// Refused requests are answered too.
		send(publisher, "orders.package.request", reply, order(no), nats.Header{jetstream.ExpectedStreamHeader: {"OTHER"}})
		// A trace goes where a header says.
		send(publisher, "orders.package.request", "", order(no), nats.Header{"Nats-Trace-Dest": {reply}})
		for _, c := range []*client{publisher, subscriber} {
			for _, token := range []string{"old", "none"} { // found, and the answer without payload
				send(c, "$JS.API.DIRECT.GET.ORDER_RESULTS.orders.package.result.succeeded."+token, reply, nil, nil)
			}
		}
		send(subscriber, "$JS.API.CONSUMER.INFO.ORDER_RESULTS.results-reader", reply, nil, nil)
		send(subscriber, "$JS.API.CONSUMER.MSG.NEXT.ORDER_RESULTS.results-reader", reply, []byte(`{"batch":1,"no_wait":true}`), nil)
		send(subscriber, "$JS.API.CONSUMER.MSG.NEXT.ORDER_RESULTS.results-reader", reply, []byte(`{"batch":1,"expires":1000000}`), nil)
		send(subscriber, "$JS.ACK.ORDER_RESULTS.results-reader.1.1.1.1.0", reply, nil, nil)
		settle()
		unchanged(t, admin, before, "reply "+reply)
	}
	// A stream stores in the order of arrival: what was on its way would be
	// before this.
	for stream, subject := range map[string]string{
		"ORDER_JOURNAL": "orders.journal.last", "ORDER_RESULTS": "orders.package.result.succeeded.last", "ORDERS_DEAD": "orders.package.dead",
	} {
		ack, err := admin.Publish(t.Context(), subject, nil)
		if err != nil || ack.Sequence != 2 {
			t.Errorf("%s: the next message is %+v (%v), want sequence 2", stream, ack, err)
		}
	}
	orders, err := admin.Stream(t.Context(), "ORDERS")
	if err != nil || orders.CachedInfo().State.LastSeq < 2*uint64(len(hostile(ack))) {
		t.Errorf("the requests themselves were not stored: %+v, %v", orders, err)
	}
	consumer, err := admin.Consumer(t.Context(), "ORDERS", "order-worker")
	if err != nil || consumer.CachedInfo().NumAckPending != 1 {
		t.Errorf("the order under way was acknowledged, or others were taken: %+v, %v", consumer, err)
	}
}

// TestOneAccountWouldNotDo shows that the attack is real: within the account of
// the streams the acknowledgement of a publisher's request is stored as a
// journal record.
func TestOneAccountWouldNotDo(t *testing.T) {
	s := guarded(t)
	admin := as(t, s, "admin")
	if err := admin.nc.PublishRequest("orders.package.request", "orders.journal.X", order("h")); err != nil {
		t.Fatal(err)
	}
	journal, err := admin.Stream(t.Context(), "ORDER_JOURNAL")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the acknowledgement is in the journal", func() bool {
		m, err := journal.GetLastMsgForSubject(t.Context(), "orders.journal.X")
		return err == nil && bytes.Contains(m.Data, []byte(`"stream":"ORDERS"`))
	})
}
