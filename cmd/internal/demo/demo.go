package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/app"
	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/upstream/sandbox"
	"orderworker/worker/client"
)

// The demo's account, quota and time.
const (
	appkey      = "demo"
	secret      = "demo-secret"
	rate        = 40 // requests per second
	workerCount = 2  // one in this process, one in a process of its own
	longest     = 55 * time.Second
)

// errPromise is the error of a demo that has found a broken promise.
var errPromise = errors.New("a promise was not kept")

// Run starts everything, publishes as many order requests, kills a worker and empties
// Redis in the middle, waits until each request has ended, and checks the promises. It
// writes its progress and the report to out. If console is not empty, it serves the
// console there, until soft ends.
func Run(soft context.Context, out io.Writer, orders int, console string) error {
	d, err := start(soft, "")
	defer d.stop()
	if err != nil {
		return err
	}
	if console != "" {
		if err := d.serveConsole(soft, out, console); err != nil {
			return err
		}
	}
	plan := newPlan(orders)
	fmt.Fprintf(out, "NATS JetStream, a Redis-compatible store, the simulated vendor (%d requests/s) and a worker run in this process, a second worker in another.\n", rate)
	began := time.Now()
	if err := d.publish(soft, plan); err != nil {
		return err
	}
	if err := d.follow(soft, plan, newProgress(out)); err != nil {
		return err
	}
	took := time.Since(began)
	if console == "" { // an operator may go on: replayed dead letters are bought
		if err := d.stopWorkers(); err != nil {
			return err
		}
	}
	seen, err := d.read(soft)
	if err != nil {
		return err
	}
	report := newReport(plan, seen, d.vendor.Book(), took)
	report.print(out)
	if !report.kept() {
		return errPromise
	}
	if console == "" {
		return nil
	}
	fmt.Fprintln(out, "The console keeps running until Ctrl-C.")
	<-soft.Done()
	return d.stopWorkers()
}

// Serve starts everything, with NATS at addr, and keeps it running until soft ends: servers
// to try the other commands on. If console is not empty, it serves the console there.
func Serve(soft context.Context, out io.Writer, addr, console string) error {
	d, err := start(soft, addr)
	defer d.stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "NATS at nats://%s, a Redis-compatible store, the simulated vendor (%d requests/s) and a worker run in this process until Ctrl-C, a second worker in another.\n", addr, rate)
	if console != "" {
		if err := d.serveConsole(soft, out, console); err != nil {
			return err
		}
	}
	<-soft.Done()
	return d.stopWorkers()
}

// settingsFor returns the settings of a worker in the demo: the defaults, with times
// that fit into a minute.
func settingsFor(vendorURL string) (*config.Settings, error) {
	s, err := config.Defaults()
	if err != nil {
		return nil, err
	}
	s.OrdersAckWait = 5 * time.Second
	s.UpstreamURL, s.UpstreamAppkey, s.UpstreamSecret = vendorURL, appkey, secret
	s.UpstreamTimeout, s.UpstreamRate, s.UpstreamJitter = 500*time.Millisecond, rate, 250*time.Millisecond
	s.ReconcileDelay, s.ShutdownTimeout = 2*time.Second, 10*time.Second
	s.Concurrency, s.MaxAttempts = 32, maxAttempts
	s.BackoffInitial, s.BackoffMax = 250*time.Millisecond, 5*time.Second
	return s, nil
}

// demo is everything that runs. stop ends it.
type demo struct {
	dir      string // of JetStream's files; removed at the end
	nats     *server.Server
	redis    *miniredis.Miniredis
	vendor   *sandbox.Vendor
	conn     *nats.Conn
	js       jetstream.JetStream
	settings *config.Settings // of the workers
	process  *process         // the worker that is not in this process
	crash    crash
	emptied  int // how many requests were done when Redis was emptied; 0: it was not yet

	stopVendor, stopSoft context.CancelFunc
	serving              sync.WaitGroup
	working              sync.WaitGroup
	mu                   sync.Mutex
	errs                 []error // of the workers
	closers              []func()
}

// start starts everything; NATS listens at addr, or at any port of loopback if that is
// empty. The caller must stop what it returns, after an error too.
func start(soft context.Context, addr string) (*demo, error) {
	d := &demo{stopVendor: func() {}, stopSoft: func() {}}
	var err error
	if d.dir, err = os.MkdirTemp("", "orderworker-demo-"); err != nil {
		return d, err
	}
	options := &server.Options{ServerName: "demo", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: d.dir, NoLog: true, NoSigs: true}
	if addr != "" {
		if err := listenAt(options, addr); err != nil {
			return d, err
		}
	}
	if d.nats, err = server.NewServer(options); err != nil {
		return d, err
	}
	d.nats.Start()
	if !d.nats.ReadyForConnections(10 * time.Second) {
		return d, errors.New("the NATS server does not start")
	}
	d.redis = miniredis.NewMiniRedis()
	if err := d.redis.Start(); err != nil {
		return d, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return d, err
	}
	if d.vendor, err = newVendor(); err != nil {
		return d, err
	}
	vendorCtx, stopVendor := context.WithCancel(context.WithoutCancel(soft))
	d.stopVendor = stopVendor
	d.serving.Go(func() { d.failed(d.vendor.Serve(vendorCtx, listener)) })

	if d.conn, err = nats.Connect("", nats.InProcessServer(d.nats)); err != nil {
		return d, err
	}
	if d.js, err = jetstream.New(d.conn); err != nil {
		return d, err
	}
	return d, d.startWorkers(soft, "http://"+listener.Addr().String())
}

