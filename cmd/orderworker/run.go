package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/dedupe"
	"orderworker/upstream"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

type runCmd struct {
	config.Settings
	redisPeriod time.Duration `kong:"-"` // of the looks at Redis; 0: connect.AuditPeriod
}

func (c *runCmd) Check(f *config.Faults) {
	c.Settings.Check(f)
	checkTraces(f, os.Getenv)
}

// Run works until soft ends; the admin server comes first and goes last, so
// that whoever asks can see why the worker waits.
func (c *runCmd) Run(soft context.Context, std *std) error {
	s := &c.Settings
	log := newLogger(s.LogLevel, s.LogFormat, std.err)
	s.Warn(log)
	registry := newRegistry()
	var natsGate, redisGate, streamGate gate
	admin, err := startAdmin(s.AdminAddr, s.AdminPprof, registry,
		check{"nats", natsGate.check}, check{"redis", redisGate.check}, check{"jetstream", streamGate.check})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(soft), time.Second)
		defer cancel()
		admin.stop(ctx)
	}()

	tracer, stopTraces, err := startTraces(soft, log)
	if err != nil {
		return err
	}
	defer stopTraces()

	// A permission that is missing shows when it is used, and ends the program.
	soft, denied := context.WithCancelCause(soft)
	defer denied(nil)
	nc, err := connect.NATS(soft, s, log, natsGate.fail, denied)
	if err != nil {
		return unlessStopped(soft, err)
	}
	defer nc.Close()
	natsGate.open(connect.NATSAnswers(nc))
	rdb, err := connect.Redis(s, func(ctx context.Context, conn *redis.Conn) error {
		return dedupe.NoteServer(ctx, conn, s.OrdersStream)
	})
	if err != nil {
		return err
	}
	defer connect.CloseRedis(rdb)
	memory := connect.NewRedisAudit(rdb, log)
	err = connect.WaitFor(soft, "redis", log, redisGate.fail, func(ctx context.Context) error { return memory.Check(ctx, s.OrdersStream) })
	if err != nil {
		return unlessStopped(soft, err)
	}
	redisGate.open(memory.Ready)
	var watching sync.WaitGroup
	defer watching.Wait()
	soft, end := context.WithCancel(soft)
	defer end()
	watching.Go(func() { memory.Watch(soft, cmp.Or(c.redisPeriod, connect.AuditPeriod)) })

	vendor, err := connect.Vendor(s)
	if err != nil {
		return err
	}
	var w *worker.Worker
	var stream *natsio.JetStream
	err = connect.WaitFor(soft, "jetstream", log, streamGate.fail, func(ctx context.Context) (err error) {
		w, stream, err = assemble(ctx, s, nc, rdb, vendor, log, registry, tracer)
		return err
	})
	if err != nil {
		return unlessStopped(soft, err)
	}
	streamGate.open(stream.Ready)

	if s.UpstreamSecretFile != "" {
		watching.Go(func() {
			s.WatchSecret(soft, log, func(secret upstream.Secret) {
				vendor.SetSecret(secret)
				w.SecretChanged()
			})
		})
	}
	log.Info().Msg("taking orders")
	err = w.Run(soft)
	if flushErr := nc.FlushTimeout(time.Second); flushErr != nil && err == nil {
		log.Warn().Err(flushErr).Msg("the last answers to NATS may be lost: those orders are delivered again")
	}
	log.Info().Msg("stopped")
	if cause := context.Cause(soft); err == nil && errors.Is(cause, connect.ErrRefused) {
		err = cause
	}
	return err
}

// unlessStopped is nil where err came only of being asked to stop.
func unlessStopped(soft context.Context, err error) error {
	if soft.Err() == nil || errors.Is(err, connect.ErrRefused) {
		return err
	}
	if cause := context.Cause(soft); errors.Is(cause, connect.ErrRefused) {
		return cause
	}
	return nil
}

// assemble makes the streams that are missing, and the worker over them. The error wraps
// connect.ErrRefused where waiting does not help.
func assemble(ctx context.Context, s *config.Settings, nc *nats.Conn, rdb redis.UniversalClient, vendor *upstream.Client, log zerolog.Logger, registry prometheus.Registerer, tracer trace.Tracer) (*worker.Worker, *natsio.JetStream, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	stream, err := natsio.Open(ctx, js, connect.Streams(s), log)
	if err != nil {
		return nil, nil, refusal(err)
	}
	if wait := stream.AckWait(); wait != s.OrdersAckWait {
		log.Warn().Dur("ack_wait_ms", wait).Msg("the consumer exists with another ack wait than ORDERS_ACK_WAIT; its own counts")
	}
	journal := connect.Journal(s, js, rdb)
	states, err := s.LookupStates()
	if err != nil {
		return nil, nil, err
	}
	w := worker.New(worker.Config{
		Rules: worker.Rules{
			MaxAttempts: s.MaxAttempts, LookupStates: states,
			Backoff:   worker.Backoff{Initial: s.BackoffInitial, Multiplier: s.BackoffMultiplier, Max: s.BackoffMax, Jitter: s.BackoffJitter},
			Reconcile: worker.Policy(s.UpstreamReconcile), ReconcileDelay: s.ReconcileDelay,
			InDoubtNotice: s.InDoubtNotice, UpstreamTimeout: s.UpstreamTimeout,
		},
		Account:     s.Account(),
		Concurrency: s.Concurrency, ShutdownTimeout: s.ShutdownTimeout,
		Stream: stream,
		Claims: dedupe.New(dedupe.NewRedis(rdb, s.OrdersStream), journal, stream, dedupe.Config{Lease: stream.AckWait(), FinalTTL: s.DedupeTTL, JournalTTL: s.JournalTTL}),
		Connect: func(ctx context.Context) (worker.Line, error) {
			line, err := vendor.Connect(ctx)
			if err != nil {
				return nil, err
			}
			return line, nil
		},
		Slots:   connect.Quota(s, rdb),
		Metrics: worker.NewMetrics(registry), Logger: log, Tracer: tracer,
	})
	return w, stream, nil
}

// refusal is err of opening the streams; it wraps connect.ErrRefused where waiting does
// not help.
func refusal(err error) error {
	lossy, ok := errors.AsType[*worker.Lossy](err)
	switch {
	case ok:
		return fmt.Errorf("%w (%w); ALLOW_LOSSY_STREAMS=true runs all the same", lossy, connect.ErrRefused)
	case errors.Is(err, natsio.ErrUnfit):
		return fmt.Errorf("%w: %w", connect.ErrRefused, err)
	}
	return err
}
