package console

import (
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
	bound    int

	rows     []operator.Row    // unfinished orders, newest first
	ended    map[string]uint64 // orders that ended since the rows were read, and their request's place
	scanned  time.Time         // when the rows were read
	overview *operator.Overview

	letters     []operator.DeadLetter // oldest first
	lettersLost uint64                // older ones, beyond the bound

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
	seq                   uint64
	received, completed   int64 // Unix time in milliseconds; noTime
	code, message, reason unique.Handle[string]
}

const noTime = math.MinInt64

type perMinute struct{ succeeded, failed int }

type perSecond struct {
	second int64
	ended  int
}

// NewIndex returns an empty index that has at most bound finished orders.
func NewIndex(bound int) *Index {
	return &Index{
		bound: bound, ended: map[string]uint64{}, minutes: map[int64]*perMinute{}, poked: make(chan struct{}, 1),
		overview: &operator.Overview{At: worker.Time{Time: time.Now()}, Errors: []string{"the servers were not asked yet"}},
	}
}

// Poke asks for the rows to be read anew soon: something was changed, or somebody looks.
func (x *Index) Poke() {
	select {
	case x.poked <- struct{}{}:
	default:
	}
}

// finish adds a finished order.
func (x *Index) finish(r operator.Row) {
	e := newEntry(&r)
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.finished) < x.bound {
		x.finished = append(x.finished, e)
	} else {
		x.finished[x.next] = e
	}
	x.next = (x.next + 1) % x.bound
	x.ended[r.OutTradeNo] = r.Seq
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
		OutTradeNo: e.key[:e.ends[0]], ICCID: e.key[e.ends[0]+1 : e.ends[1]], PackageCode: e.key[e.ends[1]+1 : e.ends[2]],
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
	if ordersRead(o) { // while NATS is away, the last rows stay
		x.rows, x.scanned = rows, o.At.Time
		for number, seq := range endedBefore { // these were no longer in the stream, or were seen as finished
			if x.ended[number] == seq {
				delete(x.ended, number)
			}
		}
	}
	x.overview = o
}

// ordersRead reports whether the stream of orders could be read.
func ordersRead(o *operator.Overview) bool {
	return !slices.ContainsFunc(o.Stores, func(s operator.Store) bool { return !s.OK && (s.Name == "nats" || s.Name == "orders") })
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

// refresh replaces the overview, except for the counts that only a scan knows.
func (x *Index) refresh(o *operator.Overview) {
	x.mu.Lock()
	defer x.mu.Unlock()
	counts := x.overview.Counts
	counts.Queued, counts.Dead, counts.Finished = o.Counts.Queued, o.Counts.Dead, o.Counts.Finished
	o.Counts = counts
	x.overview = o
}

// forget removes the finished orders: their stream was made anew.
func (x *Index) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.finished, x.next = nil, 0
	x.minutes, x.seconds = map[int64]*perMinute{}, [128]perSecond{}
}
