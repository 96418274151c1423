package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
)

// storedOrder is an order request as it stands in its stream.
type storedOrder struct {
	worker.Order
	seq      uint64
	received time.Time
}

// notThere is why a request cannot be had, though the stream could be asked.
type notThere struct {
	why  string
	gone bool // nothing stands there
}

func (e *notThere) Error() string { return e.why }

// order reads the request of outTradeNo at seq. The error is a *notThere where
// it is gone, or something else stands there.
func (v *servers) order(ctx context.Context, stream jetstream.Stream, outTradeNo string, seq uint64) (storedOrder, error) {
	name := stream.CachedInfo().Config.Name
	msg, err := stream.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return storedOrder{}, &notThere{fmt.Sprintf("message %d of stream %s is gone", seq, name), true}
	case err != nil:
		return storedOrder{}, fmt.Errorf("read message %d of stream %s: %w", seq, name, err)
	}
	o, err := worker.DecodeOrder(msg.Data)
	switch {
	case o.OutTradeNo != outTradeNo:
		return storedOrder{}, &notThere{fmt.Sprintf("message %d of stream %s is another order's", seq, name), false}
	case err != nil:
		why := strings.ReplaceAll(err.Error(), "\n", "; ")
		return storedOrder{}, &notThere{fmt.Sprintf("message %d of stream %s is not a valid request: %s", seq, name, why), false}
	}
	return storedOrder{Order: o, seq: seq, received: msg.Time}, nil
}

// resultEvent is a result of an order in the results stream.
type resultEvent struct {
	Seq    uint64          `json:"seq"`
	Stored worker.Time     `json:"stored"`
	Status string          `json:"status"`
	ID     string          `json:"id"`    // Nats-Msg-Id
	Event  json.RawMessage `json:"event"` // the payload; null where it is not JSON
}

// searched is the outcome of a search in the results stream.
type searched struct {
	Stream   string        `json:"stream"`
	Events   []resultEvent `json:"events"`   // oldest first
	Searched int           `json:"searched"` // how many results were looked at
	Cut      bool          `json:"cut"`      // there are older ones, which were not
}

// results finds the events of outTradeNo among the newest last results, or
// where since is not 0 among all that are younger. There is no subject per
// order, so that the headers of all of them are read. After an error it
// returns what it found so far.
func (v *servers) results(ctx context.Context, s *Settings, outTradeNo string, last int, since time.Duration) (searched, error) {
	found := searched{Stream: s.ResultsStream, Events: []resultEvent{}}
	stream, err := v.js.Stream(ctx, s.ResultsStream)
	if err != nil {
		return found, fmt.Errorf("stream %s: %w", s.ResultsStream, err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return found, nil
	}
	config := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{s.ResultsSubject + ".*"}, HeadersOnly: true, InactiveThreshold: time.Minute,
	}
	if since > 0 {
		from := time.Now().Add(-since)
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
		found.Cut = state.FirstTime.Before(from)
	} else {
		from := state.FirstSeq
		if n := state.LastSeq - state.FirstSeq + 1; n > uint64(last) {
			from = state.LastSeq - uint64(last) + 1
		}
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
		found.Cut = from > state.FirstSeq
	}
	seqs, n, err := v.scan(ctx, stream, config, outTradeNo)
	found.Searched = n
	for _, seq := range seqs {
		msg, getErr := stream.GetMsg(ctx, seq)
		if getErr != nil {
			err = errors.Join(err, fmt.Errorf("message %d: %w", seq, getErr))
			continue
		}
		e := resultEvent{
			Seq: seq, Stored: worker.Time{Time: msg.Time}, ID: msg.Header.Get("Nats-Msg-Id"),
			Status: strings.TrimPrefix(msg.Subject, s.ResultsSubject+"."),
		}
		if json.Valid(msg.Data) {
			e.Event = msg.Data
		}
		found.Events = append(found.Events, e)
	}
	if err != nil {
		return found, fmt.Errorf("search stream %s: %w", s.ResultsStream, err)
	}
	return found, nil
}

// scan reads the headers that config asks for, and returns the sequences of
// those that are about outTradeNo, and how many it read.
func (v *servers) scan(ctx context.Context, stream jetstream.Stream, config jetstream.OrderedConsumerConfig, outTradeNo string) (seqs []uint64, n int, err error) {
	consumer, err := stream.OrderedConsumer(ctx, config)
	if err != nil {
		return nil, 0, err
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil, 0, nil
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(5000))
	if err != nil {
		return nil, 0, err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return seqs, n, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return seqs, n, err
		}
		n++
		if msg.Headers().Get("ce-subject") == outTradeNo {
			seqs = append(seqs, meta.Sequence.Stream)
		}
		if meta.NumPending == 0 {
			return seqs, n, nil
		}
	}
}
