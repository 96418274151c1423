package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/dedupe"
	"orderworker/dedupe/redisstore"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

// Desk is an operator's view of one deployment: what its streams and Redis know, never
// what a worker has in its memory. Its methods work as far as they can while a server is
// away, and their results say which one is. It is safe for concurrent use.
type Desk struct {
	*config.Settings
	ScanLimit int // how many messages of a stream one list reads: MaxScan, fewer in tests

	names natsio.Streams
	rdb   redis.UniversalClient
	cache dedupe.Cache

	stop    context.CancelFunc
	dialing sync.WaitGroup

	dialer *noting

	mu     sync.Mutex
	link   *link         // nil: NATS was not reached yet
	failed error         // why not
	dialed chan struct{} // closed when there is a link, or there never will be
	asks   map[*ask]struct{}
}

// link is the connection to NATS.
type link struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	journal dedupe.Journal
	results dedupe.Results
	control *natsio.Control
}

// Open returns a desk. It connects to NATS, and goes on trying until Close if NATS cannot
// be reached before ctx ends: the desk then works with what Redis knows. The error is
// about settings that cannot be used.
func Open(ctx context.Context, s *config.Settings) (*Desk, error) {
	rdb, err := connect.Redis(s, nil)
	if err != nil {
		return nil, err
	}
	d := &Desk{
		Settings: s, ScanLimit: MaxScan, names: connect.Streams(s), rdb: rdb, cache: redisstore.NewCache(rdb, s.OrdersStream),
		failed: errors.New("not connected yet"), dialer: newNoting(), dialed: make(chan struct{}), asks: make(map[*ask]struct{}),
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	d.dialing.Go(func() { d.dial(background) })
	select {
	case <-d.dialed:
	case <-ctx.Done():
	}
	return d, nil
}

// Close closes the connections.
func (d *Desk) Close() {
	d.stop()
	d.dialing.Wait()
	if d.link != nil {
		d.link.nc.Close()
	}
	connect.CloseRedis(d.rdb)
}

// dial connects to NATS. It waits for servers that cannot be reached until ctx ends.
func (d *Desk) dial(ctx context.Context) {
	defer close(d.dialed)
	failed := func(err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failed = err
	}
	nc, err := dialInbox(ctx, d.Settings, d.dialer, failed, d.denied)
	if err != nil {
		if ctx.Err() == nil {
			failed(err)
		}
		return
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		failed(err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.link = &link{nc: nc, js: js, journal: connect.Journal(d.Settings, js, d.rdb), results: connect.Results(d.Settings, js), control: natsio.NewControl(js, d.OrdersStream)}
}

// nats returns the connection to NATS, or why there is none.
func (d *Desk) nats() (*link, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.link == nil:
		return nil, &awayError{d.failed.Error()}
	case !d.link.nc.IsConnected():
		return nil, &awayError{d.dialer.why(d.NATSURL, nil).Error()}
	}
	return d.link, nil
}

// ask is a request to NATS under way.
type ask struct {
	what   string // it is about: a stream, or the subject that is written to
	cancel context.CancelCauseFunc
}

// denied ends the requests about the stream or the subject that a refusal of the server
// names: no reply comes to them.
func (d *Desk) denied(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := err.Error()
	for a := range d.asks {
		if a.what == "" || strings.Contains(text, a.what+`"`) || strings.Contains(text, a.what+".") {
			a.cancel(err)
		}
	}
}

// about calls do with a context that also ends when the server refuses a request about
// what, and with the connection. what is the stream that is read, or the subject that is
// written to. The error then says so.
func (d *Desk) about(ctx context.Context, what string, do func(context.Context, *link) error) error {
	l, err := d.nats()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := &ask{what, cancel}
	d.mu.Lock()
	d.asks[a] = struct{}{}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.asks, a)
		d.mu.Unlock()
	}()
	err = do(ctx, l)
	switch {
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, nats.ErrReconnectBufExceeded): // in words that say which server; an earlier request may have been sent
		err = d.dialer.why(d.NATSURL, nil)
	}
	return err
}

// notWritten reports whether err says for certain that a write was not stored.
func notWritten(err error) bool {
	_, replied := errors.AsType[*jetstream.APIError](err)
	_, away := errors.AsType[*awayError](err)
	return replied || away || errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// order returns an order as status and settle ask about it.
func (d *Desk) order(outTradeNo string, timeout time.Duration) *Order {
	return &Order{OutTradeNo: outTradeNo, Timeout: timeout, Settings: d.Settings}
}

// store returns the stores that the workers have.
func (d *Desk) store(l *link) *dedupe.Store {
	return dedupe.New(d.cache, l.journal, l.results, dedupe.Config{FinalTTL: d.DedupeTTL, JournalTTL: d.JournalTTL})
}

// policy is how doubt ends.
func (d *Desk) policy() worker.Policy { return worker.Policy(d.UpstreamReconcile) }

// redisAway returns why Redis cannot be asked; nil: it can. It waits for a second at
// most, so that a list does not wait for Redis once for each order.
func (d *Desk) redisAway(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := d.rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}
