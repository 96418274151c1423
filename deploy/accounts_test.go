package deploy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
)

// may is what nats.conf allows a user.
func may(t *testing.T, user string) *server.Permissions {
	t.Helper()
	for _, u := range natsOptions(t).Users {
		if u.Username == user {
			return u.Permissions
		}
	}
	t.Fatalf("there is no user %s", user)
	return nil
}

// mayPublish is what a user may publish, by the names that the account of the
// streams knows.
func mayPublish(t *testing.T, user string) []string {
	t.Helper()
	var subjects []string
	for _, subject := range may(t, user).Publish.Allow {
		if subject == "results-reader.info" { // mapped, and imported under this name
			subject = "$JS.API.CONSUMER.INFO.ORDER_RESULTS.results-reader"
		}
		subjects = append(subjects, subject)
	}
	return subjects
}

// watch collects the subjects of all that is published in the account of the
// streams from now on. What it returns fails the test where a user may publish
// what nobody did publish: a permission that nothing needs. notYet are allowed
// for a part of the program that is still to come.
func watch(t *testing.T, s *server.Server) (used func(t *testing.T, user string, notYet ...string)) {
	t.Helper()
	admin := as(t, s, "admin")
	var mu sync.Mutex
	seen := map[string]bool{}
	if _, err := admin.nc.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		seen[m.Subject] = true
	}); err != nil {
		t.Fatal(err)
	}
	if err := admin.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, user string, notYet ...string) {
		t.Helper()
		for _, allowed := range mayPublish(t, user) {
			if slices.Contains(notYet, allowed) {
				continue
			}
			storetest.Eventually(t, "somebody publishes to "+allowed+", which "+user+" may", func() bool {
				mu.Lock()
				defer mu.Unlock()
				for subject := range seen {
					if server.SubjectsCollide(subject, allowed) {
						return true
					}
				}
				return false
			})
		}
	}
}

// TestAccountsShareNoMore: publishers and subscribers import what their users
// may use and nothing else, and nothing is exported to everybody.
func TestAccountsShareNoMore(t *testing.T) {
	s := start(t)
	account := func(name string) *server.AccountInfo {
		t.Helper()
		info, err := s.Accountz(&server.AccountzOptions{Account: name})
		if err != nil {
			t.Fatal(err)
		}
		if js := info.Account.JetStream; js != (name == "ORDERWORKER") {
			t.Errorf("account %s: JetStream %v", name, js)
		}
		return info.Account
	}
	for _, export := range account("ORDERWORKER").Exports {
		if len(export.ApprovedAccounts) == 0 {
			t.Errorf("every account may import %s", export.Subject)
		}
	}
	for _, user := range []string{"publisher", "subscriber"} {
		var imported, allowed []string
		for _, i := range account(accountOf[user]).Imports {
			if i.Account == "$SYS" { // the server's own, in every account: JetStream, which is off, and connections
				continue
			}
			if i.Invalid || i.Account != "ORDERWORKER" {
				t.Errorf("%s: import %s of %s, invalid %v", user, i.Subject, i.Account, i.Invalid)
			}
			imported = append(imported, i.Type.String()+" "+string(i.Subject))
		}
		for _, subject := range mayPublish(t, user) {
			allowed = append(allowed, "service "+subject)
		}
		for _, subject := range may(t, user).Subscribe.Allow {
			if !strings.HasPrefix(subject, "_INBOX_"+user+".") {
				allowed = append(allowed, "stream "+subject)
			}
		}
		slices.Sort(imported)
		slices.Sort(allowed)
		if !slices.Equal(imported, allowed) {
			t.Errorf("%s: its account imports\n%q\nand it may use\n%q", user, imported, allowed)
		}
	}
}

// direct reads the last result of a subject as `results` does, with no
// permission but that of Direct Get.
func direct(c *client, subject string) (string, error) {
	m, err := c.nc.Request("$JS.API.DIRECT.GET.ORDER_RESULTS."+subject, nil, 5*time.Second)
	if err != nil {
		return "", err
	}
	if status := m.Header.Get("Status"); status != "" {
		return status, nil
	}
	return string(m.Data), nil
}

