package operator

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/text"
	"orderworker/cmd/internal/vitals"
	"orderworker/upstream"
	"orderworker/worker"
	"orderworker/worker/halt"
)

// Overview says how a deployment fares.
type Overview struct {
	At      worker.Time      `json:"at"`
	Buying  Buying           `json:"buying"`
	Answers Answers          `json:"answers"`
	Stores  []Store          `json:"stores"`
	Workers []vitals.Figures `json:"workers"` // those that told Redis of themselves lately
	Quota   Quota            `json:"quota"`
	Counts  Counts           `json:"counts"`
	Errors  []string         `json:"errors"` // what could not be asked

	unread uint64 // requests that no worker has taken, and that were not read
}

// Buying says whether orders are sent.
type Buying struct {
	Paused   bool          `json:"paused"`   // by either of the two
	Operator *halt.State   `json:"operator"` // the operator's pause; null: there is none
	Account  *vitals.Pause `json:"account"`  // the account's, as the workers tell it; null: there is none
	Starting bool          `json:"starting"` // all workers have just started, and send nothing yet
	Unknown  string        `json:"unknown"`  // why it is not known whether there is another pause; "": it is known
}

// KeepPause keeps the operator's pause that was read before, if it is not known now whether
// it is over.
func (b *Buying) KeepPause(before Buying, now time.Time) {
	if b.Unknown != "" && b.Operator == nil && before.Operator != nil && before.Operator.Lasts(now) {
		b.Operator, b.Paused = before.Operator, true
	}
}

// Answers is what is wrong with the vendor's answers, as the workers tell it.
type Answers struct {
	Unclear  *Streak `json:"unclear"`  // the last orders got no clear answer; null: the last one did, or nobody tells
	Unproven *Streak `json:"unproven"` // the last lookups proved nothing of orders that they did not show; null likewise
}

// Streak is one of all workers together.
type Streak struct {
	upstream.Streak
	Workers int `json:"workers"` // in whose answers it is
	Of      int `json:"of"`      // how many workers tell
}

