package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"orderworker/dedupe"
	"orderworker/upstream"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

type runCmd struct{ Settings }

func (c *runCmd) check(f *faults) {
	c.Settings.check(f)
	checkTraces(f, os.Getenv)
}

// Run works until soft ends; the admin server comes first and goes last, so
// that whoever asks can see why the worker waits.
func (c *runCmd) Run(soft context.Context, std *std) error {
	s := &c.Settings
	log := newLogger(s.LogLevel, s.LogFormat, std.err)
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
	nc, err := connectNATS(soft, s, log, natsGate.fail, denied)
	if err != nil {
		return unlessStopped(soft, err)
	}
	defer nc.Close()
	natsGate.open(natsAnswers(nc))
	rdb, err := connectRedis(s)
	if err != nil {
		return err
	}
	defer closeRedis(rdb)
	err = waitFor(soft, "redis", log, redisGate.fail, func(ctx context.Context) error { return checkRedis(ctx, rdb, s.OrdersStream, log) })
	if err != nil {
		return unlessStopped(soft, err)
	}
	redisGate.open(redisAnswers(rdb))

	vendor, err := s.newVendor()
	if err != nil {
		return err
	}
	var w *worker.Worker
	err = waitFor(soft, "jetstream", log, streamGate.fail, func(ctx context.Context) (err error) {
		w, err = assemble(ctx, s, nc, rdb, vendor, log, registry, tracer)
		return err
	})
	if err != nil {
		return unlessStopped(soft, err)
	}
	streamGate.open(func(context.Context) error { return nil }) // from here on it is NATS that answers for it

	if s.UpstreamSecretFile != "" {
		var watching sync.WaitGroup
		watching.Go(func() {
			s.watchSecret(soft, secretPoll, log, func(secret upstream.Secret) {
				vendor.SetSecret(secret)
				w.SecretChanged()
			})
		})
		defer watching.Wait()
	}
	log.Info().Msg("taking orders")
	err = w.Run(soft)
	if flushErr := nc.FlushTimeout(time.Second); flushErr != nil && err == nil {
		log.Warn().Err(flushErr).Msg("the last answers to NATS may be lost: those orders are delivered again")
	}
	log.Info().Msg("stopped")
	if cause := context.Cause(soft); err == nil && errors.Is(cause, errRefused) {
		err = cause
	}
	return err
}

// unlessStopped is nil where err came only of being asked to stop.
func unlessStopped(soft context.Context, err error) error {
	if soft.Err() == nil || errors.Is(err, errRefused) {
		return err
	}
	if cause := context.Cause(soft); errors.Is(cause, errRefused) {
		return cause
	}
	return nil
}

func (s *Settings) newVendor() (*upstream.Client, error) {
	codes, _, _ := s.codes() // checked before
	return upstream.NewClient(upstream.Config{
		BaseURL: s.UpstreamURL, AppKey: s.UpstreamAppkey, Secret: s.UpstreamSecret,
		Timeout: s.UpstreamTimeout, Codes: codes, MaxConns: s.Concurrency,
	})
}

