package natsio

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"orderworker/worker"
)

// ackPrefix begins the reply subject of every message that a consumer delivers.
// A status of the server has none, whatever its headers say.
const ackPrefix = "$JS.ACK."

var errAnswered = errors.New("the delivery was answered before")

// message answers one delivery with an ack payload. That is published, and no
// reply is waited for: if it gets lost, the message is delivered again.
//
// Source: https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages.
type message struct {
	nc       *nats.Conn
	reply    string
	release  func() // of its bytes; not nil
	released atomic.Bool
	answered atomic.Bool
}

// Ack lets the stream drop the message.
func (m *message) Ack() error { return m.end("+ACK") }

// NakWithDelay has the message delivered again after the delay.
func (m *message) NakWithDelay(delay time.Duration) error {
	if delay <= 0 {
		return m.end("-NAK")
	}
	return m.end(`-NAK {"delay": ` + strconv.FormatInt(delay.Nanoseconds(), 10) + "}")
}

// InProgress begins the ack wait anew.
func (m *message) InProgress() error {
	if m.answered.Load() {
		return errAnswered
	}
	return m.nc.Publish(m.reply, []byte("+WPI"))
}

// end publishes an ack payload after which the delivery is over.
func (m *message) end(payload string) error {
	if m.answered.Load() {
		return errAnswered
	}
	if !m.released.Swap(true) {
		m.release()
	}
	err := m.nc.Publish(m.reply, []byte(payload))
	if err == nil {
		m.answered.Store(true)
	}
	return err
}

// delivery reads what the reply subject says of a message.
func delivery(msg *nats.Msg) (*worker.Delivery, error) {
	// $JS.ACK.[domain.account hash.]stream.consumer.delivered.stream seq.consumer seq.time.pending[.random]
	tokens := strings.Split(msg.Reply, ".")
	const short, long = 9, 11
	if len(tokens) >= long {
		tokens = tokens[2:]
	}
	if len(tokens) < short {
		return nil, fmt.Errorf("message with an unknown reply subject %q", msg.Reply)
	}
	var numbers [4]uint64
	for i := range numbers {
		n, err := strconv.ParseUint(tokens[4+i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("message with an unknown reply subject %q", msg.Reply)
		}
		numbers[i] = n
	}
	return &worker.Delivery{
		Data: msg.Data, Header: msg.Header,
		Count: numbers[0], Seq: numbers[1], Stored: time.Unix(0, int64(numbers[3])),
	}, nil
}
