package natsio

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe"
	"orderworker/worker"
)

// results reads the final events. Unlike JetStream, it never creates the stream.
type results struct {
	js    jetstream.JetStream
	names Streams
}

// NewResults returns a reader of the final events, for a program that only reads. A missing
// stream counts as empty, since a worker would create it again.
func NewResults(js jetstream.JetStream, names Streams) dedupe.Results { return &results{js, names} }

func (r *results) Final(ctx context.Context, outTradeNo string) (dedupe.FinalEvent, bool, error) {
	return finalEvent(ctx, &r.names, outTradeNo, r.last)
}

func (r *results) Used(ctx context.Context) (bool, error) { return used(ctx, &r.names, r.last) }

func (r *results) last(ctx context.Context, subject string) (storedMsg, bool, error) {
	m, found, err := readLeader(ctx, r.js, r.names.Results, get{LastFor: subject})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = nil
	}
	return m, found, err
}

// readLast reads the last event of a subject from the leader.
type readLast func(ctx context.Context, subject string) (storedMsg, bool, error)

// finalStatuses are the statuses of the events that end an order.
var finalStatuses = [...]worker.Status{worker.Succeeded, worker.Failed}

// finalEvent reads the final event of an order. It reads the subject of each final status,
// since the last event on all subjects of an order may be a rejected one.
func finalEvent(ctx context.Context, names *Streams, outTradeNo string, last readLast) (dedupe.FinalEvent, bool, error) {
	for _, status := range finalStatuses {
		m, found, err := last(ctx, names.ResultSubject(string(status), outTradeNo))
		if err != nil {
			return dedupe.FinalEvent{}, false, err
		}
		if found {
			seq, _ := strconv.ParseUint(m.Header.Get(seqHeader), 10, 64) // 0: not known
			return dedupe.FinalEvent{Result: m.Data, Seq: seq, Fingerprint: m.Header.Get(fingerprintHeader), Account: m.Header.Get(accountHeader)}, true, nil
		}
	}
	return dedupe.FinalEvent{}, false, nil
}

// used reports whether there is a final event of any order.
func used(ctx context.Context, names *Streams, last readLast) (bool, error) {
	for _, status := range finalStatuses {
		if _, found, err := last(ctx, names.ResultsSubject+"."+string(status)+".*"); found || err != nil {
			return found, err
		}
	}
	return false, nil
}
