package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/dedupe"
	"orderworker/dedupe/redisstore"
	"orderworker/upstream"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

// Parts is what a worker needs beside its settings. The caller closes it.
type Parts struct {
	NATS     *nats.Conn
	Redis    redis.UniversalClient
	Vendor   *upstream.Client
	Log      zerolog.Logger
	Registry prometheus.Registerer // gets the worker's metrics
	Tracer   trace.Tracer          // nil: no spans
}

// New creates the streams that are missing, and returns the worker and its stream of
// orders. The error wraps connect.ErrRefused if waiting does not help.
func New(ctx context.Context, s *config.Settings, p Parts) (*worker.Worker, *natsio.JetStream, error) {
	js, err := jetstream.New(p.NATS)
	if err != nil {
		return nil, nil, err
	}
	stream, err := natsio.Open(ctx, js, connect.Streams(s), p.Log)
	if err != nil {
		return nil, nil, refusal(err)
	}
	if wait := stream.AckWait(); wait != s.OrdersAckWait {
		p.Log.Warn().Dur("ack_wait_ms", wait).Msg("the consumer exists with another ack wait than ORDERS_ACK_WAIT; its own counts")
	}
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
		Claims: dedupe.New(redisstore.NewCache(p.Redis, s.OrdersStream), connect.Journal(s, js, p.Redis), stream, dedupe.Config{Lease: stream.AckWait(), FinalTTL: s.DedupeTTL, JournalTTL: s.JournalTTL}),
		Connect: func(ctx context.Context) (worker.Line, error) {
			line, err := p.Vendor.Connect(ctx)
			if err != nil {
				return nil, err
			}
			return line, nil
		},
		Slots:   connect.Quota(s, p.Redis),
		Metrics: worker.NewMetrics(p.Registry), Logger: p.Log, Tracer: p.Tracer,
	})
	return w, stream, nil
}

// refusal returns err, an error of natsio.Open; it wraps connect.ErrRefused if waiting
// does not help.
func refusal(err error) error {
	lossy, ok := errors.AsType[*worker.LossyError](err)
	switch {
	case ok:
		return fmt.Errorf("%w (%w); ALLOW_LOSSY_STREAMS=true runs all the same", lossy, connect.ErrRefused)
	case errors.Is(err, natsio.ErrUnfit):
		return fmt.Errorf("%w: %w", connect.ErrRefused, err)
	}
	return err
}
