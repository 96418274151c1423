package natsio

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe"
	"orderworker/worker"
)

// results reads the final events, and creates nothing.
type results struct {
	js    jetstream.JetStream
	names Streams
}

// NewResults returns the final events of the results stream, for a program that only reads.
// A missing stream counts as empty, since a worker creates it again.
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

// lastOf reads the last event of a subject from the leader.
type lastOf func(ctx context.Context, subject string) (storedMsg, bool, error)

// ended are the statuses of the events that end an order.
var ended = [...]worker.Status{worker.Succeeded, worker.Failed}

// finalEvent reads the final event of an order. It asks for each final status by its own
// subject, since the last event of an order may be a rejected one.
func finalEvent(ctx context.Context, names *Streams, outTradeNo string, last lastOf) (dedupe.FinalEvent, bool, error) {
	for _, status := range ended {
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
func used(ctx context.Context, names *Streams, last lastOf) (bool, error) {
	for _, status := range ended {
		if _, found, err := last(ctx, names.ResultsSubject+"."+string(status)+".*"); found || err != nil {
			return found, err
		}
	}
	return false, nil
}
