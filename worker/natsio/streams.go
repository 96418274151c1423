package natsio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Streams names what the worker uses in JetStream: section 5 of the contract.
type Streams struct {
	Orders, OrdersSubject, Consumer string
	Results, ResultsSubject         string // status and token are appended to the subject
	Dead, DeadSubject               string
	Replicas                        int           // of streams that are made here
	AckWait                         time.Duration // of a consumer that is made here
	DedupeTTL                       time.Duration // how long a results stream that is made here keeps events; 0: for ever
	Account                         string        // the vendor's account that orders are bought from, as events name it
}

// ErrUnfit says that a stream or consumer cannot be used as it is. Waiting does
// not change that.
var ErrUnfit = errors.New("it cannot be used")

// rejectedWindow is the duplicate window of the results stream. Only a rejected
// event needs one, against a second copy when its reply or the ack of its
// request is lost: the others are stored by compare-and-set.
const rejectedWindow = time.Hour

// ordersConfig is a work queue that refuses new messages when it is full, and
// never drops old ones.
func (s *Streams) ordersConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Orders, Subjects: []string{s.OrdersSubject}, Storage: jetstream.FileStorage,
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Replicas: s.Replicas,
	}
}

// resultsConfig has a subject per order and status, so that the events of an
// order can be asked for, by clients of any replica.
func (s *Streams) resultsConfig() jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: s.Results, Subjects: []string{s.ResultsSubject + ".*.*"}, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, MaxAge: s.DedupeTTL, Duplicates: rejectedWindow, AllowDirect: true, Replicas: s.Replicas,
	}
	if c.MaxAge > 0 {
		c.MaxAge = max(c.MaxAge, 100*time.Millisecond) // the server insists on both
		c.Duplicates = min(c.Duplicates, c.MaxAge)
	}
	return c
}

func (s *Streams) deadConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Dead, Subjects: []string{s.DeadSubject}, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, Replicas: s.Replicas,
	}
}

// ensureStream returns the configuration of the stream, made here if it is
// missing. A stream that does not take its subject is an error: what is
// published there would never be stored.
func (j *JetStream) ensureStream(ctx context.Context, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	stream, err := j.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = j.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another worker was faster
			stream, err = j.js.Stream(ctx, want.Name)
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code == 400 { // the server understood, and says no
		err = fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if err != nil {
		return jetstream.StreamConfig{}, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	got := stream.CachedInfo().Config
	for _, subject := range want.Subjects {
		if !slices.ContainsFunc(got.Subjects, func(has string) bool { return covers(has, subject) }) {
			return got, fmt.Errorf("stream %s: %w: its subjects are %v, without %s; add it: nats stream edit %s --subjects '%s'",
				want.Name, ErrUnfit, got.Subjects, subject, want.Name, strings.Join(append(slices.Clone(got.Subjects), subject), ","))
		}
	}
	return got, nil
}

// covers says whether every subject that want matches is matched by has.
func covers(has, want string) bool {
	h, w := strings.Split(has, "."), strings.Split(want, ".")
	for i, token := range h {
		if token == ">" {
			return len(w) > i
		}
		if i >= len(w) || w[i] == ">" || token != "*" && token != w[i] {
			return false
		}
	}
	return len(h) == len(w)
}
