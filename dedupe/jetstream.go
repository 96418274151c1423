package dedupe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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
func NewJetStreamJournal(js jetstream.JetStream, stream, subject string, ttl time.Duration) Journal {
	return &jetStreamJournal{js, stream, subject, max(ttl, time.Second)}
}

func (j *jetStreamJournal) subjectOf(outTradeNo string) string {
	return j.subject + "." + SubjectToken(outTradeNo)
}

func (j *jetStreamJournal) Read(ctx context.Context, outTradeNo string) (Record, uint64, error) {
	data, rev, err := j.last(ctx, outTradeNo)
	if err != nil || len(data) == 0 {
		return Record{}, rev, err
	}
	r, err := decode(data)
	return r, rev, err
}

func (j *jetStreamJournal) Write(ctx context.Context, outTradeNo string, r Record, rev uint64) (uint64, error) {
	data, err := encode(r)
	if err != nil {
		return 0, err
	}
	opts := []jetstream.PublishOpt{
		jetstream.WithExpectStream(j.stream),
		jetstream.WithExpectLastSequencePerSubject(rev),
	}
	if r.State == StateFinal {
		opts = append(opts, jetstream.WithMsgTTL(j.ttl))
	}
	for try := 1; ; try++ {
		ack, err := j.js.Publish(ctx, j.subjectOf(outTradeNo), data, opts...)
		if err == nil {
			return ack.Sequence, nil
		}
		var api *jetstream.APIError
		answered := errors.As(err, &api)
		if answered && api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence &&
			api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequenceConstant {
			if refusedForGood(api) {
				err = fmt.Errorf("%w: %w", ErrBroken, err)
			}
			return 0, fmt.Errorf("journal write: %w", err) // refused, nothing is stored
		}
		if errors.Is(err, nats.ErrMaxPayload) {
			return 0, fmt.Errorf("journal write: %w: %w", ErrBroken, err) // it never left
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
			return 0, ErrLost
		case !answered || try == inflightTries:
			return 0, fmt.Errorf("journal write: %w", err)
		}
		// Refused, though nothing newer is stored: in a cluster a write for this
		// subject is under way, perhaps our own.
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("journal write: %w", context.Cause(ctx))
		case <-time.After(inflightPause):
		}
	}
}

// refusedForGood says that trying again does not heal err, which is no lost
// compare-and-set: the server understood and says no, or a limit of the stream
// is reached, which a person has to mend.
//
// Source: nats-server, server/errors.json.
func refusedForGood(err *jetstream.APIError) bool {
	const (
		messageTooLong = 10054 // max_msg_size
		storeRefuses   = 10077 // max_bytes and such
	)
	return err.Code == 400 || err.ErrorCode == messageTooLong || err.ErrorCode == storeRefuses
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

// last returns the bytes and sequence of the order's last message; 0: none. No
// bytes with a sequence are a delete marker, which counts for the next write.
// It asks STREAM.MSG.GET itself, because nats.go takes the direct way, which any
// replica answers, when the stream allows it.
//
// Source: https://docs.nats.io/reference/reference-protocols/nats_api_reference.
func (j *jetStreamJournal) last(ctx context.Context, outTradeNo string) ([]byte, uint64, error) {
	ctx, cancel := withDefaultTimeout(ctx, j.js.Options().DefaultTimeout)
	defer cancel()
	request, err := json.Marshal(map[string]string{"last_by_subj": j.subjectOf(outTradeNo)})
	if err != nil {
		return nil, 0, fmt.Errorf("journal read: %w", err)
	}
	answer, err := j.js.Conn().RequestWithContext(ctx, apiPrefix(j.js)+"STREAM.MSG.GET."+j.stream, request)
	if err != nil {
		return nil, 0, fmt.Errorf("journal read: %w", err)
	}
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	err = json.Unmarshal(answer.Data, &got)
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("journal read: %w", err)
	case got.Error != nil && got.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, 0, nil
	case got.Error != nil:
		return nil, 0, fmt.Errorf("journal read: %w", got.Error)
	case got.Message == nil || got.Message.Seq == 0:
		return nil, 0, errors.New("journal read: an answer without a message")
	}
	return got.Message.Data, got.Message.Seq, nil
}

func withDefaultTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	if d <= 0 {
		d = 5 * time.Second
	}
	return context.WithTimeout(ctx, d)
}

// apiPrefix gives "$JS.API." or what the client was made with.
func apiPrefix(js jetstream.JetStream) string {
	switch o := js.Options(); {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	}
	return jetstream.DefaultAPIPrefix
}
