package natsio

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
)

const (
	// maxUnacked is how many bytes of unacknowledged messages may be in memory; a single
	// message may be longer. CONCURRENCY alone would allow 64 messages of 8 MB.
	maxUnacked = 64 << 20

	// replyWait is how long after its end a pull waits for the server's status message.
	replyWait = 2 * time.Second

	// foreignDelay is the delay with which a message that is not an order request is
	// handed back, and the least time between two log lines about such messages.
	foreignDelay = time.Minute
)

// puller sends pull requests and counts the bytes of unacknowledged messages. It does not
// use nats.go's Fetch, which takes a message without a payload but with a Status header
// for a status message: that message would never be acknowledged, and the rest of its
// batch would be lost.
type puller struct {
	nc      *nats.Conn
	sub     *nats.Subscription // nil: not subscribed
	inbox   string
	msgs    chan *nats.Msg
	budget  int64         // maxUnacked, or more if the server allows a longer message
	unacked atomic.Int64  // bytes
	freed   chan struct{} // has an element after unacked was reduced
	foreign time.Time     // when a message of another subject was logged last
}

func newPuller(nc *nats.Conn) *puller {
	return &puller{nc: nc, budget: max(maxUnacked, nc.MaxPayload()+1<<16), freed: make(chan struct{}, 1)}
}

// subscribe subscribes to the inbox that all pulls share, if that was not done already
// with room for n messages.
func (p *puller) subscribe(n int) (err error) {
	if p.sub != nil && p.sub.IsValid() && cap(p.msgs) >= 2*n {
		return nil
	}
	p.unsubscribe()
	p.msgs = make(chan *nats.Msg, 2*n+16) // for n messages and their status messages: NATS drops what does not fit
	p.inbox = p.nc.NewInbox()
	p.sub, err = p.nc.ChanSubscribe(p.inbox, p.msgs)
	return err
}

// unsubscribe leaves the inbox. Messages that the server still sends for an earlier pull
// are dropped, and delivered again after the ack wait.
func (p *puller) unsubscribe() {
	if p.sub != nil {
		_ = p.sub.Unsubscribe() // it fails if the connection is closed, which ends it too
		p.sub = nil
	}
}

// reserve counts the bytes of msg as unacknowledged until free is called.
func (p *puller) reserve(msg *nats.Msg) (free func()) {
	size := int64(msg.Size())
	p.unacked.Add(size)
	return func() {
		p.unacked.Add(-size)
		select {
		case p.freed <- struct{}{}:
		default:
		}
	}
}

