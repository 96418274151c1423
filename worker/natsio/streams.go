package natsio

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Streams are what the worker uses in JetStream: section 5 of the contract.
type Streams struct {
	Orders, OrdersSubject, Consumer string
	Results, ResultsSubject         string // status and token are appended to the subject
	Dead, DeadSubject               string
	Journal, JournalSubject         string // a token is appended to the subject; "": no journal

	AllowLossy bool // what could lose an order is a warning, and no error

	// For streams and a consumer that are made here, and to judge those that exist.
	Replicas    int
	AckWait     time.Duration
	Concurrency int           // of one worker
	DedupeTTL   time.Duration // how long results are kept; 0: for ever
	JournalTTL  time.Duration // how long journal and results must be kept

	Account string // the vendor's account that orders are bought from, as events name it
}

// ErrUnfit says that a stream or consumer cannot be used as it is. Waiting does
// not change that.
var ErrUnfit = errors.New("it cannot be used")

// rejectedWindow is the duplicate window of the results stream. Only a rejected
// event needs one, against a second copy when its reply or the ack of its
// request is lost: the others are stored by compare-and-set.
const rejectedWindow = time.Hour

// shortestWindow is the shortest duplicate window, and age limit, that a server
// takes.
const shortestWindow = 100 * time.Millisecond

// ordersConfig is a work queue that refuses new messages when it is full, and
// never drops old ones. A longer duplicate window would hide an order that was
// corrected and published again with the same Nats-Msg-Id.
func (s *Streams) ordersConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Orders, Subjects: []string{s.OrdersSubject}, Storage: jetstream.FileStorage,
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Replicas: s.Replicas,
		Duplicates: shortestWindow,
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
		c.MaxAge = max(c.MaxAge, s.JournalTTL, shortestWindow)
		c.Duplicates = min(c.Duplicates, c.MaxAge) // the server insists
	}
	return c
}

func (s *Streams) deadConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Dead, Subjects: []string{s.DeadSubject}, Storage: jetstream.FileStorage,
		Discard: jetstream.DiscardNew, Replicas: s.Replicas,
	}
}

// journalConfig has one record per order, and no limit by which one could leave:
// should somebody add one later, discard new refuses a write (orders wait, and
// the error says so) where discard old would drop the oldest records. The limit
// of one message per subject goes before discard.
func (s *Streams) journalConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: s.Journal, Subjects: []string{s.JournalSubject + ".*"}, Storage: jetstream.FileStorage,
		Description: "orderworker: one record per order, the last thing that is certain of it",
		Discard:     jetstream.DiscardNew, MaxMsgsPerSubject: 1, AllowMsgTTL: true, Replicas: s.Replicas,
	}
}

// all are the streams. The journal comes first: where it is made before there is
// a stream of orders, it was not lost.
func (s *Streams) all() []jetstream.StreamConfig {
	var all []jetstream.StreamConfig
	if s.Journal != "" {
		all = append(all, s.journalConfig())
	}
	return append(all, s.ordersConfig(), s.resultsConfig(), s.deadConfig())
}

// ensureStream makes the stream if it is missing. A stream that does not take its
// subject is an error: what is published there would never be stored.
func (j *JetStream) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	stream, err := j.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = j.js.CreateStream(ctx, want)
		switch {
		case err == nil:
			j.logMade(ctx, stream.CachedInfo().Config)
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse): // another worker was faster
			stream, err = j.js.Stream(ctx, want.Name)
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code == 400 { // the server understood, and says no
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

// logMade tells of a stream that was made: a missing one is an accident, except
// on the first day.
func (j *JetStream) logMade(ctx context.Context, c jetstream.StreamConfig) {
	j.logger.Info().Str("stream", c.Name).Strs("subjects", c.Subjects).Stringer("retention", c.Retention).Stringer("storage", c.Storage).
		Stringer("discard", c.Discard).Stringer("max_age", c.MaxAge).Stringer("duplicate_window", c.Duplicates).Int("replicas", c.Replicas).
		Msg("stream created")
	if c.Name != j.names.Journal {
		return
	}
	orders, err := j.js.Stream(ctx, j.names.Orders)
	if err == nil && orders.CachedInfo().State.Msgs > 0 {
		j.logger.Warn().Str("stream", c.Name).Uint64("unfinished", orders.CachedInfo().State.Msgs).
			Msg("journal created, unfinished orders are in doubt")
	}
}

// Covers reports whether has matches every subject that want matches.
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
