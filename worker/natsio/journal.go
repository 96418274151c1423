package natsio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe"
)

const (
	// A write refused while another is on its way through the cluster (10164)
	// is tried again this often, this far apart.
	inflightTries = 10
	inflightPause = 25 * time.Millisecond
)

type jetStreamJournal struct {
	js      jetstream.JetStream
	stream  string
	subject string
	ttl     time.Duration
}

// NewJetStreamJournal keeps the journal in stream: one subject per order,
// subject.SubjectToken(outTradeNo), last message only. A final record carries
// ttl (at least 1s, whole seconds: the server cuts the rest), an open one none.
// Without a deadline in the context a request waits 5s.
//
// It reads from the stream's leader, whatever the stream's allow_direct says:
// a replica may be behind, and an old record is a wrong verdict. (A leader that
// was voted out a moment ago may be behind too. Then the compare-and-set of
// the next write fails, so that costs time only.)
func NewJetStreamJournal(js jetstream.JetStream, stream, subject string, ttl time.Duration) dedupe.Journal {
	return &jetStreamJournal{js, stream, subject, max(ttl, time.Second)}
}

func (j *jetStreamJournal) subjectOf(outTradeNo string) string {
	return j.subject + "." + dedupe.SubjectToken(outTradeNo)
}

func (j *jetStreamJournal) Read(ctx context.Context, outTradeNo string) (dedupe.Record, uint64, error) {
	data, rev, err := j.last(ctx, outTradeNo)
	if err != nil || len(data) == 0 {
		return dedupe.Record{}, rev, err
	}
	r, err := dedupe.DecodeRecord(data)
	return r, rev, err
}

// last returns the bytes and sequence of the order's last message; 0: none. No
// bytes with a sequence are a delete marker, which counts for the next write.
func (j *jetStreamJournal) last(ctx context.Context, outTradeNo string) ([]byte, uint64, error) {
	m, _, err := readLeader(ctx, j.js, j.stream, get{LastFor: j.subjectOf(outTradeNo)})
	if err != nil && !errors.Is(err, errHeader) { // a record has no headers of ours
		return nil, 0, fmt.Errorf("journal read: %w", err)
	}
	return m.Data, m.Seq, nil
}

func (j *jetStreamJournal) Write(ctx context.Context, outTradeNo string, r dedupe.Record, rev uint64) (uint64, error) {
	data, err := r.Encode()
	if err != nil {
		return 0, err
	}
	opts := []jetstream.PublishOpt{
		jetstream.WithExpectStream(j.stream),
		jetstream.WithExpectLastSequencePerSubject(rev),
	}
	if r.State == dedupe.StateFinal {
		opts = append(opts, jetstream.WithMsgTTL(j.ttl))
	}
	for try := 1; ; try++ {
		ack, err := j.js.Publish(ctx, j.subjectOf(outTradeNo), data, opts...)
		if err == nil {
			return ack.Sequence, nil
		}
		_, answered := errors.AsType[*jetstream.APIError](err)
		switch {
		case journalRefuses(err):
			return 0, fmt.Errorf("journal write: %w: %w", dedupe.ErrBroken, err)
		case answered && !lostCompare(err):
			return 0, fmt.Errorf("journal write: %w", err) // refused, nothing is stored
		}
		// The sequence was wrong, perhaps because our own message went before
		// and its reply was lost; or nobody answered. What stands there tells.
		old, oldRev, readErr := j.last(ctx, outTradeNo)
		switch {
		case readErr != nil:
			return 0, fmt.Errorf("journal write: %w; read back: %w", err, readErr)
		case bytes.Equal(old, data):
			return oldRev, nil
		case oldRev != rev:
			return 0, dedupe.ErrLost
		case !answered || try == inflightTries:
			return 0, fmt.Errorf("journal write: %w", err)
		}
		// Refused, though nothing newer is stored: in a cluster a write for this
		// subject is under way, perhaps our own.
		if err := pause(ctx, inflightPause); err != nil {
			return 0, fmt.Errorf("journal write: %w", err)
		}
	}
}

// journalRefuses reports whether retrying err does not help: the server understood and
// says no, the record is too large, or the stream is full. Unlike for an event, limits of
// a server or an account are retried: a leader that reaches its own steps down, and the
// next one takes the record, so that what the vendor answered is not forgotten.
//
// Source: nats-server, server/errors.json.
func journalRefuses(err error) bool {
	const storeFull = 10077
	api, ok := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, nats.ErrMaxPayload) || ok && !lostCompare(err) && (api.Code == 400 || api.ErrorCode == storeFull)
}

func (j *jetStreamJournal) Created(ctx context.Context) (time.Time, error) {
	s, err := j.js.Stream(ctx, j.stream)
	if err != nil {
		return time.Time{}, fmt.Errorf("journal created: %w", err)
	}
	return s.CachedInfo().Created, nil
}

func (j *jetStreamJournal) Used(ctx context.Context) (bool, error) {
	s, err := j.js.Stream(ctx, j.stream)
	if err != nil {
		return false, fmt.Errorf("journal used: %w", err)
	}
	return s.CachedInfo().State.LastSeq > 0, nil
}
