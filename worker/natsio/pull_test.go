package natsio

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/dedupe/storetest"
	"orderworker/worker"
)

// request publishes an order request, or what somebody takes for one.
func request(t *testing.T, js jetstream.JetStream, data string, headers ...string) {
	t.Helper()
	msg := nats.NewMsg("orders.package.request")
	msg.Data = []byte(data)
	for i := 0; i < len(headers); i += 2 {
		msg.Header.Set(headers[i], headers[i+1])
	}
	if _, err := js.PublishMsg(t.Context(), msg); err != nil {
		t.Fatal(err)
	}
}

// pull makes one Pull.
func pull(t *testing.T, j *JetStream, n int) []*worker.Delivery {
	t.Helper()
	var all []*worker.Delivery
	if err := j.Pull(t.Context(), n, func(d *worker.Delivery) { all = append(all, d) }); err != nil {
		t.Fatal(err)
	}
	return all
}

func ack(t *testing.T, all ...*worker.Delivery) {
	t.Helper()
	for _, d := range all {
		if err := d.Msg.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

// openLossy opens streams that exist, whatever is wrong with them.
func openLossy(t *testing.T, js jetstream.JetStream, log zerolog.Logger) *JetStream {
	t.Helper()
	names := names
	names.AllowLossy = true
	j, err := Open(t.Context(), js, names, log)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// nats.go takes such a message for a word of the server: it was never answered,
// and the messages behind it were thrown away.
func TestMessageWithAStatusHeaderIsAnOrder(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	codes := []string{"100", "404", "408", "409", "503", "400", "x"}
	for i := range 70 {
		request(t, js, "", "Status", codes[i%len(codes)], "Description", "Batch Completed")
	}
	for i := range 5 {
		request(t, js, fmt.Sprint("good ", i))
	}
	var good, empty int
	for good+empty < 75 {
		all := pull(t, j, 16)
		if len(all) == 0 {
			t.Fatalf("%d good and %d empty messages came, want 5 and 70", good, empty)
		}
		for _, d := range all {
			if len(d.Data) > 0 {
				good++
			} else {
				empty++
			}
		}
		ack(t, all...)
	}
	s, err := js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "all are acknowledged", func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.Msgs == 0
	})
	if good != 5 || empty != 70 {
		t.Errorf("%d good and %d empty messages came, want 5 and 70", good, empty)
	}
}

func TestPullGivesNoMoreThanWasAskedFor(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	for i := range 10 {
		request(t, js, fmt.Sprint(i))
	}
	sub := func() *nats.Subscription { return j.puller.sub }
	first := pull(t, j, 3)
	used := sub()
	if b, err := j.Pending(t.Context()); err != nil || b.AckPending != 3 { // the ack wait of those runs
		t.Errorf("%d messages are delivered, %v; want 3", b.AckPending, err)
	}
	second := pull(t, j, 2)
	third := pull(t, j, 3)
	if len(first) != 3 || len(second) != 2 || len(third) != 3 || string(third[2].Data) != "7" {
		t.Errorf("%d, %d and %d messages, want 3, 2 and 3", len(first), len(second), len(third))
	}
	if sub() != used {
		t.Error("a pull made another subscription")
	}
	rest := pull(t, j, 8) // there are two: the pull ends by itself
	if len(rest) != 2 || rest[1].Seq != 10 || rest[1].Count != 1 || time.Since(rest[1].Stored) > time.Minute {
		t.Errorf("%d messages, the last is %+v", len(rest), rest[len(rest)-1])
	}
	if sub() != used {
		t.Error("a pull made another subscription")
	}
}

func TestDeliveryIsAnswered(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	consumer, err := js.Consumer(t.Context(), "ORDERS", "order-worker")
	if err != nil {
		t.Fatal(err)
	}
	info := func() *jetstream.ConsumerInfo {
		i, err := consumer.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	request(t, js, "A")
	d := pull(t, j, 1)[0]
	if err := d.Msg.InProgress(); err != nil {
		t.Error(err)
	}
	if err := d.Msg.NakWithDelay(time.Millisecond); err != nil {
		t.Error(err)
	}
	if d.Msg.Ack() == nil || d.Msg.InProgress() == nil {
		t.Error("a delivery was answered twice")
	}
	again := pull(t, j, 1)
	if len(again) != 1 || again[0].Count != 2 {
		t.Fatalf("%+v, want A a second time", again)
	}
	if err := again[0].Msg.NakWithDelay(0); err != nil { // at once
		t.Error(err)
	}
	again = pull(t, j, 1)
	if len(again) != 1 || again[0].Count != 3 {
		t.Fatalf("%+v, want A a third time", again)
	}
	if err := again[0].Msg.NakWithDelay(time.Hour); err != nil {
		t.Error(err)
	}
	if early := pull(t, j, 1); len(early) != 0 {
		t.Errorf("%+v came an hour early", early[0])
	}
	if i := info(); i.NumAckPending != 1 {
		t.Errorf("%d are pending, want A", i.NumAckPending)
	}
	request(t, js, "B")
	ack(t, pull(t, j, 1)...)
	storetest.Eventually(t, "B is gone", func() bool { return info().NumAckPending == 1 })
	if j.puller.unacked.Load() != 0 {
		t.Errorf("%d bytes are held after the last answer", j.puller.unacked.Load())
	}
}

// A message that got in by another subject would be bought.
func TestMessageOfAnotherSubjectIsNotAnOrder(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.request", "orders.other"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "order-worker", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1}); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	j := openLossy(t, js, zerolog.New(&log))
	log.Reset()
	for range 3 {
		if _, err := js.Publish(t.Context(), "orders.other", []byte("mine")); err != nil {
			t.Fatal(err)
		}
	}
	request(t, js, "order")
	all := pull(t, j, 4)
	if len(all) != 1 || string(all[0].Data) != "order" {
		t.Errorf("%d messages are taken for orders, want one", len(all))
	}
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), `"level":"error"`) || !strings.Contains(log.String(), "orders.other") {
		t.Errorf("%d lines, want one error line with the subject:\n%s", n, &log)
	}
	if again := pull(t, j, 4); len(again) != 0 {
		t.Errorf("%d messages came again at once", len(again))
	}
}

func TestBytesHeldAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	j.puller.budget = 1 << 20
	for range 9 {
		request(t, js, strings.Repeat("x", 300<<10))
	}
	first := pull(t, j, 9)
	if len(first) != 3 {
		t.Fatalf("%d messages of 300 KiB are held, want 3 in 1 MiB", len(first))
	}
	if more := pull(t, j, 9); len(more) != 0 {
		t.Fatalf("%d more", len(more))
	}
	ack(t, first[:2]...)
	if next := pull(t, j, 9); len(next) != 2 {
		t.Errorf("%d messages came for the two that were answered", len(next))
	} else {
		ack(t, next...)
	}
	ack(t, first[2])
	for left := 4; left > 0; {
		all := pull(t, j, 9)
		ack(t, all...)
		left -= len(all)
		if len(all) == 0 {
			t.Fatalf("%d messages do not come", left)
		}
	}
	j.puller.budget = 1000
	request(t, js, strings.Repeat("x", 300<<10)) // alone longer than the budget
	if all := pull(t, j, 9); len(all) != 1 {
		t.Error("a message that is longer than the budget never comes")
	} else if more := pull(t, j, 9); len(more) != 0 {
		t.Error("and then no other one")
	} else {
		ack(t, all...)
	}
}

// Where the messages fill the room exactly, the server ends without a word.
func TestPullThatFillsItsRoomExactly(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	for range 5 {
		request(t, js, "x")
	}
	first := pull(t, j, 1)
	size := j.puller.unacked.Load()
	ack(t, first...)
	j.puller.budget = 2 * size
	if all := pull(t, j, 3); len(all) != 2 || j.puller.unacked.Load() != j.puller.budget {
		t.Errorf("%d messages of %d bytes in %d, want 2", len(all), size, j.puller.budget)
	}
}

// An existing consumer may limit what a pull asks for.
func TestPullKeepsWithinTheConsumersLimits(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := names.ordersConfig()
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{
		Durable: "order-worker", FilterSubject: "orders.package.request", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: -1,
		MaxRequestBatch: 2, MaxRequestExpires: 100 * time.Millisecond, MaxRequestMaxBytes: 1000,
	}); err != nil {
		t.Fatal(err)
	}
	j := openLossy(t, js, zerolog.Nop())
	request(t, js, "1")
	request(t, js, "2")
	request(t, js, strings.Repeat("3", 2000))
	pulls := []int{}
	storetest.Eventually(t, "all come, the long one too", func() bool { // on a busy machine a pull may end before anything comes
		all := pull(t, j, 9)
		ack(t, all...)
		if len(all) > 0 {
			pulls = append(pulls, len(all))
		}
		return all != nil && strings.Contains(string(all[len(all)-1].Data), "33")
	})
	if slices.Max(pulls) > 2 || !slices.Contains([]int{2, 3}, len(pulls)) {
		t.Errorf("%v messages came by each pull, want two at most, and the long one alone", pulls)
	}
}