// waitForRoom waits until bytes are freed, but no longer than a pull takes.
func (p *puller) waitForRoom(ctx context.Context) {
	timer := time.NewTimer(worker.PullWait)
	defer timer.Stop()
	select {
	case <-p.freed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Pull requests up to n messages, waits for about worker.PullWait, and calls take with
// each message when it arrives. It creates the orders stream and the consumer again if
// they are gone. Pull does not return early when ctx ends, since messages that the server
// has sent would wait for their ack wait. It must not be called concurrently.
func (j *JetStream) Pull(ctx context.Context, n int, take func(*worker.Delivery)) error {
	if j.consumerLost.Load() {
		if err := j.restore(ctx); err != nil {
			return j.pulled(err)
		}
	}
	room := j.puller.budget - j.puller.unacked.Load()
	if room <= 0 {
		j.puller.waitForRoom(ctx)
		return nil
	}
	got, err := j.pull(n, room, take)
	if errors.Is(err, errTooLong) {
		err = nil
		switch {
		case got > 0:
		case j.puller.unacked.Load() > 0:
			j.puller.waitForRoom(ctx)
		default: // it is longer than the whole budget
			_, err = j.pull(1, 0, take)
		}
	}
	if err != nil {
		j.consumerLost.Store(true)
		j.puller.unsubscribe()
	}
	return j.pulled(err)
}

// pull sends one pull request, for n messages of room bytes together; room 0: no limit. It
// returns how many messages have arrived.
func (j *JetStream) pull(n int, room int64, take func(*worker.Delivery)) (got int, failed error) {
	p := j.puller
	if err := p.subscribe(n); err != nil {
		return 0, err
	}
	n, room, expires := withinLimits((*j.consumer.Load()).CachedInfo().Config, n, room)
	next := apiPrefix(j.js) + "CONSUMER.MSG.NEXT." + j.names.Orders + "." + j.names.Consumer
	request := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"max_bytes":%d}`, n, expires, room)
	if err := p.nc.PublishRequest(next, p.inbox, request); err != nil {
		return 0, err
	}
	timeout := time.NewTimer(expires + replyWait)
	defer timeout.Stop()
	for left := room; got < n && (left > 0 || room == 0); { // the server sends no status message when the request is used up
		select {
		case msg := <-p.msgs:
			if !strings.HasPrefix(msg.Reply, ackPrefix) {
				if done, err := status(msg); done {
					return got, errors.Join(failed, err)
				}
				continue
			}
			timeout.Reset(expires + replyWait)
			got++
			left -= int64(msg.Size())
			failed = errors.Join(failed, j.deliver(msg, take))
		case <-timeout.C:
			return got, errors.Join(failed, fmt.Errorf("consumer %s of stream %s does not answer", j.names.Consumer, j.names.Orders))
		}
	}
	return got, failed
}

// withinLimits returns how many messages and bytes a pull may ask for, and for how long,
// under the consumer's own limits. room 0 means no limit, and stays so.
func withinLimits(c jetstream.ConsumerConfig, n int, room int64) (messages int, bytes int64, expires time.Duration) {
	expires = worker.PullWait
	if c.MaxRequestExpires > 0 {
		expires = min(expires, c.MaxRequestExpires)
	}
	if c.MaxRequestBatch > 0 {
		n = min(n, c.MaxRequestBatch)
	}
	if limit := int64(c.MaxRequestMaxBytes); limit > 0 && room > 0 {
		room = min(room, limit)
	}
	return n, room, expires
}

// deliver calls take with a message, or hands it back if its subject is not
// ORDERS_SUBJECT or its reply subject is unknown.
func (j *JetStream) deliver(msg *nats.Msg, take func(*worker.Delivery)) error {
	m := &message{nc: j.puller.nc, reply: msg.Reply, free: j.puller.reserve(msg)}
	d, err := delivery(msg)
	if err != nil {
		return errors.Join(err, m.NakWithDelay(foreignDelay))
	}
	if msg.Subject != j.names.OrdersSubject {
		if time.Since(j.puller.foreign) >= foreignDelay {
			j.puller.foreign = time.Now()
			j.logger.Error().Str("stream", j.names.Orders).Str("subject", msg.Subject).Uint64("seq", d.Seq).
				Str("consumer", j.names.Consumer).Msg("message of another subject handed back")
		}
		return m.NakWithDelay(foreignDelay)
	}
	d.Msg = m
	take(d)
	return nil
}

// errTooLong is returned when the next message is longer than max_bytes of the pull.
var errTooLong = errors.New("the next message is longer than max_bytes")

// status parses a status message: done says that the pull has ended, with err.
//
// Source: nats-server, server/consumer.go.
func status(msg *nats.Msg) (done bool, err error) {
	code, text := msg.Header.Get("Status"), msg.Header.Get("Description")
	switch {
	case code == "" || code == "100": // an idle heartbeat, or unknown
		return false, nil
	case code == "409" && text == "Batch Completed": // of the pull before, which has ended by its count of messages
		return false, nil
	case code == "404", code == "408":
		return true, nil // no more messages, or the request has expired
	case code == "409" && text == "Message Size Exceeds MaxBytes":
		return true, errTooLong
	case code == "503":
		return true, nats.ErrNoResponders
	}
	return true, fmt.Errorf("pull: %s %s", code, text)
}
