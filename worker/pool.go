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
)

// ErrShutdown says that SHUTDOWN_TIMEOUT ran out with orders in progress. None
// is lost: each is redelivered, and what it left behind says how to go on.
var ErrShutdown = errors.New("shutdown time ran out with orders in progress")

// Config is what a worker runs with.
type Config struct {
	Rules           Rules
	Account         string        // of the vendor: what is remembered of an order is this account's (upstream.AccountID)
	Concurrency     int           // orders in flight at once
	ShutdownTimeout time.Duration // from the end of soft to the end of hard

	Stream interface { // NATS JetStream
		source
		publisher
		controls
	}
	Claims  claims
	Connect func(context.Context) (Line, error) // to the vendor; the error is an *upstream.Error, or ctx's
	Slots   slots
	Metrics *Metrics
	Logger  zerolog.Logger
	Tracer  trace.Tracer // nil: no traces
}

// Worker takes order messages and answers each.
type Worker struct {
	rules       Rules
	account     string
	size        int
	shutdown    time.Duration
	ackWait     time.Duration
	source      source
	publisher   publisher
	claims      claims
	connect     func(context.Context) (Line, error)
	slots       slots
	pause       *pause.Pause
	lookups     *lookups
	metrics     *Metrics
	logger      zerolog.Logger
	tracer      trace.Tracer
	inFlight    *inFlight
	doubts      *doubts
	waiting     atomic.Pointer[Backlog] // at the last look; nil: there was none
	unavailable *unavailable
}

// New makes a worker; Run sets it to work.
func New(c Config) *Worker {
	u := &unavailable{logger: c.Logger}
	w := &Worker{
		rules: c.Rules, account: c.Account, size: c.Concurrency, shutdown: c.ShutdownTimeout, ackWait: c.Stream.AckWait(),
		source: c.Stream, publisher: retryPublisher{c.Stream, u}, claims: retryClaims{c.Claims, u}, connect: c.Connect, slots: c.Slots,
		metrics: c.Metrics, logger: c.Logger, tracer: c.Tracer, unavailable: u,
		inFlight: &inFlight{orders: make(map[*task]flight), numbers: make(map[string]struct{})},
		doubts:   &doubts{until: make(map[string]time.Time)},
	}
	w.pause = pause.New(w.paused)
	w.lookups = newLookups(c, w)
	w.metrics.watch(w)
	return w
}

// SecretChanged says that calls are signed with another secret from now on: if
// the account is paused, it is found out at once whether it works again.
func (w *Worker) SecretChanged() { w.pause.ProbeNow() }

// paused logs that orders are paused, still are, or go on.
func (w *Worker) paused(s pause.Status) {
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

// slow tells all workers of an answer that says "too fast". Where that fails,
// the next such answer will tell them.
func (w *Worker) slow(ctx context.Context, err error) {
	e := upstreamError(err)
	if e == nil || e.Class != upstream.Throttled {
		return
	}
	if err := w.slots.Slow(ctx, e.RetryAfter); err != nil {
		w.logger.Warn().Err(err).Msg("throttled by the vendor; could not slow down the other workers")
	}
}

// Run works until soft ends, then lets the orders in progress finish for the
// shutdown time, then cuts them off and returns ErrShutdown.
func (w *Worker) Run(soft context.Context) error {
	hard, cutOff := context.WithCancel(context.WithoutCancel(soft))
	defer cutOff()

	var helpers, orders sync.WaitGroup
	helpers.Go(func() { w.lookups.run(hard) })
	helpers.Go(func() { w.heartbeat(hard) })

	waiting, stop := delayCancel(soft, min(lastWait, w.shutdown/4))
	defer stop()
	w.pull(soft, &orders, func(t *task) { w.answer(t, t.run(waiting, hard)) })

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
	// pullGather is how long a pull waits for more slots to become free, where most
	// are taken: each pull costs the server and us as much as a message or two.
	pullGather = time.Millisecond
	// pausePull is how long it takes at least to pull as many messages as there
	// are slots, while orders are paused: most are handed back at once.
	pausePull = 5 * time.Second
)

// pull asks for exactly as many messages as there are free slots, until soft
// ends: the ack wait of a message runs from its delivery on, so one that waits
// in a buffer here would be delivered twice. Each slot has a goroutine, which
// handles one order after the other until soft ends, and is one of orders.
func (w *Worker) pull(soft context.Context, orders *sync.WaitGroup, handle func(*task)) {
	free := make(chan struct{}, w.size)
	taken := make(chan *task) // a slot was free for each: nobody waits here
	defer close(taken)
	for range w.size {
		free <- struct{}{}
		orders.Go(func() {
			for t := range taken {
				w.metrics.inProgress.Inc()
				handle(t)
				w.inFlight.remove(t)
				w.metrics.inProgress.Dec()
				free <- struct{}{}
			}
		})
	}
	trouble := pullTrouble{Worker: w, pace: storeBackoff()}
	for soft.Err() == nil { // select alone would take another slot every other time
		n := 0
		select {
		case <-free:
			n = 1 + take(free, w.size-1)
		case <-soft.Done():
			return
		}
		if n < w.size/4 { // under load: one pull for several orders
			sleep(soft, pullGather)
			n += take(free, w.size-n)
		}
		begun, asked := time.Now(), n
		err := w.source.Pull(soft, n, func(d *Delivery) {
			t := w.receive(d)
			if !w.inFlight.add(t) {
				w.answer(t, again(StepBusy, sameNumberDelay, nil)) // its slot is still free
				return
			}
			n--
			taken <- t
		})
		pulled := asked - n
		for range n {
			free <- struct{}{}
		}
		wait := trouble.wait(soft, err)
		if w.pause.Status().Paused {
			wait = max(wait, pausePull*time.Duration(pulled)/time.Duration(w.size)-time.Since(begun))
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

// pullTrouble is what is known of pulls that fail.
type pullTrouble struct {
	*Worker
	pace    *backoff.ExponentialBackOff
	failing bool
}

// wait takes the end of a pull in, logs where it changes something, and returns
// how long to wait before the next.
func (p *pullTrouble) wait(soft context.Context, err error) time.Duration {
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
		level = zerolog.DebugLevel // said before
	}
	p.failing = true
	p.logger.WithLevel(level).Err(err).Msg("pull failed, retrying")
	return p.pace.NextBackOff()
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
