package natsio

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"orderworker/worker"
)

const (
	// maxHeld is how many bytes of messages that were not answered yet are held
	// at once; a single one may be longer. CONCURRENCY alone would allow 64
	// messages of 8 MB.
	maxHeld = 64 << 20

	// replyWait is how long after its end a pull waits for the server's status message.
	replyWait = 2 * time.Second

	// foreignDelay is how long a message that is not an order is handed back for,
	// and how often that is logged.
	foreignDelay = time.Minute
)

// puller sends pull requests itself, because nats.go takes a message without a
// payload that has a Status header for a status message: it would never be
// acknowledged, and the rest of its batch would be lost.
type puller struct {
	nc      *nats.Conn
	sub     *nats.Subscription // nil: to be made
	inbox   string
	msgs    chan *nats.Msg
	budget  int64 // maxHeld, or what the longest message takes
	held    atomic.Int64
	freed   chan struct{} // something that was held is not any more
	foreign time.Time     // when a message of another subject was logged last
}

func newPuller(nc *nats.Conn) *puller {
	return &puller{nc: nc, budget: max(maxHeld, nc.MaxPayload()+1<<16), freed: make(chan struct{}, 1)}
}

// subscribe makes the inbox that all pulls share, with room for pulls of n.
func (p *puller) subscribe(n int) (err error) {
	if p.sub != nil && p.sub.IsValid() && cap(p.msgs) >= 2*n {
		return nil
	}
	p.unsubscribe()
	p.msgs = make(chan *nats.Msg, 2*n+16) // n messages, and status messages: one that does not fit is lost
	p.inbox = p.nc.NewInbox()
	p.sub, err = p.nc.ChanSubscribe(p.inbox, p.msgs)
	return err
}

// unsubscribe ends a pull of which the server may still think: what it delivers
// now goes nowhere, and comes again after its ack wait.
func (p *puller) unsubscribe() {
	if p.sub != nil {
		_ = p.sub.Unsubscribe() // the connection is closed: then it has ended anyway
		p.sub = nil
	}
}

// hold counts the bytes of a message until it is released.
func (p *puller) hold(msg *nats.Msg) (release func()) {
	size := int64(msg.Size())
	p.held.Add(size)
	return func() {
		p.held.Add(-size)
		select {
		case p.freed <- struct{}{}:
		default:
		}
	}
}

// waitForRoom waits until something is released, but no longer than one pull.
func (p *puller) waitForRoom(ctx context.Context) {
	timer := time.NewTimer(worker.PullWait)
	defer timer.Stop()
	select {
	case <-p.freed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Pull asks for up to n messages for about worker.PullWait, and passes each on
// as it comes. A stream or consumer that has gone is made again. It does not
// end with ctx: no message is to be delivered to nobody. One Pull at a time.
func (j *JetStream) Pull(ctx context.Context, n int, take func(*worker.Delivery)) error {
	if j.lost.Load() {
		if err := j.restore(ctx); err != nil {
			return j.pulled(err)
		}
	}
	room := j.puller.budget - j.puller.held.Load()
	if room <= 0 {
		j.puller.waitForRoom(ctx)
		return nil
	}
	got, err := j.pull(n, room, take)
	if errors.Is(err, errTooLong) {
		err = nil
		switch {
		case got > 0:
		case j.puller.held.Load() > 0:
			j.puller.waitForRoom(ctx)
		default: // longer than all the room there is
			_, err = j.pull(1, 0, take)
		}
	}
	if err != nil {
		j.lost.Store(true)
		j.puller.unsubscribe()
	}
	return j.pulled(err)
}

// pull makes one request, for n messages of together at most room bytes, 0: any.
func (j *JetStream) pull(n int, room int64, take func(*worker.Delivery)) (got int, failed error) {
	p := j.puller
	if err := p.subscribe(n); err != nil {
		return 0, err
	}
	info := (*j.consumer.Load()).CachedInfo()
	expires := worker.PullWait
	if limit := info.Config.MaxRequestExpires; limit > 0 {
		expires = min(expires, limit)
	}
	if limit := info.Config.MaxRequestBatch; limit > 0 {
		n = min(n, limit)
	}
	if limit := int64(info.Config.MaxRequestMaxBytes); limit > 0 && room > 0 {
		room = min(room, limit)
	}
	next := apiPrefix(j.js) + "CONSUMER.MSG.NEXT." + j.names.Orders + "." + j.names.Consumer
	request := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"max_bytes":%d}`, n, expires, room)
	if err := p.nc.PublishRequest(next, p.inbox, request); err != nil {
		return 0, err
	}
	timeout := time.NewTimer(expires + replyWait)
	defer timeout.Stop()
	for left := room; got < n && (left > 0 || room == 0); { // the server counts the same way, and says nothing at the end
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

// deliver passes a message on, unless its subject or reply subject is not an
// order's.
func (j *JetStream) deliver(msg *nats.Msg, take func(*worker.Delivery)) error {
	m := &message{nc: j.puller.nc, reply: msg.Reply, release: j.puller.hold(msg)}
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

// errTooLong says that the next message is longer than the room of the pull.
var errTooLong = errors.New("the next message is longer than max_bytes")

// status reads a status message of a pull: whether it ends the pull, and with
// what error.
//
// Source: nats-server, server/consumer.go.
func status(msg *nats.Msg) (done bool, err error) {
	code, text := msg.Header.Get("Status"), msg.Header.Get("Description")
	switch {
	case code == "" || code == "100": // a heartbeat, or nothing that we know
		return false, nil
	case code == "409" && text == "Batch Completed": // of the last pull, whose messages we have counted
		return false, nil
	case code == "404", code == "408":
		return true, nil // no more for now
	case code == "409" && text == "Message Size Exceeds MaxBytes":
		return true, errTooLong
	case code == "503":
		return true, nats.ErrNoResponders
	}
	return true, fmt.Errorf("pull: %s %s", code, text)
}