func TestPullAfterTheServerWasAway(t *testing.T) {
	t.Parallel()
	addr := storetest.FreeAddr(t)
	dir := t.TempDir()
	start := func() *server.Server {
		return storetest.NATS(t, func(o *server.Options) {
			_, _ = fmt.Sscanf(addr[strings.LastIndexByte(addr, ':')+1:], "%d", &o.Port)
			o.StoreDir = dir
		})
	}
	s := start()
	nc, err := nats.Connect(s.ClientURL(), nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	j := open(t, js)
	request(t, js, "A")
	ack(t, pull(t, j, 4)...)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- j.Pull(t.Context(), 4, func(*worker.Delivery) {}) }()
	s.Shutdown() // in the middle of a pull
	s.WaitForShutdown()
	if err := <-ended; err == nil {
		t.Error("a pull that got no answer was without an error")
	}
	start()
	storetest.Eventually(t, "the client is connected again", nc.IsConnected)
	request(t, js, "B")
	var got []*worker.Delivery
	storetest.Eventually(t, "B comes", func() bool {
		err := j.Pull(t.Context(), 4, func(d *worker.Delivery) { got = append(got, d) })
		return err == nil && len(got) == 1 && string(got[0].Data) == "B"
	})
}

func TestConsumerThatIsDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	request(t, js, "A")
	for _, remove := range []func() error{
		func() error { return js.DeleteConsumer(t.Context(), "ORDERS", "order-worker") },
		func() error { return js.DeleteStream(t.Context(), "ORDERS") },
	} {
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if err := j.Pull(t.Context(), 1, func(*worker.Delivery) { t.Error("a message of a consumer that is gone") }); err == nil {
			t.Error("no error without the consumer")
		}
		pull(t, j, 1)
	}
}

// A leaf node or another account reaches JetStream by a domain or a prefix.
func TestDomain(t *testing.T) {
	t.Parallel()
	nc := storetest.Connect(t, storetest.NATS(t, func(o *server.Options) { o.JetStreamDomain = "hub" }))
	js, err := jetstream.NewWithDomain(nc, "hub")
	if err != nil {
		t.Fatal(err)
	}
	j := open(t, js)
	request(t, js, "A")
	all := pull(t, j, 1)
	if len(all) != 1 {
		t.Fatal("nothing came")
	}
	ack(t, all...)
	publish(t, j, event(worker.Succeeded, "A", "a"))
	if _, found, err := j.Final(t.Context(), "A"); err != nil || !found {
		t.Errorf("%v %v", found, err)
	}
}

// A server may give the domain and a hash of the account, too.
func TestDeliveryByItsReply(t *testing.T) {
	t.Parallel()
	for reply, ok := range map[string]bool{
		"$JS.ACK.ORDERS.order-worker.2.7.9.1763978401000000000.5":               true,
		"$JS.ACK.hub.hash.ORDERS.order-worker.2.7.9.1763978401000000000.5":      true,
		"$JS.ACK.hub.hash.ORDERS.order-worker.2.7.9.1763978401000000000.5.rand": true,
		"$JS.ACK.ORDERS.order-worker.2.7.9":                                     false,
		"$JS.ACK.ORDERS.order-worker.x.7.9.1763978401000000000.5":               false,
	} {
		d, err := delivery(&nats.Msg{Reply: reply})
		if (err == nil) != ok {
			t.Errorf("%s: %v", reply, err)
			continue
		}
		if ok && (d.Count != 2 || d.Seq != 7 || d.Stored.Unix() != 1763978401) {
			t.Errorf("%s: %+v", reply, d)
		}
	}
}

// ALLOW_LOSSY_STREAMS lets such a consumer pass, which has no ack wait.
func TestConsumerWithoutAcks(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := names.ordersConfig()
	config.Retention = jetstream.LimitsPolicy // a work queue insists on acks
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "order-worker", AckPolicy: jetstream.AckNonePolicy}); err != nil {
		t.Fatal(err)
	}
	j := openLossy(t, js, zerolog.Nop())
	if j.AckWait() != names.AckWait {
		t.Errorf("ack wait %v, by which the heartbeat goes, want %v", j.AckWait(), names.AckWait)
	}
	request(t, js, "A")
	all := pull(t, j, 1)
	if len(all) != 1 {
		t.Fatal("nothing came")
	}
	ack(t, all...)
}
