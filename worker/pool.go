package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"orderworker/upstream"
	"orderworker/upstream/pause"
	"orderworker/worker/halt"
)

// ErrShutdown says that SHUTDOWN_TIMEOUT ran out with orders in flight. None is
// lost: each is delivered again, and its records say how to go on.
var ErrShutdown = errors.New("shutdown time ran out with orders in progress")

// Config holds the settings of a worker and what it talks to.
type Config struct {
	Rules           Rules
	Account         string        // at the vendor, as upstream.AccountID returns it; it is part of what is remembered of an order
	Concurrency     int           // the most orders in flight at once
	ShutdownTimeout time.Duration // from the end of soft to the end of hard

	Stream interface { // NATS JetStream
		source
		publisher
		controls
		words
	}
	Claims  claims
	Connect func(context.Context) (Line, error) // connects to the vendor; the error is an *upstream.Error, or ctx's
	Slots   slots
	Metrics *Metrics
	Logger  zerolog.Logger
	Tracer  trace.Tracer // nil: no traces

	halts halts // of a simulation; nil: a *halt.Watch of what Stream reads
}

// Worker pulls order requests and takes each to its outcome.
type Worker struct {
	rules       Rules
	account     string
	concurrency int
	shutdown    time.Duration
	ackWait     time.Duration
	source      source
	publisher   publisher
	claims      claims
	connect     func(context.Context) (Line, error)
	slots       slots
	pause       *pause.Pause
	halts       halts
	lookups     *lookups
	metrics     *Metrics
	logger      zerolog.Logger
	tracer      trace.Tracer
	inFlight    *inFlight
	doubts      *doubts
	lastBacklog atomic.Pointer[Backlog] // nil: the stream was not inspected yet
	unavailable *unavailable
}

// New returns a worker, which works once Run is called.
func New(c Config) *Worker {
	u := &unavailable{logger: c.Logger}
	w := &Worker{
		rules: c.Rules, account: c.Account, concurrency: c.Concurrency, shutdown: c.ShutdownTimeout, ackWait: c.Stream.AckWait(),
		source: c.Stream, publisher: retryPublisher{c.Stream, u}, connect: c.Connect, slots: c.Slots, halts: c.halts,
		metrics: c.Metrics, logger: c.Logger, tracer: c.Tracer, unavailable: u,
		inFlight: &inFlight{orders: make(map[*task]flight), numbers: make(map[string]struct{})},
		doubts:   &doubts{until: make(map[string]time.Time)},
	}
	if w.halts == nil {
		busy := func() bool { return w.inFlight.count() > 0 }
		w.halts = halt.NewWatch(c.Stream.Halt, busy, (&haltLog{Worker: w}).log)
	}
	w.claims = retryClaims{c.Claims, u, w.halts}
	w.pause = pause.New(w.logPause)
	w.lookups = newLookups(c, w)
	w.metrics.registerGauges(w)
	return w
}

// SecretChanged tells the worker that requests are signed with another secret
// from now on. A paused account is probed at once.
func (w *Worker) SecretChanged() { w.pause.ProbeNow() }

// logPause logs that a pause has begun, lasts, or has ended.
func (w *Worker) logPause(s pause.Status) {
	level, text := zerolog.InfoLevel, "account resumed"
	if s.Paused {
		level, text = zerolog.ErrorLevel, "account paused"
	}
	e := w.logger.WithLevel(level).Str("cause", s.Cause).Str("why", cut(s.Why, 1024)).Str("code", s.Code).Str("vendor_message", s.Message).
		Int("probes", s.Probes).Int64("paused_ms", time.Since(s.Since).Milliseconds())
	if s.Paused {
		e = e.Str("next_probe", Time{s.NextProbe}.String())
	}
	e.Msg(text)
}

// throttle slows down all workers if err is an answer that says "too fast". Where
// that fails, the next such answer slows them down.
func (w *Worker) throttle(ctx context.Context, err error) {
	e := upstreamError(err)
	if e == nil || e.Class != upstream.Throttled {
		return
	}
	if err := w.slots.Slow(ctx, e.RetryAfter); err != nil {
		w.logger.Warn().Err(err).Msg("throttled by the vendor; could not slow down the other workers")
	}
}

