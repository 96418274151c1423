package natsio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/worker"
)

// JetStream hands over orders and stores events.
type JetStream struct {
	js       jetstream.JetStream
	names    Streams
	logger   zerolog.Logger
	puller   *puller
	consumer atomic.Pointer[jetstream.Consumer]
	lost     atomic.Bool // the consumer did not answer: look for it before the next pull
	ackWait  time.Duration
	clock    worker.Clock
	warned   atomic.Pointer[string] // the faults that were tolerated last
	trouble  [2]atomic.Pointer[error]
}

// What Ready asks about.
const (
	lastPull = iota
	lastAudit
)

// Open makes the streams and the consumer that are missing, and leaves those
// that exist as they are. The error is a *worker.LossyError where one of those could
// drop an unfinished order, or break another promise; it wraps ErrUnfit where
// one cannot be used at all. logger is told of each stream that is made.
func Open(ctx context.Context, js jetstream.JetStream, names Streams, logger zerolog.Logger) (*JetStream, error) {
	j := &JetStream{js: js, names: names, logger: logger, puller: newPuller(js.Conn()), ackWait: names.AckWait, clock: worker.Clock{Server: "NATS"}}
	for _, config := range j.names.all() {
		if err := j.ensureStream(ctx, config); err != nil {
			return nil, err
		}
	}
	if err := j.ensureConsumer(ctx); err != nil {
		return nil, err
	}
	// A consumer without acks has no ack wait: AllowLossy lets it pass.
	if wait := (*j.consumer.Load()).CachedInfo().Config.AckWait; wait > 0 {
		j.ackWait = wait
	}
	found, err := j.audit(ctx)
	if err != nil {
		return nil, err
	}
	for _, warning := range found.warnings {
		j.logger.Warn().Msg(warning)
	}
	if err := j.tolerate(found.faults); err != nil {
		return nil, err
	}
	return j, nil
}

func (j *JetStream) ensureConsumer(ctx context.Context) error {
	consumer, err := j.js.Consumer(ctx, j.names.Orders, j.names.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = j.js.CreateConsumer(ctx, j.names.Orders, jetstream.ConsumerConfig{
			Durable:       j.names.Consumer,
			FilterSubject: j.names.OrdersSubject,
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       j.names.AckWait, // alone: BackOff would distort NakWithDelay
			MaxDeliver:    -1,              // past a limit a message would be stuck for ever
			MaxAckPending: -1,              // orders that wait count: fresh ones must not starve behind them
		})
		if errors.Is(err, jetstream.ErrConsumerExists) { // another worker was faster
			consumer, err = j.js.Consumer(ctx, j.names.Orders, j.names.Consumer)
		}
	}
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		err = fmt.Errorf("%w: deliver_subject is set: it pushes orders; delete it: nats consumer rm %s %s", ErrUnfit, j.names.Orders, j.names.Consumer)
	}
	if err != nil {
		return fmt.Errorf("consumer %s of stream %s: %w", j.names.Consumer, j.names.Orders, err)
	}
	j.consumer.Store(&consumer)
	return nil
}

// AckWait is the ack wait of the consumer, which an existing one keeps.
func (j *JetStream) AckWait() time.Duration { return j.ackWait }

// restore makes the orders stream and its consumer again where they have gone.
func (j *JetStream) restore(ctx context.Context) error {
	if err := j.ensureStream(ctx, j.names.ordersConfig()); err != nil {
		return err
	}
	if err := j.ensureConsumer(ctx); err != nil {
		return err
	}
	j.lost.Store(false)
	return nil
}

// findings is what the server says of streams and consumer.
type findings struct {
	faults, warnings []string // one line each, with the cure
	consumer         *jetstream.ConsumerInfo
	orders           *jetstream.StreamInfo
}

