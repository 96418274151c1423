package dedupe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"time"
)

// Memory is both stores in one process, for tests and the demo of others. It
// does no I/O, so it works in a testing/synctest bubble. A final in the
// journal never expires here, and records are kept as they are, not spelled out.
// Every write can be lost again (see LoseWrites): not for long lives.
type Memory struct {
	mu      sync.Mutex
	fault   func(op string) error
	now     func() time.Time
	records map[string]*memoryRecord // each is replaced, never changed
	writes  []memoryWrite            // to records, so far
	born    time.Time                // the birth mark; zero: none
	whole   bool                     // and nothing was lost before
	journal map[string]*memoryWritten
	rev     uint64
	made    time.Time // the journal; zero: before everything
}

type memoryRecord struct {
	Entry
	parked  string    // the owner who gave it up last
	until   time.Time // of the lease, or when it is due; see Entry.Left
	expires time.Time // zero: never
}

// memoryWrite is one write to the records, and what takes it back.
type memoryWrite struct {
	at   time.Time
	undo func()
}

type memoryWritten struct {
	record Record
	rev    uint64
}

var (
	_ Cache   = (*Memory)(nil)
	_ Journal = (*Memory)(nil)
)

// NewMemory returns an empty Memory that goes by time.Now.
func NewMemory() *Memory {
	return &Memory{now: time.Now, records: map[string]*memoryRecord{}, journal: map[string]*memoryWritten{}}
}

// SetFault installs the fault switch. It is asked before every operation, with
// its name (claim, complete, renew, park, remember, adopt, forget, look; read, write, created and used of the
// journal), and after it with "claim done" and so on. An error ends the
// operation: before it nothing happened, after it everything did and the reply
// is lost. fault may block, and may use the Memory. nil: no faults.
func (m *Memory) SetFault(fault func(op string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// SetClock makes now the clock of leases, due times and expiry.
func (m *Memory) SetClock(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
}

// ForgetAll loses every record, as a Redis that was wiped. The journal stays.
func (m *Memory) ForgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, born, whole := m.records, m.born, m.whole
	m.records, m.born, m.whole = map[string]*memoryRecord{}, time.Time{}, false
	m.writes = append(m.writes, memoryWrite{m.now(), func() { m.records, m.born, m.whole = old, born, whole }})
}

// LoseWrites takes the last n writes to the records back, as a Redis whose
// replica had not got them when it took over. It says whether there were as many.
func (m *Memory) LoseWrites(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lose(n) == n
}

// LoseSince takes all writes to the records back that are later than then, as a
// Redis that begins again from a snapshot.
func (m *Memory) LoseSince(then time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < len(m.writes) && m.writes[len(m.writes)-1-n].at.After(then) {
		n++
	}
	m.lose(n)
}

// lose takes up to n writes back, and returns how many. A birth mark that is left
// is noted, see NoteServer. The caller holds the lock.
func (m *Memory) lose(n int) int {
	n = min(n, len(m.writes))
	for range n {
		last := len(m.writes) - 1
		m.writes[last].undo()
		m.writes = m.writes[:last]
	}
	if n > 0 && !m.born.IsZero() {
		m.born, m.whole = m.now(), false
	}
	return n
}

// put replaces an order's record, nil: by none.
func (m *Memory) put(outTradeNo string, r *memoryRecord, now time.Time) {
	old := m.records[outTradeNo]
	m.writes = append(m.writes, memoryWrite{now, func() { m.lay(outTradeNo, old) }})
	m.lay(outTradeNo, r)
}

func (m *Memory) lay(outTradeNo string, r *memoryRecord) {
	if r == nil {
		delete(m.records, outTradeNo)
	} else {
		m.records[outTradeNo] = r
	}
}

// ForgetJournal loses the journal, and begins a new one.
func (m *Memory) ForgetJournal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.journal)
	m.made = m.now()
}

// do runs act under the lock, between the two questions to the fault switch.
func (m *Memory) do(ctx context.Context, op string, act func(now time.Time) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	fault := m.fault
	m.mu.Unlock()
	if fault != nil {
		if err := fault(op); err != nil {
			return err
		}
	}
	m.mu.Lock()
	err := act(m.now())
	m.mu.Unlock()
	if err == nil && fault != nil {
		err = fault(op + " done")
	}
	return err
}

// find returns a copy of the order's record, nil where there is none any more,
// with Left reckoned from now.
func (m *Memory) find(outTradeNo string, now time.Time) *memoryRecord {
	old := m.records[outTradeNo]
	if old == nil || !old.expires.IsZero() && !now.Before(old.expires) {
		return nil
	}
	r := *old
	r.Left = max(0, r.until.Sub(now))
	return &r
}

func (m *Memory) Claim(ctx context.Context, o Order, owner string, lease time.Duration) (e Entry, taken bool, err error) {
	err = m.do(ctx, "claim", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		if r != nil {
			e = r.Entry
			again := r.Owner == owner
			if r.Fingerprint != o.Fingerprint || r.State == StateFinal || !again && (r.Left > 0 || otherAccount(r.Account, o.Account)) {
				return nil
			}
		} else {
			r = &memoryRecord{Entry: Entry{State: StateClaimed, Fingerprint: o.Fingerprint, Account: o.Account, Seq: o.Seq, Expires: o.Expires}}
		}
		taken = true
		r.Owner, r.parked, r.until = owner, "", now.Add(lease)
		m.put(o.OutTradeNo, r, now)
		if e.State == "" || e.State == StateReady && e.Owner == "" && e.Rev == 0 {
			e.Born = m.birth(now)
		}
		return nil
	})
	return e, taken, err
}

