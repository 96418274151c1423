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
// those that the streams tell by themselves.
func (d *Desk) Fleet(ctx context.Context) *Overview {
	o := &Overview{At: timeOf(time.Now()), Errors: []string{}}
	d.begin(ctx, o)
	if _, err := d.nats(); err != nil {
		return o
	}
	for _, s := range []struct {
		what, stream string
		count        *uint64
	}{{"dead letters", d.DeadStream, &o.Counts.Dead}, {"results", d.ResultsStream, &o.Counts.Finished}} {
		info, err := d.info(ctx, s.stream)
		if err != nil {
			o.failed(s.what, err)
			continue
		}
		*s.count = info.State.Msgs
	}
	if c, err := d.consumerInfo(ctx); err != nil {
		o.failed("consumer", err)
	} else {
		o.Counts.Queued = c.NumPending
	}
	return o
}

// FollowFinished calls take with each final event, oldest first: those that are stored
// from sequence from on, and then those that come, until ctx ends or NATS fails. from 0
// means the newest most of them, or a few more. seq is the event's place in its stream.
func (d *Desk) FollowFinished(ctx context.Context, from, most uint64, take func(row Row, seq uint64)) error {
	from, err := d.followFrom(ctx, d.ResultsStream, from, most+most/8) // some events are not final
	if err != nil {
		return err
	}
	subjects := []string{d.ResultsSubject + "." + string(Succeeded) + ".*", d.ResultsSubject + "." + string(Failed) + ".*"}
	return d.follow(ctx, d.ResultsStream, subjects, from, func(m natsio.Stored) {
		if row, ok := finishedRow(m, d.ResultsSubject); ok {
			take(row, m.Seq)
		}
	})
}

// ErrStreamAnew is returned for a stream that ends before the sequence that is followed: it
// was made anew.
var ErrStreamAnew = errors.New("the stream was made anew")

// followFrom returns the sequence from which a stream is followed; from 0: the newest most.
func (d *Desk) followFrom(ctx context.Context, stream string, from, most uint64) (uint64, error) {
	info, err := d.info(ctx, stream)
	switch {
	case err != nil:
		return 0, err
	case from > info.State.LastSeq+1:
		return 0, ErrStreamAnew
	case from > 0:
		return from, nil
	case info.State.LastSeq > most:
		return info.State.LastSeq - most + 1, nil
	}
	return 1, nil
}

// FollowDead is FollowFinished for dead letters. They come without headers and payload.
func (d *Desk) FollowDead(ctx context.Context, from, most uint64, take func(DeadLetter)) error {
	from, err := d.followFrom(ctx, d.DeadStream, from, most)
	if err != nil {
		return err
	}
	return d.follow(ctx, d.DeadStream, []string{d.DeadSubject}, from, func(m natsio.Stored) {
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

// follow calls take with the messages of subjects from a sequence on, until ctx ends or NATS
// fails. It makes a consumer that ends by itself; nats.go's ordered consumer would do the
// same, but removes consumers, which an operator may not. A message that was lost on the
// way ends it with an error: the caller follows again from the last one that it has.
func (d *Desk) follow(ctx context.Context, stream string, subjects []string, from uint64, take func(natsio.Stored)) error {
	return d.about(ctx, stream, func(ctx context.Context, l *link) error {
		c, err := l.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute, Replicas: 1,
			FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1),
		})
		if err != nil {
			return err
		}
		messages, err := c.Messages(jetstream.PullMaxMessagesWithBytesLimit(followMessages, followBytes))
		if err != nil {
			return err
		}
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
		}
	})
}

var errLostMessage = errors.New("a message was lost on the way")

// How much of a stream may be under way at once.
const (
	followMessages = 1000
	followBytes    = 16 << 20 // a message that is larger cannot be followed
)
