package natsio

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe"
	"orderworker/worker"
)

// Headers of a final event, about the order that it ends.
const (
	seqHeader         = "Order-Seq"
	fingerprintHeader = "Order-Fingerprint"
	accountHeader     = "Order-Account"
	settledByHeader   = "Order-Settled-By" // only if an operator settled the order
)

const (
	// A compare-and-set fails because of a newer message, or because of a write that is
	// under way in the cluster (10164).
	compareTries = 10                    // how often it is tried
	comparePause = 25 * time.Millisecond // between two tries
)

// ResultSubject returns the subject of an order's event of that status; "*" for all.
//
// Source: contract, section 3.
func (s *Streams) ResultSubject(status, outTradeNo string) string {
	return s.ResultsSubject + "." + status + "." + dedupe.SubjectToken(outTradeNo)
}

// Publish stores an event, unless it must not be stored: an order gets each final event
// once, and no in_doubt event after a final one. existing is the content of the final event
// that the order already had; nil: e was stored, or e is not final. After an error the
// event may have been stored. worker.ErrRefused means that trying again cannot help.
func (j *JetStream) Publish(ctx context.Context, e worker.Event) (existing []byte, err error) {
	msg := eventMessage(e)
	msg.Subject = j.names.ResultSubject(string(e.Status), e.Subject)
	switch e.Status {
	case worker.Rejected: // an order may have several, one for each payload
		_, err = j.store(ctx, msg, j.names.resultsConfig(), jetstream.WithMsgID(e.ID))
	case worker.InDoubt:
		err = j.publishDoubt(ctx, msg, e)
	default:
		existing, err = j.publishFinal(ctx, msg, e)
	}
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", msg.Subject, err)
	}
	return existing, nil
}

// eventMessage returns the event as a message in the binary mode of the NATS binding of
// CloudEvents.
//
// Source: contract, section 3;
// https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md.
func eventMessage(e worker.Event) *nats.Msg {
	header := nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {ceValue(e.ID)}, "ce-type": {"order.package." + string(e.Status)}, "ce-source": {"orderworker"},
		"ce-time": {e.At}, "ce-subject": {ceValue(e.Subject)}, "ce-datacontenttype": {"application/json"}, "Content-Type": {"application/json"},
	}
	if e.Trace != "" {
		header.Set("traceparent", e.Trace)
	}
	if e.Status == worker.Succeeded || e.Status == worker.Failed {
		header.Set(seqHeader, strconv.FormatUint(e.Seq, 10))
		header.Set(fingerprintHeader, e.Fingerprint)
		header.Set(accountHeader, e.Account)
		if e.Operator {
			header.Set(settledByHeader, "operator")
		}
	}
	return &nats.Msg{Header: header, Data: e.Payload}
}

// ceValue percent-encodes a CloudEvents attribute for a header: space, double quote,
// percent sign, and everything that is not printable ASCII.
//
// Source: NATS binding of CloudEvents, section 3.1.3.2.
func ceValue(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '%' || r > '~' }) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '%' || c > '~' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// publishFinal stores a final event, unless its subject has one already. Then it returns the
// content of that one. So the stream has at most one event of each final status of an
// order. The compare-and-set covers that subject alone, because an in_doubt or rejected
// event must not keep the final one out. A failed event is not stored beside a succeeded
// one, which is read first; orders that succeed do not pay for that read.
func (j *JetStream) publishFinal(ctx context.Context, msg *nats.Msg, e worker.Event) (existing []byte, err error) {
	if e.Status == worker.Failed {
		sold, found, err := j.lastResult(ctx, j.names.ResultSubject(string(worker.Succeeded), e.Subject))
		if err != nil || found {
			return sold.Data, err
		}
	}
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(0)}
	withID := append(opts, jetstream.WithMsgID(e.ID))
	for try := 1; ; try++ {
		ack, err := j.store(ctx, msg, j.names.resultsConfig(), withID...)
		if err == nil && !ack.Duplicate || err != nil && !lostCompare(err) {
			return nil, err
		}
		// It was stored before, perhaps by an earlier try whose reply was lost.
		stored, found, readErr := j.lastResult(ctx, msg.Subject)
		switch {
		case readErr != nil:
			return nil, errors.Join(err, readErr)
		case found:
			return stored.Data, nil
		case err == nil: // a duplicate of a message that was deleted: publish without the id
			msg.Header.Del(nats.MsgIdHdr)
			withID = opts
		case try == compareTries:
			return nil, err
		default: // a write to this subject is under way in the cluster, perhaps an earlier try
			if err := pause(ctx, comparePause); err != nil {
				return nil, err
			}
		}
	}
}

