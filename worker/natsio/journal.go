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
	// A write that is refused because another is under way in the cluster (10164) is tried
	// writeTries times, writePause apart.
	writeTries = 10
	writePause = 25 * time.Millisecond
)

type jetStreamJournal struct {
	js      jetstream.JetStream
	stream  string
	subject string
	ttl     time.Duration
}

// NewJetStreamJournal returns a journal in a stream. An order's record is the last message
// of the subject SUBJECT.TOKEN, where TOKEN is dedupe.SubjectToken of its number. It has
// the message TTL that dedupe.Record.Lifetime makes of ttl, which is at least 1 s; the
// server ignores fractions of a second. A request whose context has no deadline waits for
// 5 s.
//
// Records are read from the stream's leader, since a replica may return an old one. A
// leader that was just voted out may do so too, but then the compare-and-set of the next
// write fails.
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

// last returns the data and the sequence of the order's last message; 0: there is none. A
// sequence without data is a delete marker, whose sequence the next write has to name.
func (j *jetStreamJournal) last(ctx context.Context, outTradeNo string) ([]byte, uint64, error) {
	m, _, err := readLeader(ctx, j.js, j.stream, get{LastFor: j.subjectOf(outTradeNo)})
	if err != nil && !errors.Is(err, ErrHeader) { // headers do not matter: a record is all data
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
	if ttl := r.Lifetime(j.ttl); ttl > 0 {
		opts = append(opts, jetstream.WithMsgTTL(ttl))
	}
	for try := 1; ; try++ {
		ack, err := j.js.Publish(ctx, j.subjectOf(outTradeNo), data, opts...)
		if err == nil {
			return ack.Sequence, nil
		}
		_, replied := errors.AsType[*jetstream.APIError](err)
		switch {
		case journalRefuses(err):
			return 0, fmt.Errorf("journal write: %w: %w", dedupe.ErrBroken, err)
		case replied && !lostCompare(err):
			return 0, fmt.Errorf("journal write: %w", err) // refused, so nothing was stored
		}
		// The compare-and-set failed, perhaps because an earlier try was stored and its
		// reply was lost; or there was no reply. Read which record is stored.
		old, oldRev, readErr := j.last(ctx, outTradeNo)
		switch {
		case readErr != nil:
			return 0, fmt.Errorf("journal write: %w; read back: %w", err, readErr)
		case bytes.Equal(old, data):
			return oldRev, nil
		case oldRev != rev:
			return 0, dedupe.ErrLost
		case !replied || try == writeTries:
			return 0, fmt.Errorf("journal write: %w", err)
		}
		// Refused, though nothing newer is stored: a write to this subject is under way in
		// the cluster, perhaps an earlier try.
		if err := pause(ctx, writePause); err != nil {
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
