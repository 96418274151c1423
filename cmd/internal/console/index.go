package console

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"orderworker/cmd/internal/operator"
	"orderworker/worker"
)

const (
	maxFinished = 200_000 // finished orders that the index has, the newest
	maxLetters  = 20_000  // dead letters that it has, the newest
	maxField    = 256     // bytes that it keeps of a field; valid ones are shorter
	chartLength = 60      // minutes
)

// Index is what the streams hold, in memory: the newest finished orders, all unfinished
// ones as far as the desk reads them, and the newest dead letters. It has a bound, so its
// memory does not grow with what has ever been ordered. It is safe for concurrent use.
type Index struct {
	mu       sync.RWMutex
	finished []entry // a ring once it is full
	next     int     // where the next one goes
	gone     int     // how many of them, the oldest, are no longer in their stream
	bound    int

	rows     []operator.Row    // unfinished orders, newest first
	ended    map[string]uint64 // orders that ended since the rows were read, and their request's place
	scanned  time.Time         // when the rows were read
	overview *operator.Overview
	counted  operator.Counts   // by the last scan that could read the orders
	unlisted uint64            // unfinished orders that it did not read: they are too many
	amiss    []operator.Store  // what the last scan could not ask, and judges orders by
	answers  bool              // every server, when it was asked last how it fares
	heard    bool              // the results are followed
	deaf     map[string]string // streams that are not followed, and why

	letters     []operator.DeadLetter // oldest first
	lettersLost uint64                // that it does not have, such as older ones beyond the bound

	minutes map[int64]*perMinute // by Unix time in minutes
	seconds [128]perSecond

	looked atomic.Int64  // when somebody looked last, Unix time in seconds
	poked  chan struct{} // somebody wants new rows
}

// entry is a finished order. A million orders differ in few messages and reasons, so these
// are kept once.
type entry struct {
	key                   string    // number, card, package and the vendor's order number, each followed by a NUL
	ends                  [3]uint16 // where the first three end
	succeeded             bool
	attempts              int32
	seq                   uint64 // of its request
	event                 uint64 // of its event
	received, completed   int64  // Unix time in milliseconds; noTime
	code, message, reason unique.Handle[string]
}

const noTime = math.MinInt64

type perMinute struct{ succeeded, failed int }

type perSecond struct {
	second int64
	ended  int
}

func (e *entry) number() string { return e.key[:e.ends[0]] }

// NewIndex returns an empty index that has at most bound finished orders.
func NewIndex(bound int) *Index {
	return &Index{
		bound: bound, ended: map[string]uint64{}, deaf: map[string]string{}, minutes: map[int64]*perMinute{}, poked: make(chan struct{}, 1),
		amiss:    []operator.Store{{Name: "orders", Error: "not read yet"}},
		overview: &operator.Overview{At: worker.Time{Time: time.Now()}, Errors: []string{"the servers were not asked yet"}, Counts: operator.UnknownCounts()},
		counted:  operator.UnknownCounts(),
	}
}

// Poke asks for the rows to be read anew soon: something was changed, or somebody looks.
func (x *Index) Poke() {
	select {
	case x.poked <- struct{}{}:
	default:
	}
}

// finish adds a finished order, whose event is at a place in the results stream.
func (x *Index) finish(r operator.Row, event uint64) {
	e := newEntry(&r)
	e.event = event
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.finished) < x.bound {
		x.finished = append(x.finished, e)
	} else {
		old := &x.finished[x.next]
		if x.ended[old.number()] == old.seq {
			delete(x.ended, old.number()) // or it would grow while no scan succeeds
		}
		x.finished[x.next], x.gone = e, max(x.gone-1, 0)
	}
	x.next = (x.next + 1) % x.bound
	x.ended[e.number()] = r.Seq
	x.count(&e, now)
}

