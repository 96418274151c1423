package client

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
	"orderworker/worker"
)

// While the connection is lost, reading waits: a request fails at once then, and as many
// tries as are made otherwise take two seconds. It goes on when the server is back.
func TestReadingWaitsForTheConnection(t *testing.T) {
	t.Parallel()
	s := storetest.NATS(t)
	dir, address := s.StoreDir(), s.Addr().(*net.TCPAddr)
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	used, err := New(nc, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := used.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDER_RESULTS", Subjects: []string{"orders.package.result.*.*"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	m := event(t, asked, worker.Succeeded, asked.fingerprint(), "")
	if _, err := used.js.PublishMsg(t.Context(), &nats.Msg{Subject: "orders.package.result.succeeded.A", Header: m.header, Data: m.data}); err != nil {
		t.Fatal(err)
	}
	if outcomes, err := used.Results(t.Context(), []Request{asked}); err != nil || !outcomes[0].Final {
		t.Fatal(outcomes, err)
	}
	fresh, err := New(nc, Config{}) // it has not chosen how to read
	if err != nil {
		t.Fatal(err)
	}
	s.Shutdown()
	s.WaitForShutdown()
	storetest.Eventually(t, "the connection is lost", func() bool { return !nc.IsConnected() })

	type read struct {
		outcomes []Outcome
		err      error
	}
	const patience = 3 * time.Second
	ended := make(chan read, 2)
	for _, c := range []*Client{used, fresh} {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			outcomes, err := c.Results(ctx, []Request{asked})
			ended <- read{outcomes, err}
		}()
	}
	for range 2 {
		if r := <-ended; !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("without a connection: %v, want %v", r.err, context.DeadlineExceeded)
		}
	}
	for _, c := range []*Client{used, fresh} {
		go func() {
			outcomes, err := c.Results(t.Context(), []Request{asked})
			ended <- read{outcomes, err}
		}()
	}
	storetest.NATS(t, func(o *server.Options) { o.Port, o.StoreDir = address.Port, dir })
	for range 2 {
		if r := <-ended; r.err != nil || !r.outcomes[0].Final {
			t.Errorf("after the restart: %+v", r)
		}
	}
}
