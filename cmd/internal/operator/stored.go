package operator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/text"
	"orderworker/worker"
)

// storedOrder is an order request in its stream.
type storedOrder struct {
	worker.Order
	seq      uint64
	received time.Time
}

// notThere is the reason why the stream has no valid request of the order at a place.
type notThere struct {
	why  string
	gone bool // the message was removed
}

func (e *notThere) Error() string { return e.why }

// stored reads the order's request at seq. The error is a *notThere if the message was
// removed, or is something else.
func (v *servers) stored(ctx context.Context, stream jetstream.Stream, seq uint64) (storedOrder, error) {
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
	case o.OutTradeNo != v.OutTradeNo:
		return storedOrder{}, &notThere{fmt.Sprintf("message %d of stream %s is another order's", seq, name), false}
	case err != nil:
		why := text.OneLine(err)
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

// maxEvents is how many events of one order are read. An order has one of each status,
// and a rejected one for each payload that came with its number.
const maxEvents = 100

// orderEvents is what the results stream has about an order.
type orderEvents struct {
	Stream string        `json:"stream"`
	Events []resultEvent `json:"events"` // oldest first
	Cut    bool          `json:"cut"`    // there are more, which were not read
}

// results reads the order's events by their subjects. After an error it returns what
// it has read so far.
func (v *servers) results(ctx context.Context) (orderEvents, error) {
	found := orderEvents{Stream: v.ResultsStream, Events: []resultEvent{}}
	stream, err := v.js.Stream(ctx, v.ResultsStream)
	if err != nil {
		return found, fmt.Errorf("stream %s: %w", v.ResultsStream, err)
	}
	names := connect.Streams(v.Settings)
	subjects := names.ResultSubject("*", v.OutTradeNo)
	for seq := uint64(1); ; {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subjects))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("read %s of stream %s: %w", subjects, v.ResultsStream, err)
		}
		if len(found.Events) == maxEvents {
			found.Cut = true
			break
		}
		found.add(msg, v.ResultsSubject)
		seq = msg.Sequence + 1
	}
	// Those that are not rejected ones say what became of the order: each has its own subject.
	for _, status := range []worker.Status{worker.InDoubt, worker.Failed, worker.Succeeded} {
		subject := names.ResultSubject(string(status), v.OutTradeNo)
		msg, err := stream.GetLastMsgForSubject(ctx, subject)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return found, fmt.Errorf("read %s of stream %s: %w", subject, v.ResultsStream, err)
		case msg.Sequence > found.Events[len(found.Events)-1].Seq:
			found.add(msg, v.ResultsSubject)
		}
	}
	slices.SortFunc(found.Events, func(a, b resultEvent) int { return cmp.Compare(a.Seq, b.Seq) })
	return found, nil
}

// add adds the event in a message.
func (o *orderEvents) add(msg *jetstream.RawStreamMsg, subject string) {
	status, _, _ := strings.Cut(strings.TrimPrefix(msg.Subject, subject+"."), ".")
	e := resultEvent{Seq: msg.Sequence, Stored: worker.Time{Time: msg.Time}, ID: msg.Header.Get("Nats-Msg-Id"), Status: status}
	if json.Valid(msg.Data) {
		e.Event = msg.Data
	}
	o.Events = append(o.Events, e)
}
