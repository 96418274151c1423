package worker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// simKind is what a request is to its order.
type simKind uint8

const (
	theFirst  simKind = iota
	aCopy             // the same request again, under its own sequence
	aConflict         // the number with another packageCode
	broken            // the number, and nothing else that is valid
)

// simMsg is one request in the orders stream, a work queue with an ack wait.
type simMsg struct {
	seq    uint64
	o      *simOrder
	kind   simKind
	data   []byte
	stored time.Time
	count  uint64    // deliveries
	due    time.Time // of the next delivery: its ack wait, or the delay of a nak
	acked  bool
	buried bool // a dead letter is stored
}

// pullLimit is how long a pull of the fake waits: longer than the real one's
// second, because a simulated day has many of those.
const pullLimit = time.Minute

// publish stores an order's requests, from its own moment on.
func (w *simWorld) publish(o *simOrder) {
	for _, req := range append([]simRequest{{theFirst, o.arrives}}, o.more...) {
		payload := fmt.Sprintf(`{"outTradeNo":%q,"iccid":"8988308650100524999","packageCode":"P"}`, o.no)
		switch req.kind {
		case aConflict:
			payload = strings.Replace(payload, `"P"`, `"Q"`, 1)
		case broken:
			payload = fmt.Sprintf(`{"outTradeNo":%q}`, o.no)
		}
		if o.expires > 0 && req.kind != broken {
			at := w.begun.Add(o.arrives + o.expires).Format(time.RFC3339Nano)
			payload = strings.Replace(payload, "}", fmt.Sprintf(`,"expiresAt":%q}`, at), 1)
		}
		at := w.begun.Add(req.at)
		w.msgs = append(w.msgs, &simMsg{seq: uint64(len(w.msgs) + 1), o: o, kind: req.kind, data: []byte(payload), stored: at, due: at})
		w.open++
	}
}

// find returns the order of a number.
func (w *simWorld) find(no string) *simOrder {
	index, err := strconv.Atoi(no[strings.LastIndexByte(no, '-')+1:])
	if err != nil {
		panic(err)
	}
	return w.orders[index]
}

// taker is the slot that a request goes to next, -1 where none lives.
func (w *simWorld) taker(m *simMsg) int {
	first := 0
	if w.prefer != nil {
		first = w.prefer(m.o, m.count)
	}
	for i := range w.slots {
		slot := (first + i) % w.slots
		if p := w.procs[slot]; p != nil && p.soft.Err() == nil && (p.thaw.IsZero() || !time.Now().Before(p.thaw)) {
			return slot
		}
	}
	return -1
}

