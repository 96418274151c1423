package operator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"orderworker/dedupe"
	"orderworker/worker/natsio"
)

// DefaultLimit is how many orders a list has, unless it is asked for more.
const DefaultLimit = 100

// Filter says which orders a list has.
type Filter struct {
	State State // "": all that are not finished
	Limit int   // 0: DefaultLimit
}

// List is a list of orders, newest first, with the overview that was made on the way.
type List struct {
	*Overview
	Orders []Row `json:"orders"`
	More   bool  `json:"more"` // there are more than the limit, or than could be read
}

// Orders returns a list of orders. What could not be asked is among the errors of its
// overview.
func (d *Desk) Orders(ctx context.Context, f Filter) *List {
	enter := d.countFailed(ctx)
	l := d.orders(ctx, f)
	enter(l.Overview)
	return l
}

func (d *Desk) orders(ctx context.Context, f Filter) *List {
	limit := cmp.Or(f.Limit, DefaultLimit)
	if f.State.Finished() {
		return d.finished(ctx, f.State, limit)
	}
	queued := limit
	if f.State != "" && f.State != Queued {
		queued = 0
	}
	o, rows := d.scan(ctx, func(r *Row) bool { return f.State == "" && r.Open() || r.State == f.State }, queued)
	l := &List{Overview: o, Orders: rows}
	if len(l.Orders) > limit {
		l.Orders, l.More = l.Orders[:limit], true
	}
	l.More = l.More || o.Counts.Uncounted > 0
	return l
}

// finished returns the newest events of a final state, and the orders whose event a worker
// has to publish yet.
func (d *Desk) finished(ctx context.Context, s State, limit int) *List {
	o, unpublished := d.scan(ctx, func(r *Row) bool { return r.State == s && r.Unpublished }, 0)
	l := &List{Overview: o, Orders: []Row{}}
	if o.away("nats") {
		return l
	}
	older, err := d.Finished(ctx, s, limit, func(r Row) { l.Orders = append(l.Orders, r) })
	if err != nil {
		o.failed("results", err)
	}
	slices.Reverse(l.Orders)
	l.Orders = append(unpublished, l.Orders...)
	l.More = older > 0 || len(l.Orders) > limit
	l.Orders = l.Orders[:min(limit, len(l.Orders))]
	return l
}

// Finished calls take with the newest orders that ended in state s, oldest first, limit
// at most; "" is both final states. It returns how many older ones there are.
func (d *Desk) Finished(ctx context.Context, s State, limit int, take func(Row)) (older uint64, err error) {
	var subjects []string
	for _, state := range []State{Succeeded, Failed} {
		if s == "" || s == state {
			subjects = append(subjects, d.ResultsSubject+"."+string(state)+".*")
		}
	}
	return d.events(ctx, subjects, limit, func(m natsio.Stored) {
		if row, ok := finishedRow(m, d.ResultsSubject); ok {
			take(row)
		}
	})
}

// Unfinished returns every order that is not finished, newest first, up to d.ScanLimit of
// those that workers have taken and limit of those that wait for one, with the overview.
func (d *Desk) Unfinished(ctx context.Context, limit int) (*Overview, []Row) {
	return d.scan(ctx, func(*Row) bool { return true }, limit)
}

// scan looks at the orders in their stream and makes the overview. It returns the rows
// that are wanted, newest first, all of those that it has read. Of the requests that no worker
// has taken, which are counted without being read, it reads as many as limit.
func (d *Desk) scan(ctx context.Context, wanted func(*Row) bool, limit int) (*Overview, []Row) {
	now := time.Now()
	o := &Overview{At: timeOf(now), Errors: []string{}, Counts: UnknownCounts()}
	redisErr := d.begin(ctx, o)
	rows := []Row{}
	if o.away("nats") {
		return o, rows
	}
	if dead, err := d.info(ctx, d.DeadStream); err != nil {
		o.failed("dead letters", err)
	} else {
		o.Counts.Dead = dead.State.Msgs
		o.Counts.know(countsOfDead)
	}
	if results, err := d.info(ctx, d.ResultsStream); err != nil {
		o.failed("results", err)
	} else {
		o.Counts.Finished = results.State.Msgs
		o.Counts.know(countsOfResults)
	}
	orders, err := d.info(ctx, d.OrdersStream)
	if err != nil {
		o.failed("orders", err)
		return o, rows
	}
	delivered, pending := orders.State.LastSeq, uint64(0)
	if consumer, err := d.consumerInfo(ctx); err != nil { // no worker has ever run, or it may not be asked
		o.failed("consumer", err)
	} else {
		delivered, pending = consumer.Delivered.Stream, consumer.NumPending
		o.Counts.know(countsOfConsumer)
	}
	o.Counts.know(countsOfScan) // what of it cannot be read is uncounted
	take := func(row Row) {
		if wanted(&row) {
			rows = append(rows, row)
		}
	}
	taken, err := d.taken(ctx, orders.State.FirstSeq, delivered, redisErr, o, take)
	if err != nil {
		o.failed("orders", err)
	}
	if all := orders.State.Msgs; all > pending+taken {
		o.Counts.Uncounted = all - pending - taken
	}
	if limit > 0 {
		queued := 0
		_, err = d.newest(ctx, d.OrdersStream, d.OrdersSubject, max(delivered+1, orders.State.FirstSeq), orders.State.LastSeq, limit+1, func(m natsio.Stored) {
			queued++
			row := rowOf(requestIn(m), facts{now: now, buying: o.Buying, policy: d.policy()})
			rows = append(rows, row)
		}, func() bool { return queued > limit })
		if err != nil {
			o.failed("orders", err)
		}
		o.unread = pending - min(pending, uint64(queued))
	}
	o.Counts.Queued += pending
	if first := orders.State.FirstTime; orders.State.Msgs > 0 && (o.Counts.Oldest.IsZero() || first.Before(o.Counts.Oldest.Time)) {
		o.Counts.Oldest = timeOf(first)
	}
	byNewest(rows)
	return o, rows
}

