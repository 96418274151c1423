package natsio

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
)

// Streams names what the worker uses in JetStream: section 5 of the contract.
type Streams struct {
	Orders, OrdersSubject, Consumer string
	Results, ResultsSubject         string // the status is appended to the subject
	Dead, DeadSubject               string
	Replicas                        int           // of streams that are made here
	AckWait                         time.Duration // of a consumer that is made here
}

// resultsWindow is the duplicate window of the results stream (section 3).
const resultsWindow = time.Hour

// JetStream hands over orders and stores events.
type JetStream struct {
	js       jetstream.JetStream
	names    Streams
	consumer atomic.Pointer[jetstream.Consumer]
	lost     atomic.Bool // the consumer did not answer: look for it before the next pull
	ackWait  time.Duration
}

// ErrUnfit says that a stream or consumer cannot be used as it is. Waiting does
// not change that.
var ErrUnfit = errors.New("it cannot be used")

// Open makes the streams and the consumer that are missing, and leaves
// those that exist as they are. The error is a *worker.Lossy, with a JetStream that
// works, where one of those could drop an unfinished order.
func Open(ctx context.Context, js jetstream.JetStream, names Streams) (*JetStream, error) {
	j := &JetStream{js: js, names: names}
	orders, err := j.ensureStream(ctx, j.ordersConfig())
	if err != nil {
		return nil, err
	}
	for _, config := range []jetstream.StreamConfig{j.resultsConfig(), j.deadConfig()} {
		if _, err := j.ensureStream(ctx, config); err != nil {
			return nil, err
		}
	}
	consumer, err := j.ensureConsumer(ctx)
	if err != nil {
		return nil, err
	}
	j.ackWait = consumer.AckWait
	if faults := append(auditOrders(orders), auditConsumer(consumer)...); len(faults) > 0 {
		return j, &worker.Lossy{Faults: faults}
	}
	return j, nil
}

// ordersConfig is a work queue that refuses new messages when it is full, and
// never drops old ones.
func (j *JetStream) ordersConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: j.names.Orders, Subjects: []string{j.names.OrdersSubject}, Storage: jetstream.FileStorage,
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Replicas: j.names.Replicas,
	}
}

func (j *JetStream) resultsConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: j.names.Results, Subjects: []string{j.names.ResultsSubject + ".*"}, Storage: jetstream.FileStorage,
		Replicas: j.names.Replicas, Duplicates: resultsWindow,
	}
}

func (j *JetStream) deadConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: j.names.Dead, Subjects: []string{j.names.DeadSubject}, Storage: jetstream.FileStorage, Replicas: j.names.Replicas,
	}
}