// wakeAll has every pull look again.
func (w *simWorld) wakeAll() {
	for _, p := range w.procs {
		if p == nil {
			continue
		}
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// overdue is when a request is delivered again, unless there is a heartbeat:
// never at the very moment at which a worker gives its own.
func (w *simWorld) overdue(m *simMsg) time.Time {
	return time.Now().Add(w.ackWait + w.chance(2, m.seq<<32|m.count).upTo(20*time.Millisecond))
}

// next returns the request that p gets now, nil and when to look again where
// there is none.
func (p *simProc) next(limit time.Time) (*simMsg, time.Time) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	p.waits = limit
	for len(w.msgs) > w.front && w.msgs[w.front].acked {
		w.front++
	}
	for _, m := range w.msgs[w.front:] {
		switch {
		case m.acked || m.due.After(p.waits) || w.taker(m) != p.slot:
		case m.due.After(now):
			p.waits = m.due
		default:
			return m, now
		}
	}
	return nil, p.waits
}

// redeliver has a request delivered at due, which may be earlier than a pull
// expects. The caller holds the mutex.
func (w *simWorld) redeliver(m *simMsg, due time.Time) {
	m.due = due
	if slot := w.taker(m); slot >= 0 && due.Before(w.procs[slot].waits) {
		select {
		case w.procs[slot].wake <- struct{}{}:
		default:
		}
	}
}

// simStream is JetStream as one process sees it.
type simStream struct{ p *simProc }

func (s simStream) AckWait() time.Duration { return s.p.w.ackWait }

func (s simStream) Pending(context.Context) (Backlog, error) { return Backlog{}, nil }

func (s simStream) Pull(ctx context.Context, n int, take func(*Delivery)) error {
	limit := time.Now().Add(pullLimit)
	for n > 0 {
		if left, dead := s.p.frozen(); left > 0 || dead {
			if err := s.p.pause(ctx, max(0, left)+time.Millisecond); err != nil { // not at the moment of the beat
				return err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		m, again := s.p.next(limit)
		if m == nil {
			if !again.Before(limit) && !time.Now().Before(limit) {
				return nil
			}
			s.p.w.wait(ctx, time.Until(again), s.p.wake)
			continue
		}
		d, err := s.deliver(ctx, m)
		if err != nil {
			return err
		}
		take(d)
		n--
	}
	return nil
}

// deliver hands a request over: from the server's side first, which begins the
// ack wait, then from the worker's.
func (s simStream) deliver(ctx context.Context, m *simMsg) (*Delivery, error) {
	w, o := s.p.w, m.o
	w.mu.Lock()
	pt, f := w.begin(o, s.p.slot, opPull, "")
	if f == failBefore || f == crashBefore {
		w.mu.Unlock()
		if f == crashBefore {
			return nil, s.p.die(ctx, o, pt)
		}
		return nil, errNotDone
	}
	m.count++
	m.due = w.overdue(m)
	d := &Delivery{Data: m.data, Seq: m.seq, Count: m.count, Stored: m.stored, Msg: simHandle{s.p, m, m.count}}
	w.mu.Unlock()
	switch f {
	case failAfter:
		return nil, errNoReply // delivered to nobody
	case crashAfter:
		return nil, s.p.die(ctx, o, pt)
	case hang:
		return d, s.p.pause(ctx, simHang) // long overdue when it comes
	case freeze:
		s.p.freeze()
		return d, s.p.arrive(ctx, pt)
	}
	w.lose(o, pt, f)
	return d, nil
}

// simHandle answers one delivery of a request.
type simHandle struct {
	p     *simProc
	m     *simMsg
	count uint64
}

// Ack drops the request, whichever delivery it belongs to: an ack is no fence.
func (h simHandle) Ack() error {
	return h.do(opAck, "", func(w *simWorld) {
		if h.m.acked {
			return
		}
		w.acked(h.m)
		h.m.acked = true
		if w.open--; w.open == 0 {
			close(w.idle)
		}
	})
}

// NakWithDelay counts for any delivery too.
func (h simHandle) NakWithDelay(delay time.Duration) error {
	return h.do(opNak, delay.String(), func(w *simWorld) { w.redeliver(h.m, time.Now().Add(delay)) })
}

func (h simHandle) InProgress() error {
	return h.do(opAlive, "", func(w *simWorld) { h.m.due = w.overdue(h.m) })
}

func (h simHandle) do(op simOp, note string, act func(*simWorld)) error {
	w := h.p.w
	_, err := simIO(h.p, h.p.life, h.m.o, op, note, func() (struct{}, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		act(w)
		return struct{}{}, nil
	})
	return err
}

// duplicates is the window of the results stream. What is no rejection is stored
// by compare-and-set, and so once.
const duplicates = time.Hour

// simStored is an event in the results stream.
type simStored struct {
	Event
	at time.Time
}

func (s simStream) Publish(ctx context.Context, e Event) ([]byte, error) {
	w, o := s.p.w, s.p.w.find(e.Subject)
	return simIO(s.p, ctx, o, opEvent, string(e.Status), func() ([]byte, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if final := o.finalBefore(e.Status); final != nil {
			return final, nil
		}
		w.published(o, e)
		known := slices.ContainsFunc(o.audit.events, func(old simStored) bool {
			return old.ID == e.ID && (e.Status != Rejected || time.Since(old.at) < duplicates) || old.Status.final() && e.Status == InDoubt
		})
		if !known {
			o.audit.events = append(o.audit.events, simStored{e, time.Now()})
			if e.Status == Succeeded {
				w.sales = append(w.sales, simSale{Control{OutTradeNo: o.no, OrderNumber: o.purchase().OrderNumber}, time.Now()})
			}
		}
		return nil, nil
	})
}

// finalBefore is the final event that keeps one of that status away: one of the same
// status, or a success where the order is said to have failed. The caller holds the mutex.
func (o *simOrder) finalBefore(s Status) []byte {
	finals, _ := o.finals()
	for _, e := range finals {
		if s.final() && (e.Status == s || e.Status == Succeeded) {
			return e.Payload
		}
	}
	return nil
}

func (s simStream) PublishDead(ctx context.Context, l DeadLetter) error {
	w := s.p.w
	m := w.msgs[l.Seq-1]
	_, err := simIO(s.p, ctx, m.o, opBury, string(l.Reason), func() (struct{}, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		m.buried = true
		return struct{}{}, nil
	})
	return err
}
