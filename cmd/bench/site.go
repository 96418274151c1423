package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/worker/natsio"
)

// site is what one measurement needs: three empty servers, and the streams as
// the worker makes them. They are there before the first order, as they are in
// real life.
type site struct {
	dir     string
	servers []*process
	nats    string // URL
	redis   string // host:port
	vendor  string // URL
	nc      *nats.Conn
	js      jetstream.JetStream
	orders  jetstream.Stream
	results jetstream.Stream
}

// streams are the worker's own defaults.
func streams() *natsio.Streams {
	return &natsio.Streams{
		Orders: "ORDERS", OrdersSubject: "orders.package.request", Consumer: "order-worker",
		Results: "ORDER_RESULTS", ResultsSubject: "orders.package.result",
		Dead: "ORDERS_DEAD", DeadSubject: "orders.package.dead",
		Journal: journalStream, JournalSubject: journalSubject,
		Replicas: 1, AckWait: 30 * time.Second, DedupeTTL: 720 * time.Hour,
	}
}

const (
	journalStream  = "ORDER_JOURNAL"
	journalSubject = "orders.journal"
)

// openSite starts everything in a directory below parent. The vendor answers
// after latency.
func (r *runner) openSite(ctx context.Context, latency time.Duration) (s *site, err error) {
	s = new(site)
	if s.dir, err = os.MkdirTemp(r.dir, "site-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.nats, err = s.start(r.self, "nats", s.dir); err != nil {
		return nil, err
	}
	if s.vendor, err = s.start(r.self, "vendor", latency.String()); err != nil {
		return nil, err
	}
	s.vendor = "http://" + s.vendor
	redis, addr, err := startRedis(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	s.servers, s.redis = append(s.servers, redis), addr
	return s, s.connect(ctx)
}

// start starts a child that says where it listens.
func (s *site) start(self, name, arg string) (where string, err error) {
	p, err := startProcess(s.dir, name, nil, self, childArg, name, arg)
	if err != nil {
		return "", err
	}
	s.servers = append(s.servers, p)
	return p.line()
}

func (s *site) connect(ctx context.Context) (err error) {
	if s.nc, err = nats.Connect(s.nats, nats.Name("bench")); err != nil {
		return fmt.Errorf("connect to nats-server: %w", err)
	}
	s.js, err = jetstream.New(s.nc, jetstream.WithPublishAsyncMaxPending(4096), jetstream.WithDefaultTimeout(startTimeout))
	if err != nil {
		return err
	}
	names := streams()
	if _, err = natsio.Open(ctx, s.js, *names, zerolog.Nop()); err != nil {
		return err
	}
	s.orders, err = s.js.Stream(ctx, names.Orders)
	if err != nil {
		return err
	}
	s.results, err = s.js.Stream(ctx, names.Results)
	return err
}

// alive is an error once one of the servers has ended.
func (s *site) alive() error {
	var errs []error
	for _, p := range s.servers {
		errs = append(errs, p.alive())
	}
	return errors.Join(errs...)
}

// close ends the servers and removes what they wrote.
func (s *site) close() {
	if s.nc != nil {
		s.nc.Close()
	}
	for _, p := range s.servers {
		p.close()
	}
	_ = os.RemoveAll(s.dir) // the parent goes at the end anyway
}
