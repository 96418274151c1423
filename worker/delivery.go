package worker

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Delivery is one hand-over of an order request by JetStream. The worker acks or
// naks it once.
type Delivery struct {
	Data   []byte
	Header map[string][]string
	Seq    uint64    // stream sequence of the request
	Count  uint64    // 1 for the first hand-over
	Stored time.Time // when the request was stored in its stream

	Msg Message
}

// Message acks, naks and keeps alive a delivery.
type Message interface {
	Ack() error                       // the stream may drop it
	NakWithDelay(time.Duration) error // it is delivered again, to any worker, after the delay
	InProgress() error                // a heartbeat: the ack wait begins anew
}

// DeadLetter is an order request that will never be tried: section 4 of the contract.
type DeadLetter struct {
	*Delivery
	Reason Reason
	Error  string // one line of at most 1024 bytes
	At     time.Time
}

// PullWait is how long one Pull of a source waits for messages. A stop waits for
// the end of a pull: the messages of an abandoned one would be lost until their
// ack wait ends.
const PullWait = time.Second

// LossyError says that an existing stream or consumer could drop an unfinished
// order, and by which of its settings.
type LossyError struct{ Faults []string }

func (l *LossyError) Error() string {
	return "an unfinished order could be dropped: " + strings.Join(l.Faults, "; ")
}

// source delivers order requests: *natsio.JetStream.
type source interface {
	// Pull asks for up to n messages and passes each to take as soon as it comes.
	// It returns when n came, or after about PullWait, or with an error when the
	// stream cannot be reached.
	Pull(ctx context.Context, n int, take func(*Delivery)) error
	// AckWait returns how long the server waits for a heartbeat.
	AckWait() time.Duration
	// Pending returns the backlog, also beside a *LossyError.
	Pending(ctx context.Context) (Backlog, error)
}

// Backlog is what waits in the orders stream.
type Backlog struct {
	Pending    uint64    // not delivered yet
	AckPending uint64    // delivered, not acknowledged
	Oldest     time.Time // when the oldest unfinished request was stored; zero: there is none
}

// ErrRefused marks an error of a store that trying again does not help: a limit
// or a size that the message exceeds, or a stream that does not take it.
var ErrRefused = errors.New("refused for good")

// publisher stores events and dead letters: *natsio.JetStream. It returns no error also
// for an event that must not be stored: an in_doubt event after the final one, and
// a final event where the order has one. existing is the content of that one; nil: there
// was none, or the event is not final.
type publisher interface {
	Publish(context.Context, Event) (existing []byte, err error)
	PublishDead(context.Context, DeadLetter) error
}