// taken reads the newest d.ScanLimit requests that workers have taken and not finished, and what
// is known of their orders. It counts the orders in o and calls take with the row of each.
// It returns the number of requests.
func (d *Desk) taken(ctx context.Context, first, last uint64, redisErr error, o *Overview, take func(Row)) (uint64, error) {
	var requests []Request
	_, failed := d.newest(ctx, d.OrdersStream, d.OrdersSubject, first, last, d.ScanLimit, func(m natsio.Stored) {
		requests = append(requests, requestIn(m))
	}, func() bool { return len(requests) >= d.ScanLimit })
	now := time.Now()
	cache := d.cache
	if redisErr != nil {
		cache = awayCache{err: redisErr}
	}
	var mu sync.Mutex
	err := d.about(ctx, d.JournalStream, func(ctx context.Context, l *link) error {
		store := dedupe.New(cache, &scanJournal{Journal: l.journal}, l.results, dedupe.Config{FinalTTL: d.DedupeTTL, JournalTTL: d.JournalTTL})
		d.eachOf(requests, func(r Request) {
			f := facts{delivered: true, buying: o.Buying, now: now, call: d.UpstreamTimeout, policy: d.policy()}
			if r.Invalid == nil {
				f.known, _ = store.Look(ctx, r.OutTradeNo) // the errors are in what is known
			}
			row := rowOf(r, f)
			mu.Lock()
			defer mu.Unlock()
			if err := errors.Join(f.known.JournalErr, f.known.CreatedErr); err != nil {
				o.once("journal", because(ctx, err))
			}
			if f.known.EventErr != nil {
				o.once("results", because(ctx, f.known.EventErr))
			}
			if redisErr == nil && f.known.CacheErr != nil {
				o.once("redis", f.known.CacheErr)
			}
			o.Counts.count(&row)
			take(row)
		})
		return nil
	})
	if err != nil { // nothing was looked at
		return 0, cmp.Or(failed, err)
	}
	return uint64(len(requests)), failed
}

// because is err, or why ctx has ended.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// awayCache is a cache that cannot be asked. Only Look may be called: the embedded Cache is
// nil.
type awayCache struct {
	dedupe.Cache
	err error
}

func (c awayCache) Look(context.Context, string) (dedupe.Entry, bool, error) {
	return dedupe.Entry{}, false, c.err
}

// scanJournal is the journal during one scan: it is asked once when it was created.
type scanJournal struct {
	dedupe.Journal
	once    sync.Once
	created time.Time
	err     error
}

func (j *scanJournal) Created(ctx context.Context) (time.Time, error) {
	j.once.Do(func() { j.created, j.err = j.Journal.Created(ctx) })
	return j.created, j.err
}

// once notes that a store could not be asked, unless that was noted before.
func (o *Overview) once(store string, err error) {
	for _, s := range o.Stores {
		if s.Name == store && !s.OK {
			return
		}
	}
	o.failed(store, err)
}

// eachOf calls do for each request, for some of them at the same time.
func (d *Desk) eachOf(requests []Request, do func(Request)) {
	next := make(chan Request)
	var all sync.WaitGroup
	for range min(readers, len(requests)) {
		all.Go(func() {
			for r := range next {
				do(r)
			}
		})
	}
	for _, r := range requests {
		next <- r
	}
	close(next)
	all.Wait()
}
