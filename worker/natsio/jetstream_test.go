package natsio

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/dedupe/storetest"
)

// names are the default names, as the contract has them.
var names = Streams{
	Orders: "ORDERS", OrdersSubject: "orders.package.request", Consumer: "order-worker",
	Results: "ORDER_RESULTS", ResultsSubject: "orders.package.result",
	Dead: "ORDERS_DEAD", DeadSubject: "orders.package.dead", Replicas: 1, AckWait: 5 * time.Second,
}

// newServer returns a client of an empty nats-server.
func newServer(t *testing.T) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(storetest.Connect(t, storetest.NATS(t)))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// open makes what is missing, as a worker that starts does.
func open(t *testing.T, js jetstream.JetStream) *JetStream {
	t.Helper()
	stream, err := Open(t.Context(), js, names, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestAlteredConsumerIsReported(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	stream := open(t, js)
	if _, err := stream.Pending(t.Context()); err != nil {
		t.Errorf("as it was made: %v", err)
	}
	if _, err := js.UpdateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{
		Durable: "order-worker", FilterSubject: "orders.package.request", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: names.AckWait, MaxDeliver: 3, MaxAckPending: -1,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Pending(t.Context()); err == nil || !strings.Contains(err.Error(), "max_deliver") {
		t.Errorf("with a delivery limit: %v, want an error that names max_deliver", err)
	}
}

func TestLossyStreamsAreRefused(t *testing.T) {
	t.Parallel()
	good := jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.>"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew}
	for name, c := range map[string]struct {
		stream   func(*jetstream.StreamConfig)
		consumer *jetstream.ConsumerConfig
		want     string
	}{
		"age limit":   {stream: func(s *jetstream.StreamConfig) { s.MaxAge = time.Hour }, want: "max_age"},
		"memory":      {stream: func(s *jetstream.StreamConfig) { s.Storage = jetstream.MemoryStorage }, want: "storage"},
		"discard old": {stream: func(s *jetstream.StreamConfig) { s.Discard = jetstream.DiscardOld; s.MaxMsgs = 1000 }, want: "max_msgs"},
		"delivery limit": {consumer: &jetstream.ConsumerConfig{Durable: "order-worker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 5},
			want: "max_deliver"},
		"backoff": {consumer: &jetstream.ConsumerConfig{Durable: "order-worker", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1, BackOff: []time.Duration{time.Second, time.Minute}},
			want: "backoff"},
		"wrong subject": {stream: func(s *jetstream.StreamConfig) { s.Subjects = []string{"other"} }, want: "orders.package.request"},
	} {
		t.Run(name, func(t *testing.T) {
			js := newServer(t)
			config := good
			if c.stream != nil {
				c.stream(&config)
			}
			config.Subjects = append([]string(nil), config.Subjects...)
			if name != "wrong subject" {
				config.Subjects = []string{"orders.package.request"}
			}
			if _, err := js.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			if c.consumer != nil {
				if _, err := js.CreateConsumer(t.Context(), "ORDERS", *c.consumer); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(t.Context(), js, names, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one that names %s", err, c.want)
			}
		})
	}
}