// streakOf returns the streak of all workers together. A good answer that one of them got
// ends it for all. nil: there is none, or nobody tells.
func streakOf(workers []vitals.Figures, kind func(*vitals.Figures) *upstream.Streak) *Streak {
	var all Streak
	for i := range workers {
		if s := kind(&workers[i]); s != nil {
			all.Of++
			all.Good = later(all.Good, s.Good)
		}
	}
	for i := range workers {
		s := kind(&workers[i])
		if s == nil || !s.Last.After(all.Good) {
			continue
		}
		all.Workers++
		since := s.Since
		if !since.After(all.Good) { // the first one after it is not known
			since = s.Last
		}
		if all.Since.IsZero() || since.Before(all.Since) {
			all.Since = since
		}
		if s.Last.After(all.Last) {
			all.Last, all.What = s.Last, s.What
		}
	}
	if all.Workers == 0 {
		return nil
	}
	return &all
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Store is a server or a stream, and whether it could be asked.
type Store struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// Quota is the use of the account's quota, as the workers tell it.
type Quota struct {
	Rate  float64 `json:"rate"`  // requests per second of all workers, in the last 30 s
	Limit float64 `json:"limit"` // that they may make now; 0: no limit, or not known
}

// Counts are the numbers of orders.
type Counts struct {
	Queued       uint64      `json:"queued"`     // no worker has begun with them
	InProgress   uint64      `json:"inProgress"` // a worker has them
	Waiting      uint64      `json:"waiting"`
	InDoubt      uint64      `json:"inDoubt"`
	Paused       uint64      `json:"paused"`
	Finishing    uint64      `json:"finishing"`            // their result is known and about to be published
	Unknown      uint64      `json:"unknown"`              // taken by workers; what became of them could not be asked
	Uncounted    uint64      `json:"uncounted"`            // taken by workers, and not read: too many, or they could not be
	Dead         uint64      `json:"dead"`                 // dead letters
	Finished     uint64      `json:"finished"`             // events in the results stream
	FailedLately uint64      `json:"failedLastHour"`       // orders that failed in the last hour
	NotKnown     []string    `json:"notKnown,omitempty"`   // which of these could not be asked, by their names; they are 0
	Oldest       worker.Time `json:"oldest,omitzero"`      // unfinished order
	OldestDoubt  worker.Time `json:"oldestDoubt,omitzero"` // since when the oldest doubt lasts
	HandedBack   uint64      `json:"-"`                    // of the queued, those that a worker has taken and handed back unsent
}

// The counts that come from one store or stream each.
var (
	countsOfScan     = []string{"inProgress", "waiting", "inDoubt", "paused", "finishing", "unknown", "uncounted"}
	countsOfConsumer = []string{"queued"}
	countsOfDead     = []string{"dead"}
	countsOfResults  = []string{"finished"}
	countsOfFailed   = []string{"failedLastHour"}
)

// UnknownCounts are counts of which none is known.
func UnknownCounts() Counts {
	return Counts{NotKnown: slices.Concat(countsOfConsumer, countsOfScan, countsOfDead, countsOfResults, countsOfFailed)}
}

// know notes that counts are known.
func (c *Counts) know(names []string) {
	c.NotKnown = slices.DeleteFunc(slices.Clone(c.NotKnown), func(name string) bool { return slices.Contains(names, name) })
}

// Known reports whether a count, by its name in JSON, is known.
func (c Counts) Known(name string) bool { return !slices.Contains(c.NotKnown, name) }

// With returns the counts of a scan with what the streams told of themselves since; what
// they did not tell is as it was before.
func (c Counts) With(told, before Counts) Counts {
	c.NotKnown = slices.DeleteFunc(slices.Clone(c.NotKnown), func(name string) bool { return !slices.Contains(countsOfScan, name) })
	for _, one := range []struct {
		name       string
		to         *uint64
		told, kept uint64
	}{
		{"queued", &c.Queued, told.Queued + c.HandedBack, before.Queued},
		{"dead", &c.Dead, told.Dead, before.Dead},
		{"finished", &c.Finished, told.Finished, before.Finished},
	} {
		switch {
		case told.Known(one.name):
			*one.to = one.told
		default:
			*one.to = one.kept
			if !before.Known(one.name) {
				c.NotKnown = append(c.NotKnown, one.name)
			}
		}
	}
	return c
}

// count adds a row.
func (c *Counts) count(row *Row) {
	switch row.State {
	case Queued:
		c.Queued++
		c.HandedBack++
	case Claimed:
		c.InProgress++
	case Waiting:
		c.Waiting++
	case Paused:
		c.Paused++
	case Unknown:
		c.Unknown++
	case InDoubt:
		c.InDoubt++
		if c.OldestDoubt.IsZero() || row.Since.Before(c.OldestDoubt.Time) {
			c.OldestDoubt = row.Since
		}
	default:
		c.Finishing++
	}
	if c.Oldest.IsZero() || row.Received.Before(c.Oldest.Time) {
		c.Oldest = row.Received
	}
}

// Overview returns how the deployment fares. It looks at every order that a worker has
// taken, up to d.ScanLimit of them.
func (d *Desk) Overview(ctx context.Context) *Overview {
	o, _ := d.scan(ctx, func(*Row) bool { return false }, 0)
	return o
}

// failed notes that something could not be asked.
func (o *Overview) failed(store string, err error) {
	message := text.OneLine(err)
	o.Errors = append(o.Errors, store+": "+message)
	for i := range o.Stores {
		if o.Stores[i].Name == store {
			o.Stores[i].OK, o.Stores[i].Error = false, message
			return
		}
	}
	o.Stores = append(o.Stores, Store{Name: store, Error: message})
}

// failedTime is how long the count of the orders that failed may take: no event is read for
// it, but a server has to count them.
const failedTime = 300 * time.Millisecond

// countFailed asks how many orders have failed in the last hour, by when their events were
// stored. enter enters the count into an overview, if there is one by then.
func (d *Desk) countFailed(ctx context.Context) (enter func(*Overview)) {
	since := time.Now().Add(-time.Hour)
	ctx, cancel := context.WithCancel(ctx)
	var n uint64
	done := make(chan error, 1)
	go func() {
		done <- d.about(ctx, d.ResultsStream, func(ctx context.Context, l *link) error {
			c, err := l.js.CreateConsumer(ctx, d.ResultsStream, jetstream.ConsumerConfig{
				AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 10 * time.Second, Replicas: 1,
				FilterSubject: d.ResultsSubject + "." + string(Failed) + ".*", DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
			})
			if err == nil {
				n = c.CachedInfo().NumPending
			}
			return err
		})
	}()
	late := time.AfterFunc(failedTime, cancel)
	return func(o *Overview) {
		defer cancel()
		defer late.Stop()
		if <-done == nil { // otherwise the count is not known, which is said
			o.Counts.FailedLately = n
			o.Counts.know(countsOfFailed)
		}
	}
}

// away reports whether a store could not be asked.
func (o *Overview) away(store string) bool {
	return slices.ContainsFunc(o.Stores, func(s Store) bool { return s.Name == store && !s.OK })
}

// begin asks whether the servers answer, whether the buying is paused, and what the
// workers tell. It returns why Redis is away.
func (d *Desk) begin(ctx context.Context, o *Overview) (redisErr error) {
	o.Stores = []Store{{Name: "nats", OK: true}, {Name: "redis", OK: true}}
	if redisErr = d.redisAway(ctx); redisErr != nil {
		o.failed("redis", trimmed(redisErr, "redis: "))
	} else if found, err := vitals.Read(ctx, d.rdb, d.OrdersStream); err != nil {
		o.failed("workers", err)
	} else {
		o.Workers = found
		o.fleet()
	}
	if len(o.Errors) > 0 {
		o.Buying.Unknown = "Redis cannot be read, so what the workers report is not known; a worker without Redis sends nothing"
	}
	if _, err := d.nats(); err != nil { // nothing can be asked
		o.failed("nats", err)
		o.Buying.Unknown = "NATS is away; a worker that cannot read the operator's word sends nothing"
	} else if word, _, err := d.Word(ctx); err != nil {
		o.failed("control", err)
		o.Buying.Unknown = "the operator's word cannot be read; a worker that cannot read it sends nothing"
	} else if word.Lasts(time.Now()) {
		o.Buying.Operator = &word
	} else if o.Buying.Unknown == "" {
		o.Buying.Unknown = o.wordUnreadBy()
	}
	o.Buying.Paused = o.Buying.Operator != nil || o.Buying.Account != nil
	return redisErr
}

// fleet enters what the workers tell together: the oldest pause of the account, since
// each of them notices it by itself, what is wrong with the vendor's answers, and the use of
// the quota.
func (o *Overview) fleet() {
	o.Buying.Starting = len(o.Workers) > 0
	for i := range o.Workers {
		w := &o.Workers[i]
		o.Buying.Starting = o.Buying.Starting && w.Starting
		o.Quota.Rate += w.Rate
		o.Quota.Limit = max(o.Quota.Limit, w.Limit)
		if p := w.Pause; p != nil && (o.Buying.Account == nil || p.Since.Before(o.Buying.Account.Since)) {
			o.Buying.Account = p
		}
	}
	o.Answers.Unclear = streakOf(o.Workers, func(w *vitals.Figures) *upstream.Streak { return w.Orders })
	o.Answers.Unproven = streakOf(o.Workers, func(w *vitals.Figures) *upstream.Streak { return w.Lookups })
}

// wordUnreadBy returns which worker reports that it cannot read the operator's word, and why;
// "": none does.
func (o *Overview) wordUnreadBy() string {
	for i := range o.Workers {
		if why := o.Workers[i].Unread; why != "" {
			return "worker " + o.Workers[i].ID + " sends nothing: " + why
		}
	}
	return ""
}

// trimmed is an error without the prefix of its text.
func trimmed(err error, prefix string) error {
	if text, ok := strings.CutPrefix(err.Error(), prefix); ok {
		return errorText(text)
	}
	return err
}

type errorText string

func (e errorText) Error() string { return string(e) }

// byNewest sorts rows by when their request was stored, newest first.
func byNewest(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(b.Received.Compare(a.Received.Time), cmp.Compare(b.Seq, a.Seq), cmp.Compare(a.OutTradeNo, b.OutTradeNo))
	})
}