// Run works until soft ends. Then the orders in flight have ShutdownTimeout to
// finish; Run interrupts those that are left, and returns ErrShutdown.
func (w *Worker) Run(soft context.Context) error {
	hard, interrupt := context.WithCancel(context.WithoutCancel(soft))
	defer interrupt()

	var helpers, orders sync.WaitGroup
	helpers.Go(func() { w.lookups.run(hard) })
	helpers.Go(func() { w.heartbeat(hard) })
	helpers.Go(func() { w.halts.Run(hard) })

	grace, stop := delayCancel(soft, min(gracePeriod, w.shutdown/4))
	defer stop()
	w.pull(soft, &orders, func(t *task) { w.endDelivery(t, t.run(grace, hard)) })

	finished := make(chan struct{})
	go func() { orders.Wait(); close(finished) }()
	var err error
	select {
	case <-finished:
	case <-time.After(w.shutdown):
		err = ErrShutdown
	}
	interrupt()
	<-finished // every order ends when hard does
	helpers.Wait()
	return err
}

// gracePeriod is how long orders in flight may still wait for a slot after soft
// has ended, and a quarter of the shutdown time at most. It covers the last pull,
// which may last for PullWait.
const gracePeriod = 2 * PullWait

// delayCancel returns a context that is cancelled delay after its parent, with
// the parent's cause.
func delayCancel(parent context.Context, delay time.Duration) (later context.Context, stop func()) {
	later, end := context.WithCancelCause(context.WithoutCancel(parent))
	forget := context.AfterFunc(parent, func() {
		select {
		case <-time.After(delay):
			end(context.Cause(parent))
		case <-later.Done():
		}
	})
	return later, func() { forget(); end(nil) }
}

const (
	// pullGather is how long the worker waits for more free slots before a pull,
	// where most are taken: a pull costs as much as a message or two.
	pullGather = time.Millisecond
	// pausePull is the least time for pulling CONCURRENCY messages while the account is
	// paused, or an operator has paused, and most of them are handed back at once.
	pausePull = 5 * time.Second
)

// pull pulls exactly as many messages as there are free slots, until soft ends.
// The ack wait of a message begins with its delivery, so a message that waited in
// a buffer here would be delivered twice. Each of the CONCURRENCY goroutines of
// orders handles one delivery after the other, until soft ends.
func (w *Worker) pull(soft context.Context, orders *sync.WaitGroup, handle func(*task)) {
	free := make(chan struct{}, w.concurrency)
	tasks := make(chan *task) // sending never blocks: a goroutine is free for each
	defer close(tasks)
	for range w.concurrency {
		free <- struct{}{}
		orders.Go(func() {
			for t := range tasks {
				w.metrics.inProgress.Inc()
				handle(t)
				w.inFlight.remove(t)
				w.metrics.inProgress.Dec()
				free <- struct{}{}
			}
		})
	}
	retry := pullRetry{Worker: w, pace: storeBackoff()}
	for soft.Err() == nil { // the select alone could go on pulling: it chooses at random
		n := 0
		select {
		case <-free:
			n = 1 + takeFree(free, w.concurrency-1)
		case <-soft.Done():
			return
		}
		if n < w.concurrency/4 { // under load
			sleep(soft, pullGather)
			n += takeFree(free, w.concurrency-n)
		}
		begun, asked := time.Now(), n
		err := w.source.Pull(soft, n, func(d *Delivery) {
			t := w.receive(d)
			if !w.inFlight.add(t) {
				w.endDelivery(t, handBack(StepBusy, sameNumberDelay, nil)) // it took no free slot
				return
			}
			n--
			tasks <- t
		})
		pulled := asked - n
		for range n {
			free <- struct{}{}
		}
		wait := retry.delay(soft, err)
		if w.pause.Status().Paused || w.halts.Status().Stops() {
			wait = max(wait, pausePull*time.Duration(pulled)/time.Duration(w.concurrency)-time.Since(begun))
		}
		if wait > 0 {
			sleep(soft, wait)
		}
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// pullRetry paces and logs pulls that fail.
type pullRetry struct {
	*Worker
	pace    *backoff.ExponentialBackOff
	failing bool
}

// delay returns how long to wait after a pull that ended with err. It logs when
// pulls begin to fail, and when they work again.
func (p *pullRetry) delay(soft context.Context, err error) time.Duration {
	switch {
	case err == nil:
		if p.failing {
			p.logger.Info().Msg("pull recovered")
		}
		p.failing = false
		p.pace.Reset()
		return 0
	case soft.Err() != nil:
		return 0
	}
	level := zerolog.WarnLevel
	if p.failing {
		level = zerolog.DebugLevel // it was logged before
	}
	p.failing = true
	p.logger.WithLevel(level).Err(err).Msg("pull failed, retrying")
	return p.pace.NextBackOff()
}

// takeFree takes up to most free slots without waiting, and returns how many.
func takeFree(free <-chan struct{}, most int) int {
	for n := range most {
		select {
		case <-free:
		default:
			return n
		}
	}
	return most
}
