package natsio

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/dedupe/storetest"
)

// names are the default names, as the contract has them.
var names = Streams{
	Orders: "ORDERS", OrdersSubject: "orders.package.request", Consumer: "order-worker",
	Results: "ORDER_RESULTS", ResultsSubject: "orders.package.result",
	Dead: "ORDERS_DEAD", DeadSubject: "orders.package.dead", Journal: "ORDER_JOURNAL", JournalSubject: "orders.journal",
	Replicas: 1, AckWait: 5 * time.Second, Concurrency: 64, DedupeTTL: 720 * time.Hour, JournalTTL: 168 * time.Hour,
}

// newServer returns a client of an empty nats-server.
func newServer(t *testing.T) jetstream.JetStream {
	t.Helper()
	return storetest.JetStream(t, storetest.NATS(t))
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

func TestAPIPrefix(t *testing.T) {
	nc := newServer(t).Conn()
	plain, err1 := jetstream.New(nc)
	domain, err2 := jetstream.NewWithDomain(nc, "hub")
	prefix, err3 := jetstream.NewWithAPIPrefix(nc, "acc.JS.API")
	for want, js := range map[string]jetstream.JetStream{"$JS.API.": plain, "$JS.hub.API.": domain, "acc.JS.API.": prefix} {
		if got := apiPrefix(js); got != want {
			t.Errorf("prefix %q, want %q (%v, %v, %v)", got, want, err1, err2, err3)
		}
	}
}

// TestJournalRefuses shows which refusals of a record are not retried. What heals by
// another leader must be: the record may be all that is known of a purchase.
func TestJournalRefuses(t *testing.T) {
	api := func(code int, err jetstream.ErrorCode) error { return &jetstream.APIError{Code: code, ErrorCode: err} }
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"a bad request":          {api(400, 10060), true},
		"max_msg_size":           {api(400, 10054), true},
		"the stream is full":     {api(503, 10077), true},
		"max_payload":            {nats.ErrMaxPayload, true},
		"insufficient resources": {api(503, 10023), false},
		"memory of the account":  {api(503, 10028), false},
		"storage of the account": {api(503, 10047), false},
		"a lost compare-and-set": {api(400, 10071), false},
		"no leader":              {api(503, 10008), false},
		"nobody answers":         {nats.ErrTimeout, false},
	} {
		if got := journalRefuses(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
