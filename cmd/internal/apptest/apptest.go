// Package apptest has the test environment of the commands and of the console: a
// deployment with real servers, the simulated vendor, and workers as package app builds
// them.
package apptest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/app"
	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe/storetest"
	"orderworker/upstream/sandbox"
	"orderworker/upstream/sandbox/sandboxtest"
	"orderworker/worker"
)

// The account of the deployment's workers at the vendor.
const (
	AppKey = "000001"
	Secret = "hunter2"
)

// Card is the card of the requests that tests publish.
const Card = "8988308650100524999"

// Deployment is a deployment under test. Everything in it ends with T.
type Deployment struct {
	T         *testing.T
	NATS      *server.Server
	JS        jetstream.JetStream // of a connection to NATS
	Redis     *storetest.RedisServer
	RDB       *redis.Client // of Redis
	Vendor    *sandbox.Vendor
	VendorURL string
	Env       map[string]string // the settings of its workers and commands
}

// New starts the servers and a vendor with rules, and makes the streams. env has further
// settings; unless it says otherwise, UPSTREAM_RECONCILE is hold: only an operator ends doubt.
func New(t *testing.T, env map[string]string, rules ...string) *Deployment {
	t.Helper()
	return NewOn(t, storetest.NATS(t), env, rules...)
}

// NewOn is New with this NATS server.
func NewOn(t *testing.T, nats *server.Server, env map[string]string, rules ...string) *Deployment {
	t.Helper()
	d := &Deployment{T: t, NATS: nats, Redis: storetest.Redis(t)}
	d.Vendor, d.VendorURL = sandboxtest.Start(t, sandbox.Config{AppKey: AppKey, Secret: Secret}, rules...)
	d.JS, d.RDB = storetest.JetStream(t, nats), d.Redis.Client(t)
	d.Env = map[string]string{
		"NATS_URL": nats.ClientURL(), "REDIS_URL": "redis://" + d.Redis.Addr,
		"UPSTREAM_URL": d.VendorURL, "UPSTREAM_APPKEY": AppKey, "UPSTREAM_SECRET": Secret, "UPSTREAM_RATE": "0",
		"UPSTREAM_TIMEOUT": "3s", "RECONCILE_DELAY": "3s", "UPSTREAM_RECONCILE": "hold", "IN_DOUBT_NOTICE": "0",
		"ORDERS_ACK_WAIT": "5s", "BACKOFF_INITIAL": "50ms", "BACKOFF_MAX": "1s",
	}
	maps.Copy(d.Env, env)
	d.Worker() // it makes the streams
	return d
}

// OK ends the test if err is not nil.
func (d *Deployment) OK(err error) {
	d.T.Helper()
	if err != nil {
		d.T.Fatal(err)
	}
}

// Load returns the settings of a worker whose environment is env, and what is wrong with
// them.
func Load(env map[string]string) (*config.Settings, error) {
	var cli struct {
		Run struct{ config.Settings } `cmd:""`
	}
	var found config.Faults
	parser, err := config.NewParser(&cli, Lookup(env), &found, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	if _, err := parser.Parse([]string{"run"}); err != nil {
		return nil, err
	}
	cli.Run.Check(&found)
	return &cli.Run.Settings, found.Err()
}

// Lookup returns an environment that is env.
func Lookup(env map[string]string) config.LookupFunc {
	return func(name string) (string, bool) {
		value, set := env[name]
		return value, set
	}
}

// Settings returns what Env sets.
func (d *Deployment) Settings() *config.Settings {
	d.T.Helper()
	s, err := Load(d.Env)
	d.OK(err)
	return s
}

// Worker makes the streams, and a worker that does not run yet.
func (d *Deployment) Worker() *worker.Worker {
	d.T.Helper()
	s := d.Settings()
	vendor, err := connect.Vendor(s)
	d.OK(err)
	w, _, err := app.New(d.T.Context(), s, app.Parts{
		NATS: d.JS.Conn(), Redis: d.RDB, Vendor: vendor,
		Log: zerolog.New(zerolog.NewTestWriter(d.T)).Level(zerolog.WarnLevel), Registry: prometheus.NewRegistry(),
	})
	d.OK(err)
	return w
}

// Start starts a worker; stop ends it.
func (d *Deployment) Start() (stop func()) {
	d.T.Helper()
	return d.Run(runOf(d.Worker()))
}

// StartTelling is Start for a worker that tells Redis of itself.
func (d *Deployment) StartTelling() (stop func()) {
	d.T.Helper()
	w := d.Worker()
	return d.Run(runOf(w), func(ctx context.Context) error {
		app.PublishVitals(ctx, d.RDB, d.Settings().OrdersStream, w)
		return nil
	})
}

// runOf is w.Run, whose error says what it is of.
func runOf(w *worker.Worker) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := w.Run(ctx); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
		return nil
	}
}

// Tell tells Redis of a worker until the test ends.
func (d *Deployment) Tell(f vitals.Figures) {
	d.T.Helper()
	key := d.Settings().OrdersStream
	d.Run(func(ctx context.Context) error {
		vitals.Publish(ctx, d.RDB, key, "w7", func() vitals.Figures { return f })
		return nil
	})
	storetest.Eventually(d.T, "the worker is told of", func() bool { return d.RDB.HLen(context.Background(), key+":workers").Val() == 1 })
}

// Run runs each of work in a goroutine of its own. stop cancels their context and waits for
// them; it is also called when the test ends. An error of one fails the test.
func (d *Deployment) Run(work ...func(context.Context) error) (stop func()) {
	d.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, w := range work {
		all.Go(func() {
			if err := w(ctx); err != nil {
				d.T.Error(err)
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	d.T.Cleanup(stop)
	return stop
}

// OrderRequest returns an order request for Card as JSON, with more, such as `,"renew":1`,
// behind its last field.
func OrderRequest(no, packageCode, more string) string {
	return fmt.Sprintf(`{"outTradeNo":%q,"iccid":%q,"packageCode":%q%s}`, no, Card, packageCode, more)
}

// Publish stores a request and returns its place in the stream.
func (d *Deployment) Publish(request string) uint64 {
	d.T.Helper()
	ack, err := d.JS.Publish(d.T.Context(), "orders.package.request", []byte(request))
	d.OK(err)
	return ack.Sequence
}

// DeadLetter stores a dead letter as a worker does, and returns its place in the stream.
func (d *Deployment) DeadLetter(payload []byte, header nats.Header) uint64 {
	d.T.Helper()
	ack, err := d.JS.PublishMsg(d.T.Context(), &nats.Msg{Subject: "orders.package.dead", Data: payload, Header: header})
	d.OK(err)
	return ack.Sequence
}
