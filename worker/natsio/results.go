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

// The headers of a final event that tell which request it ends.
const (
	seqHeader         = "Order-Seq"
	fingerprintHeader = "Order-Fingerprint"
	accountHeader     = "Order-Account"
	settledByHeader   = "Order-Settled-By" // only where an operator said how it ended
)

const (
	// A write that is refused while another is on its way through the cluster
	// (10164), or that lost against a newer one, is tried again this often.
	compareTries = 10
	comparePause = 25 * time.Millisecond
)

// ResultSubject is the subject of an order's event of one status, or of any
// where status is "*".
//
// Source: contract, section 3.
func (s *Streams) ResultSubject(status, outTradeNo string) string {
	return s.ResultsSubject + "." + status + "." + dedupe.SubjectToken(outTradeNo)
}

// Publish stores a result event: nil means that the stream has it, or that it
// has what makes it needless (a final event makes an in_doubt needless). After
// an error it may have it too. worker.ErrRefused: trying again does not help.
func (j *JetStream) Publish(ctx context.Context, e worker.Event) error {
	msg := eventMessage(e)
	msg.Subject = j.names.ResultSubject(string(e.Status), e.Subject)
	var err error
	switch e.Status {
	case worker.Rejected: // there may be several, one for each payload
		_, err = j.store(ctx, msg, j.names.resultsConfig(), jetstream.WithMsgID(e.ID))
	case worker.InDoubt:
		err = j.publishDoubt(ctx, msg, e)
	default:
		err = j.publishFinal(ctx, msg, e)
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", msg.Subject, err)
	}
	return nil
}

// eventMessage is the event as the NATS binding of CloudEvents has it, in binary mode.
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

// ceValue percent-encodes the value of a CloudEvents attribute for a header:
// space, double quote, percent sign and what is not printable ASCII.
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

// publishFinal stores a final event, unless one stands under its subject: the
// stream so holds at most one of each status, for as long as it keeps messages.
func (j *JetStream) publishFinal(ctx context.Context, msg *nats.Msg, e worker.Event) error {
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(0)}
	withID := append(opts, jetstream.WithMsgID(e.ID))
	for try := 1; ; try++ {
		ack, err := j.store(ctx, msg, j.names.resultsConfig(), withID...)
		if err == nil && !ack.Duplicate || err != nil && !lostCompare(err) {
			return err
		}
		// It was stored before, perhaps by ourselves, and the reply was lost.
		_, found, readErr := j.lastResult(ctx, msg.Subject)
		switch {
		case readErr != nil:
			return errors.Join(err, readErr)
		case found:
			return nil
		case err == nil: // it was deleted since: its id must not hide it
			msg.Header.Del(nats.MsgIdHdr)
			withID = opts
		case try == compareTries:
			return err
		default: // in a cluster a write for this subject is under way, perhaps our own
			if err := pause(ctx, comparePause); err != nil {
				return err
			}
		}
	}
}

// publishDoubt stores an in_doubt event, unless the order has its final event or
// an in_doubt already. The compare-and-set is over all of the order's subjects,
// so that a final event that is stored meanwhile stays the last word.
func (j *JetStream) publishDoubt(ctx context.Context, msg *nats.Msg, e worker.Event) error {
	all := j.names.ResultSubject("*", e.Subject)
	for try := 1; ; try++ {
		last, _, err := j.lastResult(ctx, all) // before the others: what comes later is found by the compare-and-set
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

// Final finds the final event of an order. Its leader is asked, by the exact
// subjects: the last event of the order can be the rejected one of a conflict.
func (j *JetStream) Final(ctx context.Context, outTradeNo string) (dedupe.FinalEvent, bool, error) {
	for _, status := range []worker.Status{worker.Succeeded, worker.Failed} {
		m, found, err := j.lastResult(ctx, j.names.ResultSubject(string(status), outTradeNo))
		if err != nil {
			return dedupe.FinalEvent{}, false, err
		}
		if found {
			seq, _ := strconv.ParseUint(m.Header.Get(seqHeader), 10, 64) // 0: unknown
			return dedupe.FinalEvent{Result: m.Data, Seq: seq, Fingerprint: m.Header.Get(fingerprintHeader), Account: m.Header.Get(accountHeader)}, true, nil
		}
	}
	return dedupe.FinalEvent{}, false, nil
}

// Used reports whether any order has its final event here.
func (j *JetStream) Used(ctx context.Context) (bool, error) {
	for _, status := range []worker.Status{worker.Succeeded, worker.Failed} {
		if _, found, err := j.lastResult(ctx, j.names.ResultsSubject+"."+string(status)+".*"); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// lastResult reads the last event of a subject. A stream that has gone is made
// again: what it knew is lost, and orders must not wait for it for ever.
func (j *JetStream) lastResult(ctx context.Context, subject string) (storedMsg, bool, error) {
	m, found, err := readLeader(ctx, j.js, j.names.Results, get{LastFor: subject})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = j.ensureStream(ctx, j.names.resultsConfig())
	}
	return m, found, err
}

// store publishes msg to its stream, and makes that again where it has gone.
func (j *JetStream) store(ctx context.Context, msg *nats.Msg, stream jetstream.StreamConfig, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	opts = append(opts[:len(opts):len(opts)], jetstream.WithExpectStream(stream.Name))
	ack, err := j.js.PublishMsg(ctx, msg, opts...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		if ensureErr := j.ensureStream(ctx, stream); errors.Is(ensureErr, ErrUnfit) { // a person has to mend it
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

// lostCompare says that another message stands there than was expected, or that
// in a cluster one is about to.
func lostCompare(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// The codes by which a server says that a limit is reached. They come with
// codes 500 and 503, but heal by a person, not within seconds.
//
// Source: nats-server, server/errors.json.
var limits = map[jetstream.ErrorCode]bool{
	10023: true, // insufficient resources
	10028: true, // memory resource limits of the account
	10047: true, // storage resource limits of the account
	10077: true, // the store refuses: max_msgs, max_bytes, max_msgs_per_subject
}

// refusedForGood says that trying again does not heal err: the server
// understood and says no, or the message is longer than it takes.
func refusedForGood(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && !lostCompare(err) && (api.Code == 400 || limits[api.ErrorCode])
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
