package natsio

import (
	"context"
	"errors"
	"fmt"
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
	consumer atomic.Pointer[jetstream.Consumer]
	puller   *puller
	lost     atomic.Bool // the consumer did not answer: look for it before the next pull
	ackWait  time.Duration
}

// Open makes the streams and the consumer that are missing, and leaves
// those that exist as they are. The error is a *worker.Lossy, with a JetStream that
// works, where one of those could drop an unfinished order.
func Open(ctx context.Context, js jetstream.JetStream, names Streams, logger zerolog.Logger) (*JetStream, error) {
	j := &JetStream{js: js, names: names, logger: logger, puller: newPuller(js.Conn())}
	orders, err := j.ensureStream(ctx, j.names.ordersConfig())
	if err != nil {
		return nil, err
	}
	for _, config := range []jetstream.StreamConfig{j.names.resultsConfig(), j.names.deadConfig()} {
		if _, err := j.ensureStream(ctx, config); err != nil {
			return nil, err
		}
	}
	consumer, err := j.ensureConsumer(ctx)
	if err != nil {
		return nil, err
	}
	if j.ackWait = consumer.AckWait; j.ackWait <= 0 {
		j.ackWait = j.names.AckWait // a consumer without acks has none: ALLOW_LOSSY_STREAMS lets it pass
	}
	if faults := append(auditOrders(orders), auditConsumer(consumer)...); len(faults) > 0 {
		return j, &worker.Lossy{Faults: faults}
	}
	return j, nil
}

func (j *JetStream) ensureConsumer(ctx context.Context) (jetstream.ConsumerConfig, error) {
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
	if err != nil {
		return jetstream.ConsumerConfig{}, fmt.Errorf("consumer %s of stream %s: %w", j.names.Consumer, j.names.Orders, err)
	}
	config := consumer.CachedInfo().Config
	for _, filter := range append(config.FilterSubjects, config.FilterSubject) {
		if filter != "" && !covers(filter, j.names.OrdersSubject) {
			return config, fmt.Errorf("consumer %s of stream %s: %w: it filters %s, not %s", j.names.Consumer, j.names.Orders, ErrUnfit, filter, j.names.OrdersSubject)
		}
	}
	j.consumer.Store(&consumer)
	return consumer.CachedInfo().Config, nil
}

// AckWait is the ack wait of the consumer, which an existing one keeps.
func (j *JetStream) AckWait() time.Duration { return j.ackWait }

// restore makes the orders stream and its consumer again where they have gone.
func (j *JetStream) restore(ctx context.Context) error {
	if _, err := j.ensureStream(ctx, j.names.ordersConfig()); err != nil {
		return err
	}
	if _, err := j.ensureConsumer(ctx); err != nil {
		return err
	}
	j.lost.Store(false)
	return nil
}

// Pending counts the orders that were not delivered yet. The error is a *worker.Lossy
// where the stream or consumer was made again, or altered, so that it could
// drop an unfinished order.
func (j *JetStream) Pending(ctx context.Context) (uint64, error) {
	info, err := (*j.consumer.Load()).Info(ctx)
	if err != nil {
		return 0, err
	}
	stream, err := j.js.Stream(ctx, j.names.Orders)
	if err != nil {
		return 0, err
	}
	faults := append(auditOrders(stream.CachedInfo().Config), auditConsumer(info.Config)...)
	if info.Config.AckWait > 0 && info.Config.AckWait != j.ackWait {
		faults = append(faults, fmt.Sprintf("consumer %s: ack_wait is now %v, was %v when this worker started: restart it", info.Config.Name, info.Config.AckWait, j.ackWait))
	}
	if len(faults) > 0 {
		return info.NumPending, &worker.Lossy{Faults: faults}
	}
	return info.NumPending, nil
}

// pulled remembers how the last pull ended.
func (j *JetStream) pulled(err error) error {
	return err
}