// TestPublisherAcrossAccounts: a publisher gets each acknowledgement, one by one
// and in flight, an answer where the stream refuses, and reads results by
// subject.
func TestPublisherAcrossAccounts(t *testing.T) {
	s := guarded(t)
	publisher, worker := as(t, s, "publisher"), as(t, s, "worker")
	used := watch(t, s)
	ack, err := publisher.Publish(t.Context(), "orders.package.request", order("one"))
	if err != nil || ack.Stream != "ORDERS" || ack.Sequence != 1 {
		t.Fatalf("publish: %+v, %v", ack, err)
	}
	var futures []jetstream.PubAckFuture
	for i := range 1000 {
		f, err := publisher.PublishAsync("orders.package.request", order(fmt.Sprint("async-", i)))
		if err != nil {
			t.Fatalf("publish %d: %v", i, err)
		}
		futures = append(futures, f)
	}
	for i, f := range futures {
		select {
		case got := <-f.Ok():
			if want := uint64(i + 2); got.Stream != "ORDERS" || got.Sequence != want {
				t.Fatalf("order %d: %+v, want sequence %d", i, got, want)
			}
		case err := <-f.Err():
			t.Fatalf("order %d: %v", i, err)
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
	if _, err := publisher.Publish(t.Context(), "orders.package.request", order("two"), jetstream.WithExpectStream("OTHER")); err == nil {
		t.Error("a refusal is not told")
	}
	const event = `{"outTradeNo":"one","status":"succeeded"}`
	if _, err := worker.Publish(t.Context(), "orders.package.result.succeeded.one", []byte(event)); err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]string{
		"orders.package.result.succeeded.one": event, "orders.package.result.failed.one": "404",
	} {
		if got, err := direct(publisher, subject); err != nil || got != want {
			t.Errorf("publisher reads %s: %q, %v, want %q", subject, got, err, want)
		}
	}
	used(t, "publisher")
}

// TestSubscriberAcrossAccounts: a subscriber hears results as they come, works
// them off with its durable consumer, acknowledgements included, and reads them
// by subject.
func TestSubscriberAcrossAccounts(t *testing.T) {
	s := guarded(t)
	worker, subscriber := as(t, s, "worker"), as(t, s, "subscriber")
	used := watch(t, s)
	live, err := subscriber.nc.SubscribeSync("orders.package.result.>")
	if err != nil {
		t.Fatal(err)
	}
	failures, err := subscriber.nc.SubscribeSync("orders.package.result.failed.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := subscriber.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	subjects := []string{"orders.package.result.succeeded.a", "orders.package.result.failed.b", "orders.package.result.in_doubt.c", "orders.package.result.rejected.d"}
	for _, subject := range subjects {
		if _, err := worker.Publish(t.Context(), subject, []byte(subject)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range subjects {
		if m, err := live.NextMsg(5 * time.Second); err != nil || m.Subject != want || string(m.Data) != want {
			t.Fatalf("live: %+v, %v, want %s", m, err, want)
		}
	}
	if m, err := failures.NextMsg(5 * time.Second); err != nil || m.Subject != subjects[1] {
		t.Errorf("failures: %+v, %v", m, err)
	}

	reader, err := subscriber.Consumer(t.Context(), "ORDER_RESULTS", "results-reader")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 100)
	// Consume keeps several requests for messages open, as a service would.
	running, err := reader.Consume(func(m jetstream.Msg) {
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Errorf("acknowledge %s: %v", m.Subject(), err)
		}
		got <- m.Subject()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer running.Stop()
	const late = "orders.package.result.succeeded.e"
	if _, err := worker.Publish(t.Context(), late, []byte(late)); err != nil {
		t.Fatal(err)
	}
	for _, want := range append(subjects, late) {
		select {
		case subject := <-got:
			if subject != want {
				t.Errorf("consumed %s, want %s", subject, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s does not come", want)
		}
	}
	info, err := reader.Info(t.Context())
	if err != nil || info.NumAckPending != 0 || info.NumPending != 0 || info.AckFloor.Consumer != uint64(len(subjects))+1 {
		t.Errorf("acknowledgements do not arrive: %+v, %v", info, err)
	}
	if data, err := direct(subscriber, late); err != nil || data != late {
		t.Errorf("read by subject: %q, %v", data, err)
	}
	used(t, "subscriber")
}

// TestOperatorReadsAndPauses: an operator reads requests, results, dead letters
// and the journal, and writes the journal and the bucket of the pause, which
// the worker reads.
func TestOperatorReadsAndPauses(t *testing.T) {
	s := guarded(t)
	operator, worker, publisher := as(t, s, "operator"), as(t, s, "worker"), as(t, s, "publisher")
	used := watch(t, s)
	if _, err := publisher.Publish(t.Context(), "orders.package.request", order("X")); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"orders.journal.X", "orders.package.result.failed.X", "orders.package.dead"} {
		if _, err := worker.Publish(t.Context(), subject, []byte(subject)); err != nil {
			t.Fatal(err)
		}
	}
	for stream, subject := range map[string]string{
		"ORDERS": "orders.package.request", "ORDER_RESULTS": "orders.package.result.failed.X", "ORDERS_DEAD": "orders.package.dead", "ORDER_JOURNAL": "orders.journal.X",
	} {
		opened, err := operator.Stream(t.Context(), stream)
		if err != nil {
			t.Fatalf("operator: stream %s: %v", stream, err)
		}
		if m, err := opened.GetMsg(t.Context(), 1); err != nil || m.Subject != subject {
			t.Errorf("operator: stream %s: %+v, %v", stream, m, err)
		}
		if m, err := opened.GetLastMsgForSubject(t.Context(), subject); err != nil || m.Subject != subject {
			t.Errorf("operator: stream %s by subject: %+v, %v", stream, m, err)
		}
	}
	// As `status` does, which asks the leader.
	if m, err := operator.nc.Request("$JS.API.STREAM.MSG.GET.ORDER_RESULTS", []byte(`{"last_by_subj":"orders.package.result.failed.X"}`), 5*time.Second); err != nil || !bytes.Contains(m.Data, []byte(`"seq":1`)) {
		t.Errorf("operator asks the leader for a result: %v, %v", m, err)
	}
	if _, err := operator.Publish(t.Context(), "orders.journal.X", []byte("settled"), jetstream.WithExpectLastSequencePerSubject(1)); err != nil {
		t.Errorf("operator settles: %v", err)
	}

	control, err := operator.KeyValue(t.Context(), "ORDER_CONTROL")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Create(t.Context(), "ORDERS", []byte("paused")); err != nil {
		t.Fatalf("operator pauses: %v", err)
	}
	if err := control.Delete(t.Context(), "ORDERS"); err != nil {
		t.Fatalf("operator resumes: %v", err)
	}
	if _, err := control.PutString(t.Context(), "ORDERS", "paused again"); err != nil {
		t.Fatalf("operator pauses again: %v", err)
	}
	// Nothing watches the bucket: its words are read one by one.
	if bucket, err := operator.Stream(t.Context(), "KV_ORDER_CONTROL"); err != nil {
		t.Error(err)
	} else if m, err := bucket.GetMsg(t.Context(), 3); err != nil || string(m.Data) != "paused again" {
		t.Errorf("the third word: %v, %v", m, err)
	}
	seen, err := worker.KeyValue(t.Context(), "ORDER_CONTROL")
	if err != nil {
		t.Fatal(err)
	}
	if entry, err := seen.Get(t.Context(), "ORDERS"); err != nil || string(entry.Value()) != "paused again" {
		t.Errorf("the worker reads %v, %v", entry, err)
	}

	// All results, as a list of orders needs them, and how the workers stand.
	// The console follows the dead letters in the same way.
	for stream, subject := range map[string]string{"ORDER_RESULTS": "orders.package.result.failed.X", "ORDERS_DEAD": "orders.package.dead"} {
		search, err := operator.CreateConsumer(t.Context(), stream, jetstream.ConsumerConfig{FilterSubject: subject})
		if err != nil {
			t.Fatalf("operator searches %s: %v", stream, err)
		}
		if m, err := search.Next(); err != nil || m.Subject() != subject {
			t.Errorf("operator finds %+v, %v", m, err)
		}
		if _, err := search.Info(t.Context()); err != nil {
			t.Error(err)
		}
	}
	// A dead letter that was replayed is removed.
	if m, err := operator.nc.Request("$JS.API.STREAM.MSG.DELETE.ORDERS_DEAD", []byte(`{"seq":1,"no_erase":true}`), 5*time.Second); err != nil || !bytes.Contains(m.Data, []byte(`"success":true`)) {
		t.Errorf("operator removes a dead letter: %v, %v", m, err)
	}
	if _, err := operator.Consumer(t.Context(), "ORDERS", "order-worker"); err != nil {
		t.Errorf("operator looks at the workers' consumer: %v", err)
	}
	used(t, "operator")
}

// TestDeadLettersCannotFillTheDisk: a full stream of dead letters refuses the
// next one and keeps the others. The worker then hands the request back.
func TestDeadLettersCannotFillTheDisk(t *testing.T) {
	s := start(t)
	admin := as(t, s, "admin")
	var config jetstream.StreamConfig
	strictly(t, "ORDERS_DEAD", &config)
	config.MaxBytes = 100_000 // as it is, but for its size
	if _, err := admin.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	worker, letter := as(t, s, "worker"), bytes.Repeat([]byte("x"), 10_000)
	n := 0
	for ; n < 20; n++ {
		if _, err := worker.Publish(t.Context(), "orders.package.dead", letter); err != nil {
			break
		}
	}
	dead, err := admin.Stream(t.Context(), "ORDERS_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	if state := dead.CachedInfo().State; n == 0 || n == 20 || state.FirstSeq != 1 || state.Msgs != uint64(n) {
		t.Errorf("%d letters were taken; the stream has %d, from %d", n, state.Msgs, state.FirstSeq)
	}
}

// TestCorrectedRequestIsStored: a corrected request with the same Nats-Msg-Id
// is stored a moment after the first.
func TestCorrectedRequestIsStored(t *testing.T) {
	publisher := as(t, guarded(t), "publisher")
	first, err := publisher.Publish(t.Context(), "orders.package.request", []byte(`{"outTradeNo":"N"}`), jetstream.WithMsgID("N"))
	if err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the corrected request is stored", func() bool {
		second, err := publisher.Publish(t.Context(), "orders.package.request", order("N"), jetstream.WithMsgID("N"))
		if err != nil {
			t.Fatal(err)
		}
		return !second.Duplicate && second.Sequence > first.Sequence
	})
}
