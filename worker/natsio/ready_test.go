package natsio

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
)

// A process is ready only while orders can be pulled: not while its consumer is
// gone and cannot be made again, and again once it can.
func TestReadyWhilePullsFail(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	pull(t, j, 1)
	if err := j.Ready(t.Context()); err != nil {
		t.Fatalf("as it was made: %v", err)
	}
	if err := js.DeleteStream(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	other := jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"orders.package.request"}} // takes the subject away
	if _, err := js.CreateStream(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the consumer does not answer; then it cannot be made
		if err := j.Pull(t.Context(), 1, func(*worker.Delivery) {}); err == nil || j.Ready(t.Context()) == nil {
			t.Errorf("pull: %v; ready: %v, want the pull's error", err, j.Ready(t.Context()))
		}
	}
	if err := j.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "ORDERS") {
		t.Errorf("ready: %v, want the stream named", err)
	}
	if err := js.DeleteStream(t.Context(), "OTHER"); err != nil {
		t.Fatal(err)
	}
	pull(t, j, 1)
	if err := j.Ready(t.Context()); err != nil {
		t.Errorf("once it could be made again: %v", err)
	}
}

// Nor while the last look at the streams found a fault.
func TestReadyAfterAFaultIsMended(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	config := names.ordersConfig()
	for _, age := range []time.Duration{0, time.Hour, 0} {
		config.MaxAge = age
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		_, _ = j.Pending(t.Context())
		pull(t, j, 1) // goes on: the fault is the stream's
		if err := j.Ready(t.Context()); (err != nil) != (age > 0) {
			t.Errorf("max_age %v: %v", age, err)
		}
	}
}