// assemble makes the streams that are missing, and the worker. The error wraps
// errRefused where waiting does not help.
func assemble(ctx context.Context, s *Settings, nc *nats.Conn, rdb redis.UniversalClient, vendor *upstream.Client, log zerolog.Logger, registry prometheus.Registerer, tracer trace.Tracer) (*worker.Worker, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := natsio.Open(ctx, js, s.streams(), log)
	if err := s.tolerate(err, log); err != nil {
		return nil, err
	}
	if wait := stream.AckWait(); wait != s.OrdersAckWait {
		log.Warn().Dur("ack_wait_ms", wait).Msg("the consumer exists with another ack wait than ORDERS_ACK_WAIT; its own counts")
	}
	journal, err := s.openJournal(ctx, js, rdb, log)
	if err != nil {
		return nil, err
	}
	states, err := s.lookupStates()
	if err != nil {
		return nil, err
	}
	return worker.New(worker.Config{
		Rules: worker.Rules{
			MaxAttempts: s.MaxAttempts, LookupStates: states,
			Backoff:   worker.Backoff{Initial: s.BackoffInitial, Multiplier: s.BackoffMultiplier, Max: s.BackoffMax, Jitter: s.BackoffJitter},
			Reconcile: worker.Policy(s.UpstreamReconcile), ReconcileDelay: s.ReconcileDelay,
			InDoubtNotice: s.InDoubtNotice, UpstreamTimeout: s.UpstreamTimeout,
		},
		Concurrency: s.Concurrency, ShutdownTimeout: s.ShutdownTimeout,
		Stream: stream,
		Claims: dedupe.New(dedupe.NewRedis(rdb, s.OrdersStream), journal, dedupe.Config{Lease: stream.AckWait(), FinalTTL: s.DedupeTTL, JournalTTL: s.JournalTTL}),
		Connect: func(ctx context.Context) (worker.Line, error) {
			line, err := vendor.Connect(ctx)
			if err != nil {
				return nil, err
			}
			return line, nil
		},
		Slots:   upstream.NewQuota(rdb, upstream.AccountID(s.UpstreamAppkey, s.UpstreamURL), s.UpstreamRate, s.UpstreamJitter),
		Metrics: worker.NewMetrics(registry), Logger: log, Tracer: tracer,
	}), nil
}

// streams are the names and settings of the streams.
func (s *Settings) streams() natsio.Streams {
	return natsio.Streams{
		Orders: s.OrdersStream, OrdersSubject: s.OrdersSubject, Consumer: s.OrdersConsumer,
		Results: s.ResultsStream, ResultsSubject: s.ResultsSubject,
		Dead: s.DeadStream, DeadSubject: s.DeadSubject,
		Replicas: s.NATSReplicas, AckWait: s.OrdersAckWait, DedupeTTL: s.DedupeTTL,
	}
}

// openJournal is the journal stream, or with JOURNAL_TTL 0 the same records in
// Redis, for those who accept what it can lose.
func (s *Settings) openJournal(ctx context.Context, js jetstream.JetStream, rdb redis.UniversalClient, log zerolog.Logger) (dedupe.Journal, error) {
	if s.JournalTTL == 0 {
		return dedupe.NewRedisJournal(rdb, s.OrdersStream, s.DedupeTTL), nil
	}
	if err := dedupe.EnsureJournal(ctx, js, s.JournalStream, s.JournalSubject, s.NATSReplicas); err != nil {
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code == 400 { // the server understood, and says no
			err = fmt.Errorf("%w: %w", errRefused, err)
		}
		return nil, err
	}
	stream, err := js.Stream(ctx, s.JournalStream)
	if err != nil {
		return nil, err
	}
	var faults []string
	for _, fault := range dedupe.AuditJournal(stream.CachedInfo().Config, s.JournalSubject) {
		faults = append(faults, fault.Error())
	}
	if len(faults) > 0 {
		if err := s.tolerate(&worker.Lossy{Faults: faults}, log); err != nil {
			return nil, err
		}
	}
	return dedupe.NewJetStreamJournal(js, s.JournalStream, s.JournalSubject, s.JournalTTL), nil
}

// tolerate lets a lossy stream pass where ALLOW_LOSSY_STREAMS says so.
func (s *Settings) tolerate(err error, log zerolog.Logger) error {
	lossy, ok := errors.AsType[*worker.Lossy](err)
	switch {
	case errors.Is(err, natsio.ErrUnfit):
		return fmt.Errorf("%w: %w", errRefused, err)
	case !ok:
		return err
	case s.AllowLossyStreams:
		log.Warn().Str("faults", strings.Join(lossy.Faults, "; ")).Msg("an unfinished order could be dropped, as ALLOW_LOSSY_STREAMS allows")
		return nil
	default:
		return fmt.Errorf("%w (%w); ALLOW_LOSSY_STREAMS=true runs all the same", lossy, errRefused)
	}
}
