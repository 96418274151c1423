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

// ackPrefix begins the reply subject of every message that a consumer delivers. A status
// message has no such reply subject.
const ackPrefix = "$JS.ACK."

var errEnded = errors.New("the delivery was acknowledged or handed back before")

// message acknowledges one delivery or hands it back, by an ack payload on its reply
// subject. It does not wait for a confirmation: if the payload is lost, the message is
// delivered again.
//
// Source: https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages.
type message struct {
	nc    *nats.Conn
	reply string
	free  func() // frees the message's bytes; not nil
	freed atomic.Bool
	ended atomic.Bool
}

// Ack acknowledges the message: the stream drops it.
func (m *message) Ack() error { return m.end("+ACK") }

// NakWithDelay hands the message back: it is delivered again after the delay.
func (m *message) NakWithDelay(delay time.Duration) error {
	if delay <= 0 {
		return m.end("-NAK")
	}
	return m.end(`-NAK {"delay": ` + strconv.FormatInt(delay.Nanoseconds(), 10) + "}")
}

// InProgress restarts the ack wait.
func (m *message) InProgress() error {
	if m.ended.Load() {
		return errEnded
	}
	return m.nc.Publish(m.reply, []byte("+WPI"))
}

// end publishes the ack payload that ends the delivery.
func (m *message) end(payload string) error {
	if m.ended.Load() {
		return errEnded
	}
	if !m.freed.Swap(true) {
		m.free()
	}
	err := m.nc.Publish(m.reply, []byte(payload))
	if err == nil {
		m.ended.Store(true)
	}
	return err
}

// delivery returns msg with the metadata from its reply subject.
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
