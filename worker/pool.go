package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"orderworker/upstream"
)

// ErrShutdown says that SHUTDOWN_TIMEOUT ran out with orders in progress. None
// is lost: each is redelivered, and what it left behind says how to go on.
var ErrShutdown = errors.New("shutdown time ran out with orders in progress")

// Config is what a worker runs with.
type Config struct {
	Rules           Rules
	Concurrency     int           // orders in progress at once
	ShutdownTimeout time.Duration // from the end of soft to the end of hard

	Stream interface { // NATS JetStream
		source
		publisher
	}
	Claims claims
	Vendor interface {
		placer
		finder
	}
	Slots   slots
	Metrics *Metrics
	Logger  zerolog.Logger
	Tracer  trace.Tracer // nil: no traces
}

// Worker takes order messages and answers each.
type Worker struct {
	rules     Rules
	size      int
	shutdown  time.Duration
	ackWait   time.Duration
	source    source
	publisher publisher
	claims    claims
	placer    placer
	slots     slots
	breaker   *upstream.Breaker
	lookups   *lookups
	metrics   *Metrics
	logger    zerolog.Logger
	tracer    trace.Tracer
	working   *working
	doubts    *doubts
	stalled   *stalled
}

// New makes a worker; Run sets it to work.
func New(c Config) *Worker {
	w := &Worker{
		rules: c.Rules, size: c.Concurrency, shutdown: c.ShutdownTimeout, ackWait: c.Stream.AckWait(),
		source: c.Stream, publisher: c.Stream, claims: c.Claims, placer: c.Vendor, slots: c.Slots,
		metrics: c.Metrics, logger: c.Logger, tracer: c.Tracer,
		working: &working{orders: make(map[*handling]inProgress), numbers: make(map[string]struct{})},
		doubts:  &doubts{gauge: c.Metrics.inDoubt, until: make(map[string]time.Time)},
		stalled: &stalled{logger: c.Logger},
	}
	w.breaker = upstream.NewBreaker(w.paused)
	w.lookups = &lookups{finder: c.Vendor, slots: c.Slots, slow: w.slow, breaker: w.breaker, metrics: c.Metrics, asks: make(chan question)}
	return w
}

// paused shows that orders are held back, or go on.
func (w *Worker) paused(c upstream.Change) {
	level, text := zerolog.InfoLevel, "the vendor is back"
	if c.Opened {
		level, text = zerolog.ErrorLevel, "orders are held back"
	}
	w.metrics.pause(c.Paused)
	w.logger.WithLevel(level).Bool("paused", c.Paused).Str("reason", cut(c.Reason, 1024)).Msg(text)
}

// slow tells all workers of an answer that says "too fast". Where that fails,
// the next such answer will tell them.
func (w *Worker) slow(ctx context.Context, err error) {
	e := upstreamError(err)
	if e == nil || e.Class != upstream.Throttled {
		return
	}
	if err := w.slots.Slow(ctx, e.RetryAfter); err != nil {
		w.logger.Warn().Err(err).Msg("the vendor says too fast, and other workers do not know it")
	}
}

// Run works until soft ends, then lets the orders in progress finish for the
// shutdown time, then cuts them off and returns ErrShutdown.
func (w *Worker) Run(soft context.Context) error {
	hard, cutOff := context.WithCancel(context.WithoutCancel(soft))
	defer cutOff()

	var helpers, orders sync.WaitGroup
	helpers.Go(func() { w.lookups.run(hard) })
	helpers.Go(func() { w.beat(hard) })

	waiting, stop := after(soft, min(lastWait, w.shutdown/4))
	defer stop()
	w.pull(soft, &orders, func(d *Delivery) *handling { return w.receive(waiting, hard, d) })

	finished := make(chan struct{})
	go func() { orders.Wait(); close(finished) }()
	var err error
	select {
	case <-finished:
	case <-time.After(w.shutdown):
		err = ErrShutdown
	}
	cutOff()
	<-finished // every wait of an order ends with hard
	helpers.Wait()
	return err
}

// lastWait is how long orders in progress may still wait for a slot when no more
// are taken, and a quarter of the shutdown time at most: an order that is handed
// back is delivered again, and the last pull lasts about half as long.
const lastWait = 2 * PullWait

// after is soft that ends later.
func after(soft context.Context, delay time.Duration) (later context.Context, stop func()) {
	later, end := context.WithCancelCause(context.WithoutCancel(soft))
	forget := context.AfterFunc(soft, func() {
		select {
		case <-time.After(delay):
			end(context.Cause(soft))
		case <-later.Done():
		}
	})
	return later, func() { forget(); end(nil) }
}

// pullGather is how long a pull waits for more slots to become free, where most
// are taken: each pull costs the server and us as much as a message or two.
const pullGather = time.Millisecond

// pull asks for exactly as many messages as there are free slots, until soft
// ends: the ack wait of a message runs from its delivery on, so one that waits
// in a buffer here would be delivered twice. Each slot has a goroutine, which
// handles one order after the other until soft ends, and is one of orders.
func (w *Worker) pull(soft context.Context, orders *sync.WaitGroup, receive func(*Delivery) *handling) {
	free := make(chan struct{}, w.size)
	taken := make(chan *handling) // a slot was free for each: nobody waits here
	defer close(taken)
	for range w.size {
		free <- struct{}{}
		orders.Go(func() {
			for h := range taken {
				w.metrics.inProgress.Inc()
				h.handle()
				w.working.remove(h)
				w.metrics.inProgress.Dec()
				free <- struct{}{}
			}
		})
	}
	trouble, failing := storeBackoff(), false
	for soft.Err() == nil { // select alone would take another slot every other time
		n := 0
		select {
		case <-free:
			n = 1 + take(free, w.size-1)
		case <-soft.Done():
			return
		}
		if n < w.size/4 { // under load: one pull for several orders
			time.Sleep(pullGather)
			n += take(free, w.size-n)
		}
		err := w.source.Pull(soft, n, func(d *Delivery) {
			h := receive(d)
			if !w.working.add(h) {
				h.err = d.Msg.NakWithDelay(sameNumberDelay)
				h.end(leave)
				return // its slot is still free
			}
			n--
			taken <- h
		})
		for range n {
			free <- struct{}{}
		}
		if err == nil {
			if failing {
				w.logger.Info().Msg("orders are pulled again")
			}
			failing = false
			trouble.Reset()
			continue
		}
		if soft.Err() != nil {
			return
		}
		level := zerolog.WarnLevel
		if failing {
			level = zerolog.DebugLevel // said before
		}
		failing = true
		w.logger.WithLevel(level).Err(err).Msg("orders cannot be pulled; trying again")
		select {
		case <-time.After(trouble.NextBackOff()):
		case <-soft.Done():
		}
	}
}

// take takes up to most of what is there now.
func take(free <-chan struct{}, most int) int {
	for n := range most {
		select {
		case <-free:
		default:
			return n
		}
	}
	return most
}
