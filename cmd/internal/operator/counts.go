package operator

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
)

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
	Oldest       worker.Time `json:"oldest,omitzero"`      // when the oldest unfinished order was received
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

// UnknownCounts returns the counts before anything was asked: none of them is known.
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
		if <-done == nil { // otherwise it stays one of the counts that are not known
			o.Counts.FailedLately = n
			o.Counts.know(countsOfFailed)
		}
	}
}