// publishDoubt stores an in_doubt event, unless the order has a final or an in_doubt event
// already. The compare-and-set covers all subjects of the order, so an in_doubt event is
// never stored after a final one.
func (j *JetStream) publishDoubt(ctx context.Context, msg *nats.Msg, e worker.Event) error {
	all := j.names.ResultSubject("*", e.Subject)
	for try := 1; ; try++ {
		last, _, err := j.lastResult(ctx, all) // read first: an event that is stored after this makes the compare-and-set fail
		if err != nil {
			return err
		}
		for _, status := range []worker.Status{worker.Succeeded, worker.Failed, worker.InDoubt} {
			_, found, err := j.lastResult(ctx, j.names.ResultSubject(string(status), e.Subject))
			if err != nil || found {
				return err
			}
		}
		_, err = j.store(ctx, msg, j.names.resultsConfig(), jetstream.WithMsgID(e.ID), jetstream.WithExpectLastSequenceForSubject(last.Seq, all))
		if err == nil || !lostCompare(err) || try == compareTries {
			return err
		}
		if err := pause(ctx, comparePause); err != nil {
			return err
		}
	}
}

// Final returns the final event of an order, as dedupe.Results says.
func (j *JetStream) Final(ctx context.Context, outTradeNo string) (dedupe.FinalEvent, bool, error) {
	return finalEvent(ctx, &j.names, outTradeNo, j.lastResult)
}

// Used reports whether the stream has a final event of any order.
func (j *JetStream) Used(ctx context.Context) (bool, error) { return used(ctx, &j.names, j.lastResult) }

// lastResult reads the last event of a subject. A missing stream is created again, and
// counts as empty: its events are lost, and orders must not wait for ever.
func (j *JetStream) lastResult(ctx context.Context, subject string) (storedMsg, bool, error) {
	m, found, err := readLeader(ctx, j.js, j.names.Results, get{LastFor: subject})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = j.ensureStream(ctx, j.names.resultsConfig())
	}
	return m, found, err
}

// store publishes msg to its stream, and creates the stream again if it is gone. The
// error wraps worker.ErrRefused if trying again cannot help.
func (j *JetStream) store(ctx context.Context, msg *nats.Msg, stream jetstream.StreamConfig, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	opts = append(opts[:len(opts):len(opts)], jetstream.WithExpectStream(stream.Name))
	ack, err := j.js.PublishMsg(ctx, msg, opts...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		if ensureErr := j.ensureStream(ctx, stream); errors.Is(ensureErr, ErrUnfit) {
			return nil, fmt.Errorf("%w: %w", worker.ErrRefused, ensureErr)
		} else if ensureErr != nil {
			return nil, errors.Join(err, ensureErr)
		}
		ack, err = j.js.PublishMsg(ctx, msg, opts...)
	}
	if refusedForGood(err) {
		err = fmt.Errorf("%w: %w", worker.ErrRefused, err)
	}
	return ack, err
}

// lostCompare reports whether a compare-and-set failed: the last message is another than
// expected, or, in a cluster, a write is under way.
func lostCompare(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// limits are the error codes of limits that are reached. They come with status 500 or
// 503, but do not pass by themselves.
//
// Source: nats-server, server/errors.json.
var limits = map[jetstream.ErrorCode]bool{
	10023: true, // insufficient resources
	10028: true, // memory resource limits of the account
	10047: true, // storage resource limits of the account
	10077: true, // the store refuses: max_msgs, max_bytes, max_msgs_per_subject
}

// refusedForGood reports whether trying again cannot help: the server refuses the
// message, or the message is longer than max_payload.
func refusedForGood(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && !lostCompare(err) && (api.Code == 400 || limits[api.ErrorCode])
}

// pause waits for d. If ctx ends first, it returns the cause.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
