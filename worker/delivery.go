package worker

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"
)

// Delivery is one hand-over of an order message by JetStream. The worker
// answers it once, by ack or nak.
type Delivery struct {
	Data   []byte
	Header map[string][]string
	Seq    uint64    // stream sequence of the request
	Count  uint64    // 1 for the first hand-over
	Stored time.Time // when the request was stored in its stream

	Msg Message
}

// Message is how a delivery is answered.
type Message interface {
	Ack() error                       // done: the stream may drop it
	NakWithDelay(time.Duration) error // again, to anyone, after the delay
	InProgress() error                // a heartbeat: the ack wait begins anew
}

// traceparent is what the header of that name has to look like: 55 characters.
//
// Source: https://www.w3.org/TR/trace-context/#traceparent-header.
var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// trace is the request's traceparent; "" where it has none, or none that may be
// put on other messages.
func (d *Delivery) trace() string {
	for _, name := range []string{"traceparent", "Traceparent"} {
		if v := d.Header[name]; len(v) > 0 && traceparent.MatchString(v[0]) {
			return v[0]
		}
	}
	return ""
}

// redelivered says that somebody may have worked on the request before.
func (d *Delivery) redelivered() bool { return d.Count > 1 }

// DeadLetter is a request that will never be tried: section 4 of the contract.
type DeadLetter struct {
	*Delivery
	Reason Reason
	Error  string // one line of at most 1024 bytes
	At     time.Time
}

// PullWait is how long one Pull of a source waits for messages. A stop waits for
// it, so that no message is delivered to nobody.
const PullWait = time.Second

// Lossy says that an existing stream or consumer could drop an unfinished
// order, and by which of its settings.
type Lossy struct{ Faults []string }

func (l *Lossy) Error() string {
	return "an unfinished order could be dropped: " + strings.Join(l.Faults, "; ")
}

// source hands over order messages.
type source interface {
	// Pull asks for up to n messages and passes each to take at once, as it
	// comes. It returns when n came, or after about PullWait, or with an error
	// when the stream cannot be asked.
	Pull(ctx context.Context, n int, take func(*Delivery)) error
	// AckWait is how long the server waits for a heartbeat.
	AckWait() time.Duration
	// Pending says what is waiting. The error is a *Lossy, beside what is waiting,
	// where an unfinished order could be dropped.
	Pending(ctx context.Context) (Backlog, error)
}

// Backlog is what waits in the stream of requests.
type Backlog struct {
	Pending    uint64    // not delivered yet
	AckPending uint64    // delivered, not acknowledged
	Oldest     time.Time // when the oldest unfinished request was stored; zero: there is none
}

// ErrRefused marks an error of a store that trying again does not heal: a limit,
// a size, a message that it does not take.
var ErrRefused = errors.New("refused for good")

// publisher stores events. nil means stored, or rightly not stored: an in_doubt
// after the final event, a final event a second time.
type publisher interface {
	Publish(context.Context, Event) error
	Bury(context.Context, DeadLetter) error
}

// Sold is a purchase that the vendor itself confirmed.
type Sold struct{ OutTradeNo, OrderNumber string }
