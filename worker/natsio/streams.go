package natsio

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Streams has the names and settings of the streams and the consumer that the worker
// uses.
//
// Source: contract, section 5.
type Streams struct {
	Orders, OrdersSubject, Consumer string
	Results, ResultsSubject         string // an event's subject is ResultsSubject.STATUS.TOKEN
	Dead, DeadSubject               string
	Journal, JournalSubject         string // a record's subject is JournalSubject.TOKEN; Journal "": there is no such stream

	AllowLossy bool // faults are warnings instead of errors

	// These are used to create what is missing, and to audit what exists.
	Replicas    int
	AckWait     time.Duration
	Concurrency int           // of one worker
	DedupeTTL   time.Duration // how long results are kept; 0: for ever
	JournalTTL  time.Duration // how long the journal and the results must be kept

	Account string // hash of the vendor's account, as events have it
}

// ErrUnfit is returned for a stream or a consumer that cannot be used until an operator
// changes it.
var ErrUnfit = errors.New("it cannot be used")

// rejectedWindow is the duplicate window of the results stream. It keeps a rejected
// event from being stored twice when its reply or the ack of its order request is lost.
// Other events are stored by compare-and-set.
const rejectedWindow = time.Hour

// shortestWindow is the shortest duplicate window and the shortest max_age that a server
// accepts.
const shortestWindow = 100 * time.Millisecond

// ordersConfig is a work queue that refuses new messages when it is full and never drops
// old ones. With a longer duplicate window, an order that is corrected and published
// again under its Nats-Msg-Id would be dropped.
func (s *Streams) ordersConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Orders, Subjects: []string{s.OrdersSubject}, Storage: jetstream.FileStorage,
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Replicas: s.Replicas,
		Duplicates: shortestWindow,
	}
}

// resultsConfig has one subject per status and order, so that clients can get the events
// of an order, from any replica.
func (s *Streams) resultsConfig() jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: s.Results, Subjects: []string{s.ResultsSubject + ".*.*"}, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, MaxAge: s.DedupeTTL, Duplicates: rejectedWindow, AllowDirect: true, Replicas: s.Replicas,
	}
	if c.MaxAge > 0 {
		c.MaxAge = max(c.MaxAge, s.JournalTTL, shortestWindow)
		c.Duplicates = min(c.Duplicates, c.MaxAge) // the server refuses a longer one
	}
	return c
}

func (s *Streams) deadConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Dead, Subjects: []string{s.DeadSubject}, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, Replicas: s.Replicas,
	}
}

// journalConfig keeps one record per order and has no limit at which a record is dropped.
// If an operator adds one, discard new refuses writes, and orders wait with an error;
// discard old would drop the oldest records. max_msgs_per_subject applies before discard.
func (s *Streams) journalConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Journal, Subjects: []string{s.JournalSubject + ".*"}, Storage: jetstream.FileStorage,
		Description: "orderworker: one record per order, the last thing that is certain of it",
		Discard:     jetstream.DiscardNew, MaxMsgsPerSubject: 1, AllowMsgTTL: true, Replicas: s.Replicas,
	}
}

// all returns the configurations of the streams. The journal is first: if it is created
// before the orders stream, it was never lost.
func (s *Streams) all() []jetstream.StreamConfig {
	var all []jetstream.StreamConfig
	if s.Journal != "" {
		all = append(all, s.journalConfig())
	}
	return append(all, controlConfig(s.Replicas), s.ordersConfig(), s.resultsConfig(), s.deadConfig())
}

// ensureStream creates the stream if it is missing. A stream that does not store its
// subject is an error: nothing that is published there would be stored.
func (j *JetStream) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	stream, err := j.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = j.js.CreateStream(ctx, want)
		switch {
		case err == nil:
			j.logCreated(ctx, stream.CachedInfo().Config)
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse): // another worker has just created it
			stream, err = j.js.Stream(ctx, want.Name)
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code == 400 { // the server has refused the configuration
		err = fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", want.Name, err)
	}
	for _, subject := range want.Subjects {
		if missing := missingSubject(stream.CachedInfo().Config, subject); missing != "" {
			return fmt.Errorf("%s: %w", missing, ErrUnfit)
		}
	}
	return nil
}

// logCreated logs that a stream was created. Unless the deployment is new, the stream was
// lost.
func (j *JetStream) logCreated(ctx context.Context, c jetstream.StreamConfig) {
	j.logger.Info().Str("stream", c.Name).Strs("subjects", c.Subjects).Stringer("retention", c.Retention).Stringer("storage", c.Storage).
		Stringer("discard", c.Discard).Stringer("max_age", c.MaxAge).Stringer("duplicate_window", c.Duplicates).Int("replicas", c.Replicas).
		Msg("stream created")
	if c.Name != j.names.Journal && c.Name != ControlStream {
		return
	}
	orders, err := j.js.Stream(ctx, j.names.Orders)
	if err != nil {
		return
	}
	switch state := orders.CachedInfo().State; {
	case c.Name == j.names.Journal && state.Msgs > 0:
		j.logger.Warn().Str("stream", c.Name).Uint64("unfinished", state.Msgs).Msg("journal created, unfinished orders are in doubt")
	case c.Name == ControlStream && state.LastSeq > 0: // also at the upgrade from a release without the bucket
		j.logger.Warn().Str("stream", c.Name).Msg("operator's bucket created, an earlier pause may be lost")
	}
}

// Covers reports whether the subject has, with NATS wildcards, matches every subject that
// want matches.
func Covers(has, want string) bool {
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
