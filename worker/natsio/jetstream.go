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

// JetStream pulls order requests, and stores events and dead letters.
type JetStream struct {
	js           jetstream.JetStream
	names        Streams
	logger       zerolog.Logger
	puller       *puller
	control      *Control
	consumer     atomic.Pointer[jetstream.Consumer]
	consumerLost atomic.Bool // the last pull failed: look for the consumer before the next
	ackWait      time.Duration
	clock        worker.Clock
	warned       atomic.Pointer[string] // the faults that were logged last as tolerated
	pullErr      atomic.Pointer[error]  // of the last pull, for Ready
	auditErr     atomic.Pointer[error]  // of the last audit, for Ready
}

// Open creates the streams and the consumer that are missing, and leaves those that
// exist as they are. The error is a *worker.LossyError if one of them could drop an
// unfinished order or break another promise; it wraps ErrUnfit if one cannot be used at
// all. Every stream that is created is logged.
func Open(ctx context.Context, js jetstream.JetStream, names Streams, logger zerolog.Logger) (*JetStream, error) {
	j := &JetStream{js: js, names: names, logger: logger, puller: newPuller(js.Conn()), control: NewControl(js, names.Orders), ackWait: names.AckWait, clock: worker.Clock{Server: "NATS"}}
	for _, config := range j.names.all() {
		if err := j.ensureStream(ctx, config); err != nil {
			return nil, err
		}
	}
	if err := j.ensureConsumer(ctx); err != nil {
		return nil, err
	}
	// With AllowLossy the consumer may have ack policy none, and then no ack wait.
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
			AckWait:       j.names.AckWait, // without BackOff, which would distort NakWithDelay
			MaxDeliver:    -1,              // a message that reaches a limit is never delivered again
			MaxAckPending: -1,              // orders that wait for their next attempt count: with a limit they would block new ones
		})
		if errors.Is(err, jetstream.ErrConsumerExists) { // another worker has just created it
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

// AckWait returns the ack wait of the consumer. An existing consumer keeps its own.
func (j *JetStream) AckWait() time.Duration { return j.ackWait }

// restore creates the orders stream and its consumer again if they are gone.
func (j *JetStream) restore(ctx context.Context) error {
	if err := j.ensureStream(ctx, j.names.ordersConfig()); err != nil {
		return err
	}
	if err := j.ensureConsumer(ctx); err != nil {
		return err
	}
	j.consumerLost.Store(false)
	return nil
}

// findings is the outcome of an audit.
type findings struct {
	faults, warnings []string // one line each, with the cure
	consumer         *jetstream.ConsumerInfo
	orders           *jetstream.StreamInfo
}

// audit checks what section 9 of the contract says about NATS.
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
			found.faults = append(found.faults, fmt.Sprintf("stream %s: it is gone, and what was being sent is in doubt; restart a worker, which creates it again", want.Name))
			continue
		case errors.Is(err, jetstream.ErrStreamNotFound) && want.Name == ControlStream:
			found.faults = append(found.faults, fmt.Sprintf("stream %s: it is gone, and nothing is sent, because an operator may have paused; run deploy/nats/streams/setup.sh, then orderworker pause or orderworker resume; a worker that is restarted creates it too, but then buys, even if there was a pause", want.Name))
			continue
		case errors.Is(err, jetstream.ErrStreamNotFound): // it is created again when it is used next
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
			consumer := auditedConsumer{found.consumer.Config, config, j.names.OrdersSubject, j.names.Concurrency, j.ackWait, time.Now()}
			found.faults = append(found.faults, faults(consumerRules, "consumer "+j.names.Consumer, consumer)...)
		case j.names.Results:
			found.warnings = append(found.warnings, faults(resultsWarnings, "stream "+want.Name, auditedStream{config, j.names.JournalTTL, j.names.DedupeTTL})...)
		case j.names.Journal:
			found.warnings = append(found.warnings, faults(journalWarnings, "stream "+want.Name, auditedStream{config, j.names.JournalTTL, j.names.DedupeTTL})...)
		}
	}
	return found, nil
}

// tolerate returns the faults as an error, or logs them as warnings if AllowLossy is set.
// It logs again only when the faults are others than the last time.
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

// Pending audits the streams and returns the backlog. If a stream or the consumer was
// changed or recreated so that it could drop an unfinished order, the error is a
// *worker.LossyError, and the backlog is returned with it.
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
	j.auditErr.Store(&err)
	return b, err
}

// oldest returns when the oldest unfinished order request was stored; zero: there is none.
func (j *JetStream) oldest(ctx context.Context, found findings) (time.Time, error) {
	switch orders := found.orders; {
	case orders == nil || orders.State.Msgs == 0:
		return time.Time{}, nil
	case orders.Config.Retention == jetstream.WorkQueuePolicy && slices.Equal(orders.Config.Subjects, []string{j.names.OrdersSubject}):
		return orders.State.FirstTime, nil // finished requests were dropped, and no other messages are stored
	}
	m, _, err := readLeader(ctx, j.js, j.names.Orders, get{Seq: found.consumer.AckFloor.Stream + 1, NextFor: j.names.OrdersSubject})
	return m.Time, err
}

// pulled notes for Ready how the last pull ended, and returns err.
func (j *JetStream) pulled(err error) error {
	j.pullErr.Store(&err)
	return err
}

// Ready returns the error of the last pull or of the last audit, if there was one: then
// orders cannot or should not be pulled.
func (j *JetStream) Ready(context.Context) error {
	for _, last := range []*atomic.Pointer[error]{&j.pullErr, &j.auditErr} {
		if err := last.Load(); err != nil && *err != nil {
			return *err
		}
	}
	return nil
}