// startWorker starts a worker in this process. It has its own connections, as a process has.
func (d *demo) startWorker(soft context.Context, s *config.Settings) error {
	conn, err := nats.Connect("", nats.InProcessServer(d.nats))
	if err != nil {
		return err
	}
	rdb := redis.NewClient(&redis.Options{Addr: d.redis.Addr(), MaxRetries: -1, ContextTimeoutEnabled: true})
	d.closers = append(d.closers, conn.Close, func() { _ = rdb.Close() })
	vendor, err := connect.Vendor(s)
	if err != nil {
		return err
	}
	w, _, err := app.New(soft, s, app.Parts{NATS: conn, Redis: rdb, Vendor: vendor, Log: zerolog.Nop(), Registry: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	d.working.Go(func() { d.failed(w.Run(soft)); _ = conn.FlushTimeout(time.Second) })
	d.working.Go(func() { app.PublishVitals(soft, rdb, s.OrdersStream, w) })
	return nil
}

func (d *demo) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs = append(d.errs, err)
}

// stopWorkers stops the workers as SIGTERM does, and returns their errors.
func (d *demo) stopWorkers() error {
	d.stopSoft()
	if d.process != nil {
		d.process.stop()
	}
	d.working.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.errs...)
}

// stop ends everything and leaves nothing behind.
func (d *demo) stop() {
	_ = d.stopWorkers()
	for _, c := range d.closers {
		c()
	}
	if d.conn != nil {
		d.conn.Close()
	}
	d.stopVendor()
	d.serving.Wait()
	if d.redis != nil {
		d.redis.Close()
	}
	if d.nats != nil {
		d.nats.Shutdown()
		d.nats.WaitForShutdown()
	}
	if d.dir != "" {
		_ = os.RemoveAll(d.dir)
	}
}

// publish publishes the plan's requests: the good ones as `orderworker submit` does, and
// those that its check would refuse as they are.
func (d *demo) publish(ctx context.Context, plan *orderPlan) error {
	c, err := client.New(d.conn, client.Config{})
	if err != nil {
		return err
	}
	var invalid [][]byte
	_, err = c.SubmitAll(ctx, func(yield func(client.Request, error) bool) {
		for _, payload := range plan.requests {
			request, err := client.Decode(payload)
			if err != nil {
				invalid = append(invalid, payload)
			} else if !yield(request, nil) {
				return
			}
		}
	}, nil)
	if err != nil {
		return err
	}
	for _, payload := range invalid {
		if _, err := d.js.Publish(ctx, "orders.package.request", payload); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

// listenAt has the server listen at an address of this machine.
func listenAt(options *server.Options, addr string) error {
	l, err := net.Listen("tcp", addr) // the server would try again and again
	if err != nil {
		return err
	}
	at := l.Addr().(*net.TCPAddr)
	options.Host, options.Port = at.IP.String(), at.Port
	return l.Close()
}

// follow shows the progress until no request is left in the stream, and disturbs the
// workers in the middle.
func (d *demo) follow(soft context.Context, plan *orderPlan, p *progress) error {
	ctx, cancel := context.WithTimeout(soft, longest)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		left, ended, err := d.counts(ctx)
		if err == nil {
			p.show(len(plan.requests), left, ended, d.vendor.Totals().Bought)
		}
		if err == nil {
			if err := d.disturb(soft, len(plan.requests)-int(left), len(plan.requests)); err != nil {
				p.end()
				return err
			}
		}
		if err == nil && left == 0 {
			p.end()
			return nil
		}
		select {
		case <-ctx.Done():
			p.end()
			if soft.Err() != nil {
				return fmt.Errorf("demo: %w", context.Cause(soft))
			}
			return fmt.Errorf("%w: %d requests are still in the stream after %v", errPromise, left, longest)
		case <-tick.C:
		}
	}
}

// counts returns how many requests are in their stream, and how many results.
func (d *demo) counts(ctx context.Context) (requests, results uint64, err error) {
	for name, n := range map[string]*uint64{"ORDERS": &requests, "ORDER_RESULTS": &results} {
		stream, err := d.js.Stream(ctx, name)
		if err != nil {
			return 0, 0, err
		}
		*n = stream.CachedInfo().State.Msgs
	}
	return requests, results, nil
}

// read returns the messages of the results and the dead-letter stream.
func (d *demo) read(ctx context.Context) (observed, error) {
	seen := observed{crash: d.crash, emptied: d.emptied}
	var err error
	if seen.requestsLeft, _, err = d.counts(ctx); err != nil {
		return seen, err
	}
	if seen.events, err = d.readAll(ctx, "ORDER_RESULTS"); err != nil {
		return seen, err
	}
	if seen.dead, err = d.readAll(ctx, "ORDERS_DEAD"); err != nil {
		return seen, err
	}
	return seen, nil
}

func (d *demo) readAll(ctx context.Context, name string) ([]jetstream.Msg, error) {
	stream, err := d.js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	n := int(stream.CachedInfo().State.Msgs)
	if n == 0 {
		return nil, nil
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		return nil, err
	}
	var all []jetstream.Msg
	for msg := range batch.Messages() {
		all = append(all, msg)
	}
	if len(all) != n {
		return nil, fmt.Errorf("stream %s: read %d of %d messages: %w", name, len(all), n, batch.Error())
	}
	return all, nil
}