// birth is Entry.Born of a claim that was just put; it writes the mark where it is
// missing, as a part of that.
func (m *Memory) birth(now time.Time) time.Time {
	if m.born.IsZero() {
		m.born = now
		claim := &m.writes[len(m.writes)-1]
		undo := claim.undo
		claim.undo = func() { undo(); m.born, m.whole = time.Time{}, false }
	}
	if m.whole {
		return time.Time{}
	}
	return m.born
}

func (m *Memory) Complete(ctx context.Context, born time.Time) error {
	return m.do(ctx, "complete", func(now time.Time) error {
		if !m.whole && m.born.Equal(born) {
			m.whole = true
			m.writes = append(m.writes, memoryWrite{now, func() { m.whole = false }})
		}
		return nil
	})
}

func (m *Memory) Renew(ctx context.Context, o Order, owner string, rev uint64, lease time.Duration) error {
	return m.do(ctx, "renew", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		if r == nil {
			r = &memoryRecord{Entry: Entry{State: StateClaimed, Fingerprint: o.Fingerprint, Account: o.Account, Seq: o.Seq, Expires: o.Expires, Owner: owner}}
		}
		if r.Owner != owner {
			return ErrLost
		}
		r.until = now.Add(lease)
		if rev != 0 {
			r.Rev = rev
		}
		m.put(o.OutTradeNo, r, now)
		return nil
	})
}

func (m *Memory) Park(ctx context.Context, o Order, owner string, e Entry, delay time.Duration) error {
	return m.do(ctx, "park", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		if r != nil && r.Owner != owner && !(r.Owner == "" && r.parked == owner) {
			return ErrLost
		}
		e.Fingerprint, e.Account, e.Seq, e.Expires, e.Owner, e.Result = o.Fingerprint, o.Account, o.Seq, o.Expires, "", nil
		if e.Doubt != nil {
			d := *e.Doubt
			e.Doubt = &d
		}
		m.put(o.OutTradeNo, &memoryRecord{Entry: e, parked: owner, until: now.Add(max(0, delay))}, now)
		return nil
	})
}

func (m *Memory) Remember(ctx context.Context, o Order, result []byte, ttl time.Duration) error {
	return m.do(ctx, "remember", func(now time.Time) error {
		if r := m.find(o.OutTradeNo, now); r != nil && r.State == StateFinal {
			return nil
		}
		r := &memoryRecord{Entry: Entry{State: StateFinal, Fingerprint: o.Fingerprint, Seq: o.Seq, Result: bytes.Clone(result)}}
		if ttl > 0 {
			r.expires = now.Add(ttl)
		}
		m.put(o.OutTradeNo, r, now)
		return nil
	})
}

func (m *Memory) Adopt(ctx context.Context, o Order, from string) error {
	return m.do(ctx, "adopt", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		if r == nil || r.State == StateFinal || r.Account != from || r.Left > 0 {
			return nil
		}
		r.Account, r.Doubt = o.Account, nil
		m.put(o.OutTradeNo, r, now)
		return nil
	})
}

func (m *Memory) Forget(ctx context.Context, o Order, owner string) (left time.Duration, err error) {
	err = m.do(ctx, "forget", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		switch {
		case r == nil:
		case r.Owner != "" && r.Owner != owner && r.Left > 0:
			left = r.Left
		case r.Owner == owner || r.Fingerprint != o.Fingerprint:
			m.put(o.OutTradeNo, nil, now)
		}
		return nil
	})
	return left, err
}

func (m *Memory) Look(ctx context.Context, outTradeNo string) (e Entry, ok bool, err error) {
	err = m.do(ctx, "look", func(now time.Time) error {
		if r := m.find(outTradeNo, now); r != nil {
			e, ok = r.Entry, true
		}
		return nil
	})
	return e, ok, err
}

func (m *Memory) Read(ctx context.Context, outTradeNo string) (r Record, rev uint64, err error) {
	err = m.do(ctx, "read", func(time.Time) error {
		if w := m.journal[outTradeNo]; w != nil {
			r, rev = w.record, w.rev
		}
		return nil
	})
	return r, rev, err
}

func (m *Memory) Created(ctx context.Context) (made time.Time, err error) {
	err = m.do(ctx, "created", func(time.Time) error { made = m.made; return nil })
	return made, err
}

func (m *Memory) Used(ctx context.Context) (used bool, err error) {
	err = m.do(ctx, "used", func(time.Time) error { used = m.rev > 0; return nil })
	return used, err
}

func (m *Memory) Write(ctx context.Context, outTradeNo string, r Record, rev uint64) (next uint64, err error) {
	if len(r.Result) > 0 && !json.Valid(r.Result) {
		return 0, fmt.Errorf("write %s: %w: the result is not JSON", outTradeNo, ErrBroken)
	}
	r.Result = bytes.Clone(r.Result)
	err = m.do(ctx, "write", func(time.Time) error {
		old := m.journal[outTradeNo]
		switch {
		case old != nil && old.record.State == r.State && old.record.Owner == r.Owner && reflect.DeepEqual(old.record, r):
			next = old.rev
		case old != nil && old.rev != rev, old == nil && rev != 0:
			return ErrLost
		default:
			m.rev++ // over all orders, like a stream's: never used twice
			next = m.rev
			m.journal[outTradeNo] = &memoryWritten{r, next}
		}
		return nil
	})
	return next, err
}