// newEntry returns the entry of a row.
func newEntry(r *operator.Row) entry {
	e := entry{succeeded: r.State == operator.Succeeded, attempts: int32(r.Attempt), seq: r.Seq, received: milli(r.Received), completed: milli(r.Since)}
	key := make([]byte, 0, len(r.OutTradeNo)+len(r.ICCID)+len(r.PackageCode)+len(r.OrderNumber)+4)
	for i, field := range []string{r.OutTradeNo, r.ICCID, r.PackageCode, r.OrderNumber} {
		key = append(key, cut(field, maxField)...)
		if i < len(e.ends) {
			e.ends[i] = uint16(len(key))
		}
		key = append(key, 0)
	}
	e.key = string(key)
	code, message := "", ""
	if r.Last != nil {
		code, message = r.Last.Code, r.Last.Message
	}
	e.code, e.message, e.reason = unique.Make(cut(code, maxField)), unique.Make(cut(message, maxField)), unique.Make(cut(r.Reason, maxField))
	return e
}

func milli(t worker.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixMilli()
}

func fromMilli(ms int64) (t worker.Time) {
	if ms != noTime {
		t.Time = time.UnixMilli(ms).UTC()
	}
	return t
}

// row is the entry as a row of a list.
func (e *entry) row() operator.Row {
	r := operator.Row{
		OutTradeNo: e.number(), ICCID: e.key[e.ends[0]+1 : e.ends[1]], PackageCode: e.key[e.ends[1]+1 : e.ends[2]],
		OrderNumber: e.key[e.ends[2]+1 : len(e.key)-1], State: operator.Failed, Attempt: int(e.attempts), Refusals: int(e.attempts),
		Seq: e.seq, Received: fromMilli(e.received), Since: fromMilli(e.completed), Reason: e.reason.Value(),
	}
	if e.succeeded {
		r.State = operator.Succeeded
	}
	if code, message := e.code.Value(), e.message.Value(); code != "" || message != "" {
		r.Last = &operator.Answer{Code: code, Message: message}
	}
	return r
}

// count enters a finished order into the chart and the rate, by when it ended.
func (x *Index) count(e *entry, now time.Time) {
	at := time.UnixMilli(e.completed)
	if e.completed == noTime || now.Sub(at) > (chartLength+1)*time.Minute || at.Sub(now) > time.Minute {
		return
	}
	minute := at.Unix() / 60
	m := x.minutes[minute]
	if m == nil {
		m = new(perMinute)
		x.minutes[minute] = m
		for old := range x.minutes {
			if old < now.Unix()/60-chartLength-1 {
				delete(x.minutes, old)
			}
		}
	}
	if e.succeeded {
		m.succeeded++
	} else {
		m.failed++
	}
	s := &x.seconds[at.Unix()%int64(len(x.seconds))]
	switch {
	case s.second < at.Unix():
		*s = perSecond{at.Unix(), 1}
	case s.second == at.Unix():
		s.ended++
	}
}

// scan replaces the unfinished orders by those that were read since began.
func (x *Index) scan(o *operator.Overview, rows []operator.Row, endedBefore map[string]uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	o.Buying.KeepPause(x.overview.Buying, time.Now())
	if newer := x.overview; newer.At.After(o.At.Time) { // read meanwhile: a scan may take minutes
		o.Buying, o.Answers, o.Workers, o.Quota = newer.Buying, newer.Answers, newer.Workers, newer.Quota
	}
	if ordersRead(o) { // otherwise the last rows and counts stay
		x.keepDoubts(rows)
		x.rows, x.scanned, x.counted = rows, o.At.Time, o.Counts
		x.unlisted = o.Counts.Uncounted + o.Counts.Queued
		for i := range rows {
			if rows[i].State == operator.Queued && x.unlisted > o.Counts.Uncounted {
				x.unlisted--
			}
		}
		for number, seq := range endedBefore { // these were no longer in the stream, or were seen as finished
			if x.ended[number] == seq {
				delete(x.ended, number)
			}
		}
	} else {
		o.Counts = x.overview.Counts
		x.rows = slices.Clone(x.rows) // a reader may have the old ones
		for i := range x.rows {
			x.rows[i].Outdate(outdated(o))
		}
	}
	x.amiss = slices.DeleteFunc(slices.Clone(o.Stores), func(s operator.Store) bool { return s.OK || !slices.Contains(judging, s.Name) })
	x.show(o)
}

