package operator

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker/natsio"
)

// Fleet returns how the deployment fares without looking at any order: its counts are
// those that the streams tell by themselves. firstResult is the place of the oldest event
// in the results stream; 0: not known.
func (d *Desk) Fleet(ctx context.Context) (o *Overview, firstResult uint64) {
	o = &Overview{At: timeOf(time.Now()), Errors: []string{}, Counts: UnknownCounts()}
	d.begin(ctx, o)
	if o.away("nats") {
		return o, 0
	}
	if info, err := d.info(ctx, d.DeadStream); err != nil {
		o.failed("dead letters", err)
	} else {
		o.Counts.Dead = info.State.Msgs
		o.Counts.know(countsOfDead)
	}
	if info, err := d.info(ctx, d.ResultsStream); err != nil {
		o.failed("results", err)
	} else {
		o.Counts.Finished, firstResult = info.State.Msgs, info.State.FirstSeq
		o.Counts.know(countsOfResults)
	}
	if c, err := d.consumerInfo(ctx); err != nil {
		o.failed("consumer", err)
	} else {
		o.Counts.Queued = c.NumPending
		o.Counts.know(countsOfConsumer)
	}
	return o, firstResult
}

// Cursor is how far a stream was followed. To go on after an error, pass the same one again.
type Cursor struct {
	Most  uint64 // at first, how many of the newest are read
	Began func() // called each time that following has begun

	next    uint64 // 0: nothing was followed yet
	created time.Time
}

// FollowFinished calls take with each final event, oldest first: those that are stored
// from at on, and then those that come, until ctx ends or NATS fails. seq is the
// event's place in its stream.
func (d *Desk) FollowFinished(ctx context.Context, at *Cursor, take func(row Row, seq uint64)) error {
	subjects := []string{d.ResultsSubject + "." + string(Succeeded) + ".*", d.ResultsSubject + "." + string(Failed) + ".*"}
	return d.follow(ctx, d.ResultsStream, subjects, at, func(m natsio.Stored) {
		if row, ok := finishedRow(m, d.ResultsSubject); ok {
			take(row, m.Seq)
		}
	})
}

// ErrStreamAnew is returned for a stream that is not the one that was followed: it was made
// anew. It is then followed from its beginning.
var ErrStreamAnew = errors.New("the stream was made anew")

// find finds out where a stream is followed.
func (c *Cursor) find(info *jetstream.StreamInfo) error {
	before := c.created
	c.created = info.Created
	switch last := info.State.LastSeq; {
	case c.next > 0 && (c.next > last+1 || !before.Equal(info.Created)):
		c.next = 0
		return ErrStreamAnew
	case c.next == 0:
		c.next = last - min(last, c.Most) + 1
	}
	return nil
}

// FollowDead is FollowFinished for dead letters. They come without headers and payload.
func (d *Desk) FollowDead(ctx context.Context, at *Cursor, take func(DeadLetter)) error {
	return d.follow(ctx, d.DeadStream, []string{d.DeadSubject}, at, func(m natsio.Stored) {
		l := letterIn(m)
		l.data, l.header = nil, nil
		take(l)
	})
}

// DeadLeft returns the first and the last sequence of the stream of dead letters, how many
// there are, and which ones between the two are gone.
func (d *Desk) DeadLeft(ctx context.Context) (first, last, count uint64, gone []uint64, err error) {
	err = d.about(ctx, d.DeadStream, func(ctx context.Context, l *link) error {
		s, err := l.js.Stream(ctx, d.DeadStream)
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
		if err == nil {
			first, last, count, gone = info.State.FirstSeq, info.State.LastSeq, info.State.Msgs, info.State.Deleted
		}
		return err
	})
	return first, last, count, gone, err
}

// follow calls take with the messages of subjects from a place on, until ctx ends or NATS
// fails. It makes a consumer that ends by itself; nats.go's ordered consumer would do the
// same, but removes consumers, which an operator may not. A message that was lost on the
// way ends it with an error: the caller follows again from the last one that it has.
func (d *Desk) follow(ctx context.Context, stream string, subjects []string, at *Cursor, take func(natsio.Stored)) error {
	info, err := d.info(ctx, stream)
	if err == nil {
		err = at.find(info)
	}
	if err != nil {
		return err
	}
	return d.about(ctx, stream, func(ctx context.Context, l *link) error {
		c, err := l.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute, Replicas: 1,
			FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: at.next,
		})
		if err != nil {
			return err
		}
		messages, err := c.Messages(jetstream.PullMaxMessagesWithBytesLimit(followMessages, followBytes))
		if err != nil {
			return err
		}
		at.Began()
		defer messages.Stop()
		defer context.AfterFunc(ctx, messages.Stop)()
		for next := uint64(1); ; next++ {
			m, err := messages.Next()
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil:
				return err
			}
			meta, err := m.Metadata()
			switch {
			case err != nil:
				return err
			case meta.Sequence.Consumer != next:
				return errLostMessage
			}
			take(natsio.Stored{Subject: m.Subject(), Seq: meta.Sequence.Stream, Header: nats.Header(m.Headers()), Data: m.Data(), Time: meta.Timestamp})
			at.next = meta.Sequence.Stream + 1
		}
	})
}

var errLostMessage = errors.New("a message was lost on the way")

// How much of a stream may be under way at once.
const (
	followMessages = 1000
	followBytes    = 16 << 20 // a message that is larger cannot be followed
)
