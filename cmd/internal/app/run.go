package app

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/telemetry"
	"orderworker/dedupe/redisstore"
	"orderworker/upstream"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

// Run takes orders until soft ends, and logs to log. It audits the configuration of Redis
// every auditPeriod. The admin server starts first and stops last, so that it can say
// why the worker waits.
func Run(soft context.Context, s *config.Settings, log zerolog.Logger, auditPeriod time.Duration) error {
	s.Warn(log)
	registry := telemetry.NewRegistry()
	var ready readiness
	admin, err := telemetry.StartAdmin(s.AdminAddr, s.AdminPprof, registry, ready.checks()...)
	if err != nil {
		return err
	}
	defer stopAdmin(soft, admin)

	tracer, stopTraces, err := telemetry.StartTraces(soft, log)
	if err != nil {
		return err
	}
	defer stopTraces()

	// A permission that is missing shows when it is used, and ends the program.
	soft, denied := context.WithCancelCause(soft)
	defer denied(nil)
	nc, err := connect.NATS(soft, s, log, ready.nats.Fail, denied)
	if err != nil {
		return unlessStopped(soft, err)
	}
	defer nc.Close()
	ready.nats.Open(connect.NATSAnswers(nc))
	rdb, err := connect.Redis(s, func(ctx context.Context, conn *redis.Conn) error {
		return redisstore.NoteServer(ctx, conn, s.OrdersStream)
	})
	if err != nil {
		return err
	}
	defer connect.CloseRedis(rdb)
	memory := connect.NewRedisAudit(rdb, log)
	check := func(ctx context.Context) error { return memory.Check(ctx, s.OrdersStream) }
	if err := connect.WaitFor(soft, "redis", log, ready.redis.Fail, check); err != nil {
		return unlessStopped(soft, err)
	}
	ready.redis.Open(memory.Ready)
	var watching sync.WaitGroup
	defer watching.Wait()
	soft, end := context.WithCancel(soft)
	defer end()
	watching.Go(func() { memory.Watch(soft, auditPeriod) })
	vendor, err := connect.Vendor(s)
	if err != nil {
		return err
	}
	var w *worker.Worker
	var stream *natsio.JetStream
	err = connect.WaitFor(soft, "jetstream", log, ready.streams.Fail, func(ctx context.Context) (err error) {
		w, stream, err = New(ctx, s, Parts{NATS: nc, Redis: rdb, Vendor: vendor, Log: log, Registry: registry, Tracer: tracer})
		return err
	})
	if err != nil {
		return unlessStopped(soft, err)
	}
	ready.streams.Open(stream.Ready)
	ready.worker.Store(w)
	watching.Go(func() { PublishVitals(soft, rdb, s.OrdersStream, w) })
	if s.UpstreamSecretFile != "" {
		watching.Go(func() {
			s.WatchSecret(soft, log, func(secret upstream.Secret) {
				vendor.SetSecret(secret)
				w.SecretChanged()
			})
		})
	}
	return takeOrders(soft, w, nc, log)
}

// readiness is what /readyz asks. The gates say what the program waits for until they are
// opened.
type readiness struct {
	nats, redis, streams telemetry.Gate
	worker               atomic.Pointer[worker.Worker] // nil: there is none yet
}

func (r *readiness) checks() []telemetry.Check {
	halted := telemetry.Check{Name: "control", Ask: func(ctx context.Context) error {
		if w := r.worker.Load(); w != nil {
			return w.HaltUnread(ctx)
		}
		return nil // streams says what the program waits for
	}, Note: func() string {
		if w := r.worker.Load(); w != nil {
			return w.HaltNote()
		}
		return ""
	}}
	return []telemetry.Check{
		{Name: "nats", Ask: r.nats.Check}, {Name: "redis", Ask: r.redis.Check}, {Name: "jetstream", Ask: r.streams.Check}, halted,
	}
}

// stopAdmin stops the admin server, which has a second for the answers under way.
func stopAdmin(soft context.Context, admin *telemetry.Admin) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(soft), time.Second)
	defer cancel()
	admin.Stop(ctx)
}

// takeOrders runs w until soft ends, and sends what is still buffered for NATS. The error
// wraps connect.ErrRefused if soft ended because NATS refused something.
func takeOrders(soft context.Context, w *worker.Worker, nc *nats.Conn, log zerolog.Logger) error {
	log.Info().Msg("taking orders")
	err := w.Run(soft)
	if flushErr := nc.FlushTimeout(time.Second); flushErr != nil && err == nil {
		log.Warn().Err(flushErr).Msg("the last answers to NATS may be lost: those orders are delivered again")
	}
	log.Info().Msg("stopped")
	if cause := context.Cause(soft); err == nil && errors.Is(cause, connect.ErrRefused) {
		err = cause
	}
	return err
}

// unlessStopped returns err, or nil if err is only that soft ended.
func unlessStopped(soft context.Context, err error) error {
	if soft.Err() == nil || errors.Is(err, connect.ErrRefused) {
		return err
	}
	if cause := context.Cause(soft); errors.Is(cause, connect.ErrRefused) {
		return cause
	}
	return nil
}