// audit looks at everything of section 9 of the contract that is in NATS.
func (j *JetStream) audit(ctx context.Context) (found findings, err error) {
	if found.consumer, err = (*j.consumer.Load()).Info(ctx); err != nil {
		return found, fmt.Errorf("consumer %s of stream %s: %w", j.names.Consumer, j.names.Orders, err)
	}
	if old := oldServer(j.js.Conn().ConnectedServerVersion()); old != "" {
		found.faults = append(found.faults, old)
	}
	for _, want := range j.names.all() {
		before := time.Now()
		stream, err := j.js.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound) && want.Name == j.names.Journal:
			found.faults = append(found.faults, fmt.Sprintf("stream %s: it is gone, and what was being sent is in doubt; restart a worker, which makes it anew", want.Name))
			continue
		case errors.Is(err, jetstream.ErrStreamNotFound): // it is made again when it is used next
			continue
		case err != nil:
			return found, fmt.Errorf("stream %s: %w", want.Name, err)
		}
		config := stream.CachedInfo().Config
		found.faults = append(found.faults, j.names.Audit(config)...)
		switch want.Name {
		case j.names.Orders:
			found.orders = stream.CachedInfo()
			if fault := j.clock.Compare(before, stream.CachedInfo().TimeStamp, time.Now()); fault != "" {
				found.faults = append(found.faults, fault)
			}
			consumer := judgedConsumer{found.consumer.Config, config, j.names.OrdersSubject, j.names.Concurrency, j.ackWait, time.Now()}
			found.faults = append(found.faults, faults(consumerRules, "consumer "+j.names.Consumer, consumer)...)
		case j.names.Results:
			found.warnings = faults(resultsWarnings, "stream "+want.Name, judged{config, j.names.JournalTTL, j.names.DedupeTTL})
		}
	}
	return found, nil
}

// tolerate turns faults into an error, or into a warning each where they are
// allowed: once, until others come.
func (j *JetStream) tolerate(faults []string) error {
	slices.Sort(faults)
	if len(faults) > 0 && !j.names.AllowLossy {
		return &worker.LossyError{Faults: faults}
	}
	text := strings.Join(faults, "; ")
	if last := j.warned.Swap(&text); last != nil && *last == text {
		return nil
	}
	for _, fault := range faults {
		j.logger.Warn().Str("fault", fault).Msg("lossy stream tolerated")
	}
	return nil
}

// Pending says what is waiting. The error is a *worker.LossyError, beside what is
// waiting, where a stream or the consumer was altered, or made again by
// somebody, so that it could drop an unfinished order.
func (j *JetStream) Pending(ctx context.Context) (worker.Backlog, error) {
	found, err := j.audit(ctx)
	if err != nil {
		return worker.Backlog{}, err
	}
	b := worker.Backlog{Pending: found.consumer.NumPending, AckPending: uint64(found.consumer.NumAckPending)}
	if b.Oldest, err = j.oldest(ctx, found); err != nil {
		return worker.Backlog{}, err
	}
	err = j.tolerate(found.faults)
	j.trouble[lastAudit].Store(&err)
	return b, err
}

// oldest is when the oldest unfinished request was stored.
func (j *JetStream) oldest(ctx context.Context, found findings) (time.Time, error) {
	switch orders := found.orders; {
	case orders == nil || orders.State.Msgs == 0:
		return time.Time{}, nil
	case orders.Config.Retention == jetstream.WorkQueuePolicy && slices.Equal(orders.Config.Subjects, []string{j.names.OrdersSubject}):
		return orders.State.FirstTime, nil // what is finished was dropped, and nothing else is there
	}
	m, _, err := readLeader(ctx, j.js, j.names.Orders, get{Seq: found.consumer.AckFloor.Stream + 1, NextFor: j.names.OrdersSubject})
	return m.Time, err
}

// pulled remembers how the last pull ended.
func (j *JetStream) pulled(err error) error {
	j.trouble[lastPull].Store(&err)
	return err
}

// Ready says why orders cannot be pulled, or should not be, as the last pull and
// the last look at the streams found.
func (j *JetStream) Ready(context.Context) error {
	for i := range j.trouble {
		if err := j.trouble[i].Load(); err != nil && *err != nil {
			return *err
		}
	}
	return nil
}