// ensureStream returns the configuration of the stream, made here if it is
// missing. A stream that does not take its subject is an error: what is
// published there would never be stored.
func (j *JetStream) ensureStream(ctx context.Context, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	stream, err := j.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = j.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another worker was faster
			stream, err = j.js.Stream(ctx, want.Name)
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code == 400 { // the server understood, and says no
		err = fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if err != nil {
		return jetstream.StreamConfig{}, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	got := stream.CachedInfo().Config
	for _, subject := range want.Subjects {
		if !slices.ContainsFunc(got.Subjects, func(has string) bool { return covers(has, subject) }) {
			return got, fmt.Errorf("stream %s: %w: its subjects are %v, without %s", want.Name, ErrUnfit, got.Subjects, subject)
		}
	}
	return got, nil
}

// covers says whether every subject that want matches is matched by has.
func covers(has, want string) bool {
	h, w := strings.Split(has, "."), strings.Split(want, ".")
	for i, token := range h {
		if token == ">" {
			return len(w) > i
		}
		if i >= len(w) || w[i] == ">" || token != "*" && token != w[i] {
			return false
		}
	}
	return len(h) == len(w)
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

// auditOrders lists what could drop an unacknowledged order from its stream.
func auditOrders(c jetstream.StreamConfig) []string {
	var faults []string
	fault := func(setting string, value any, why string) {
		faults = append(faults, fmt.Sprintf("stream %s: %s is %v: %s", c.Name, setting, value, why))
	}
	if c.MaxAge > 0 {
		fault("max_age", c.MaxAge, "it must be 0, an order is dropped when it is older")
	}
	if c.Storage == jetstream.MemoryStorage {
		fault("storage", "memory", "it must be file, orders are lost when the server restarts")
	}
	if c.Retention == jetstream.InterestPolicy {
		fault("retention", "interest", "it must be workqueue or limits, orders are dropped while there is no consumer")
	}
	if c.Discard == jetstream.DiscardOld {
		for setting, limit := range map[string]int64{"max_msgs": c.MaxMsgs, "max_bytes": c.MaxBytes, "max_msgs_per_subject": c.MaxMsgsPerSubject} {
			if limit > 0 {
				fault(setting, limit, "with discard old the oldest orders are dropped when it is reached; set discard to new")
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// auditConsumer lists what could keep an order from ever being delivered again.
func auditConsumer(c jetstream.ConsumerConfig) []string {
	var faults []string
	fault := func(setting string, value any, why string) {
		faults = append(faults, fmt.Sprintf("consumer %s: %s is %v: %s", c.Name, setting, value, why))
	}
	if c.MaxDeliver > 0 {
		fault("max_deliver", c.MaxDeliver, "it must be -1, an order is stuck for ever when it is reached")
	}
	if c.AckPolicy != jetstream.AckExplicitPolicy {
		fault("ack_policy", c.AckPolicy, "it must be explicit, orders would be dropped before they are done")
	}
	if len(c.BackOff) > 0 {
		fault("backoff", c.BackOff, "it must be empty, it distorts the waits of orders")
	}
	if c.DeliverPolicy != jetstream.DeliverAllPolicy {
		fault("deliver_policy", c.DeliverPolicy, "it must be all, older orders are never delivered")
	}
	return faults
}

// AckWait is the ack wait of the consumer, which an existing one keeps.
func (j *JetStream) AckWait() time.Duration { return j.ackWait }

// Pull asks for up to n messages for about a second, and passes each on as it
// comes. A stream or consumer that has gone is made again.
func (j *JetStream) Pull(ctx context.Context, n int, take func(*worker.Delivery)) error {
	if j.lost.Load() {
		if err := j.restore(ctx); err != nil {
			return err
		}
	}
	consumer := *j.consumer.Load()
	created := consumer.CachedInfo().Created
	batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(worker.PullWait))
	if err != nil {
		j.lost.Store(true)
		return err
	}
	for msg := range batch.Messages() {
		d, err := delivery(msg)
		if err != nil {
			return errors.Join(err, msg.Nak())
		}
		d.Before = d.Stored.Before(created)
		take(d)
	}
	if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) {
		j.lost.Store(true)
		return err
	}
	return nil
}

// restore makes the orders stream and its consumer again where they have gone.
func (j *JetStream) restore(ctx context.Context) error {
	if _, err := j.ensureStream(ctx, j.ordersConfig()); err != nil {
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
	if info.Config.AckWait != j.ackWait {
		faults = append(faults, fmt.Sprintf("consumer %s: ack_wait is now %v, was %v when this worker started: restart it", info.Config.Name, info.Config.AckWait, j.ackWait))
	}
	if len(faults) > 0 {
		return info.NumPending, &worker.Lossy{Faults: faults}
	}
	return info.NumPending, nil
}

func delivery(msg jetstream.Msg) (*worker.Delivery, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, fmt.Errorf("message without JetStream metadata: %w", err)
	}
	return &worker.Delivery{
		Data: msg.Data(), Header: msg.Headers(), Msg: msg,
		Seq: meta.Sequence.Stream, Count: meta.NumDelivered, Stored: meta.Timestamp,
	}, nil
}

// Publish stores a result event: nil means that the stream has it. After an
// error it may have it too; the same event again is dropped there by its id.
func (j *JetStream) Publish(ctx context.Context, e worker.Event) error {
	msg := &nats.Msg{Subject: j.names.ResultsSubject + "." + string(e.Status), Data: e.Payload, Header: nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {e.ID}, "ce-type": {"order.package." + string(e.Status)}, "ce-source": {"orderworker"},
		"ce-time": {e.At}, "ce-subject": {e.Subject}, "Content-Type": {"application/json"},
	}}
	if e.Trace != "" {
		msg.Header.Set("traceparent", e.Trace)
	}
	return j.store(ctx, msg, j.resultsConfig(), jetstream.WithMsgID(e.ID))
}

// store publishes msg to its stream, and makes that again where it has gone.
func (j *JetStream) store(ctx context.Context, msg *nats.Msg, stream jetstream.StreamConfig, opts ...jetstream.PublishOpt) error {
	_, err := j.js.PublishMsg(ctx, msg, append(opts, jetstream.WithExpectStream(stream.Name))...)
	if !errors.Is(err, jetstream.ErrNoStreamResponse) {
		return err
	}
	if _, ensureErr := j.ensureStream(ctx, stream); ensureErr != nil {
		return errors.Join(err, ensureErr)
	}
	_, err = j.js.PublishMsg(ctx, msg, append(opts, jetstream.WithExpectStream(stream.Name))...)
	return err
}

// Bury stores a dead letter: nil means that the stream has it.
//
// Source: section 4 of the contract.
func (j *JetStream) Bury(ctx context.Context, l worker.DeadLetter) error {
	msg := nats.NewMsg(j.names.DeadSubject)
	msg.Data = l.Data
	for name, values := range l.Header {
		if len(name) >= 5 && strings.EqualFold(name[:5], "Nats-") {
			name = "Dead-" + name // it would be obeyed otherwise
		}
		msg.Header[name] = slices.Clone(values)
	}
	ours := map[string]string{
		"Dead-Reason": string(l.Reason), "Dead-Error": l.Error,
		"Dead-Stream-Seq": strconv.FormatUint(l.Seq, 10), "Dead-Time": worker.Time{Time: l.At}.String(),
		// The same letter again, after a lost reply: by when it was stored too,
		// as a stream that is made anew counts from 1 again.
		nats.MsgIdHdr: fmt.Sprintf("%s.%d.%d", j.names.Orders, l.Seq, l.Stored.UnixNano()),
	}
	for name, value := range ours {
		msg.Header.Set(name, value)
	}
	j.fit(msg, ours)
	return j.store(ctx, msg, j.deadConfig())
}

// fit cuts a dead letter to what the server takes: the payload first, and the
// publisher's headers where they alone are too much.
func (j *JetStream) fit(msg *nats.Msg, ours map[string]string) {
	room := int(j.js.Conn().MaxPayload()) - len(nats.ExpectedStreamHdr) - len(j.names.Dead) - 4
	if headerBytes(msg.Header)+len(msg.Data) <= room {
		return
	}
	full := len(msg.Data)
	msg.Header.Set("Dead-Truncated", strconv.Itoa(full))
	if headerBytes(msg.Header) > room {
		maps.DeleteFunc(msg.Header, func(name string, _ []string) bool {
			_, keep := ours[name]
			return !keep && name != "Dead-Truncated"
		})
	}
	msg.Data = msg.Data[:min(full, max(0, room-headerBytes(msg.Header)))]
}

// headerBytes is how much of a message its headers take on the wire.
func headerBytes(h nats.Header) int {
	n := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}