// judging are the stores by which a scan judges orders: what was wrong with one of them is
// true of the rows until the next scan.
var judging = []string{"orders", "journal", "results", "redis"}

// show replaces the overview by one with what else is wrong.
func (x *Index) show(o *operator.Overview) {
	for _, s := range x.amiss {
		if i := slices.IndexFunc(o.Stores, func(t operator.Store) bool { return t.Name == s.Name }); i >= 0 {
			o.Stores[i] = s
		} else {
			o.Stores = append(o.Stores, s)
		}
		if text := s.Name + ": " + s.Error; !slices.Contains(o.Errors, text) {
			o.Errors = append(o.Errors, text)
		}
	}
	for _, stream := range slices.Sorted(maps.Keys(x.deaf)) {
		if !away(o, "nats") { // otherwise that is why
			o.Errors = append(o.Errors, stream+": not followed, so lists of them are old: "+x.deaf[stream])
		}
	}
	x.overview = o
}

// away reports whether one of the stores could not be asked.
func away(o *operator.Overview, names ...string) bool {
	return slices.ContainsFunc(o.Stores, func(s operator.Store) bool { return !s.OK && slices.Contains(names, s.Name) })
}

// keepDoubts replaces those of the new rows that could not be looked at by what was read
// before, where that was a doubt.
func (x *Index) keepDoubts(rows []operator.Row) {
	before := map[uint64]*operator.Row{}
	for i := range x.rows {
		if r := &x.rows[i]; r.State == operator.InDoubt {
			before[r.Seq] = r
		}
	}
	for i := range rows {
		if r := before[rows[i].Seq]; r != nil && rows[i].State == operator.Unknown && r.OutTradeNo == rows[i].OutTradeNo {
			rows[i] = *r
			rows[i].Outdate("a store is away")
		}
	}
}

// ordersRead reports whether the stream of orders could be read.
func ordersRead(o *operator.Overview) bool {
	return !away(o, "nats", "orders")
}

// endedSoFar returns the orders that have ended since the rows were read.
func (x *Index) endedSoFar() map[string]uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	ended := make(map[string]uint64, len(x.ended))
	for number, seq := range x.ended {
		ended[number] = seq
	}
	return ended
}

// refresh replaces the overview, except for the counts that only a scan knows, or that
// could not be asked. Orders that ended before firstResult are no longer in their stream.
func (x *Index) refresh(o *operator.Overview, firstResult uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answers = len(o.Errors) == 0
	o.Counts = x.counted.With(o.Counts, x.overview.Counts)
	o.Buying.KeepPause(x.overview.Buying, time.Now())
	for n := len(x.finished); x.gone < n && x.newest(n-1-x.gone).event < firstResult; {
		x.gone++
	}
	x.show(o)
}

// late notes that the orders were not read within limit. It reports whether every server
// replied when it was last asked.
func (x *Index) late(limit time.Duration) (answers bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.amiss = []operator.Store{{Name: "orders", Error: fmt.Sprintf("not all were read within %v; the lists are older", limit)}}
	return x.answers
}

// followed notes whether a stream is followed.
func (x *Index) followed(stream string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.deaf, stream)
	if err != nil {
		x.deaf[stream] = err.Error()
	}
	if stream == "results" {
		x.heard = err == nil
	}
}

// forget removes the finished orders: their stream was made anew.
func (x *Index) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.finished, x.next, x.gone = nil, 0, 0
	x.minutes, x.seconds = map[int64]*perMinute{}, [128]perSecond{}
}
