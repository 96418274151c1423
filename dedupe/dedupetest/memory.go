package dedupetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"time"

	"orderworker/dedupe"
)

// Memory is a dedupe.Cache and a dedupe.Journal in one process. It does no I/O, so it
// works in a testing/synctest bubble. Its journal keeps every record, unless SetLifetime
// says otherwise. It keeps every write to the cache, so that LoseWrites can undo it; so its
// size only grows.
type Memory struct {
	mu       sync.Mutex
	fault    func(op string) error
	now      func() time.Time
	entries  map[string]*entry // an entry is replaced, never changed
	writes   []write           // to the cache, oldest first
	born     time.Time         // birth mark of the cache; zero: none
	complete bool              // nothing was to be remembered before born
	journal  map[string]*record
	rev      uint64    // last revision of the journal
	created  time.Time // when the journal was created; zero: before every order
	lifetime func(dedupe.Record) time.Duration
}

type entry struct {
	dedupe.Entry
	parked  string    // the owner that parked it last
	until   time.Time // the end of the lease, or when the order is due; see Entry.Left
	expires time.Time // zero: never
}

// write is one write to the cache.
type write struct {
	at   time.Time
	undo func()
}

type record struct {
	dedupe.Record
	rev uint64
	at  time.Time // when it was written
}

var (
	_ dedupe.Cache   = (*Memory)(nil)
	_ dedupe.Journal = (*Memory)(nil)
)

// NewMemory returns an empty Memory that goes by time.Now.
func NewMemory() *Memory {
	return &Memory{now: time.Now, entries: map[string]*entry{}, journal: map[string]*record{}}
}

// SetFault sets the function that injects faults; nil: none. It is called before every
// operation with the operation's name: claim, complete, renew, park, remember, adopt,
// forget or look for the cache; read, write, created or used for the journal. After the
// operation it is called with "claim done" and so on. If it returns an error, the
// operation returns that: before the operation nothing has happened, after it only the
// reply is lost. fault may block, and may call methods of the Memory.
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

// ForgetAll empties the cache, as when Redis was wiped. The journal stays.
func (m *Memory) ForgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, born, complete := m.entries, m.born, m.complete
	m.entries, m.born, m.complete = map[string]*entry{}, time.Time{}, false
	m.writes = append(m.writes, write{m.now(), func() { m.entries, m.born, m.complete = old, born, complete }})
}

// LoseWrites undoes the last n writes to the cache, as when a replica takes over that
// has not received them. It reports whether there were n.
func (m *Memory) LoseWrites(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lose(n) == n
}

// LoseSince undoes all writes to the cache after then, as when Redis restarts from a
// snapshot.
func (m *Memory) LoseSince(then time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < len(m.writes) && m.writes[len(m.writes)-1-n].at.After(then) {
		n++
	}
	m.lose(n)
}

// lose undoes up to n writes and returns how many. Like redisstore.NoteServer, it
// restarts a birth mark that remains. The caller has locked m.mu.
func (m *Memory) lose(n int) int {
	n = min(n, len(m.writes))
	for range n {
		last := len(m.writes) - 1
		m.writes[last].undo()
		m.writes = m.writes[:last]
	}
	if n > 0 && !m.born.IsZero() {
		m.born, m.complete = m.now(), false
	}
	return n
}

// put writes an order's entry; nil deletes it.
func (m *Memory) put(outTradeNo string, e *entry, now time.Time) {
	old := m.entries[outTradeNo]
	m.writes = append(m.writes, write{now, func() { m.set(outTradeNo, old) }})
	m.set(outTradeNo, e)
}

// set is put that cannot be undone.
func (m *Memory) set(outTradeNo string, e *entry) {
	if e == nil {
		delete(m.entries, outTradeNo)
	} else {
		m.entries[outTradeNo] = e
	}
}

// ForgetJournal replaces the journal by a new, empty one.
func (m *Memory) ForgetJournal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.journal)
	m.created = m.now()
}

// SetLifetime makes the journal forget each record after lifetime of it; 0: never.
func (m *Memory) SetLifetime(lifetime func(dedupe.Record) time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lifetime = lifetime
}

// journalled returns the order's journal record; nil: there is none, or it has expired.
func (m *Memory) journalled(outTradeNo string, now time.Time) *record {
	r := m.journal[outTradeNo]
	if r == nil || m.lifetime == nil {
		return r
	}
	if ttl := m.lifetime(r.Record); ttl > 0 && now.Sub(r.at) >= ttl {
		return nil
	}
	return r
}

// SetJournalCreated sets when the journal was created; zero: before every order.
func (m *Memory) SetJournalCreated(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.created = at
}

// LoseEntries is ForgetAll that keeps the birth mark, as when a replica takes over that
// has received the mark and no entries.
func (m *Memory) LoseEntries() {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.entries
	m.entries = map[string]*entry{}
	m.writes = append(m.writes, write{m.now(), func() { m.entries = old }})
}

// do runs act with m.mu locked, between the two calls of the fault function.
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

// find returns a copy of the order's entry, with Left as of now; nil: there is none, or
// it has expired.
func (m *Memory) find(outTradeNo string, now time.Time) *entry {
	old := m.entries[outTradeNo]
	if old == nil || !old.expires.IsZero() && !now.Before(old.expires) {
		return nil
	}
	r := *old
	r.Left = max(0, r.until.Sub(now))
	return &r
}

func (m *Memory) Claim(ctx context.Context, o dedupe.Order, owner string, lease time.Duration) (e dedupe.Entry, taken bool, err error) {
	err = m.do(ctx, "claim", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		if r != nil {
			e = r.Entry
			again := r.Owner == owner
			if r.Fingerprint != o.Fingerprint || r.State == dedupe.StateFinal || !again && (r.Left > 0 || dedupe.OtherAccount(r.Account, o.Account)) {
				return nil
			}
		} else {
			r = &entry{Entry: dedupe.Entry{State: dedupe.StateClaimed, Fingerprint: o.Fingerprint, Account: o.Account, Seq: o.Seq, Expires: o.Expires}}
		}
		taken = true
		r.Owner, r.parked, r.until = owner, "", now.Add(lease)
		m.put(o.OutTradeNo, r, now)
		if e.State == "" || e.State == dedupe.StateReady && e.Owner == "" && e.Rev == 0 {
			e.Born = m.birth(now)
		}
		return nil
	})
	return e, taken, err
}

// birth returns Entry.Born for the claim that was just put. A missing birth mark is
// written as a part of that claim.
func (m *Memory) birth(now time.Time) time.Time {
	if m.born.IsZero() {
		m.born = now
		claim := &m.writes[len(m.writes)-1]
		undo := claim.undo
		claim.undo = func() { undo(); m.born, m.complete = time.Time{}, false }
	}
	if m.complete {
		return time.Time{}
	}
	return m.born
}

func (m *Memory) Complete(ctx context.Context, born time.Time) error {
	return m.do(ctx, "complete", func(now time.Time) error {
		if !m.complete && m.born.Equal(born) {
			m.complete = true
			m.writes = append(m.writes, write{now, func() { m.complete = false }})
		}
		return nil
	})
}

func (m *Memory) Renew(ctx context.Context, o dedupe.Order, owner string, rev uint64, lease time.Duration) error {
	return m.do(ctx, "renew", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		if r == nil {
			r = &entry{Entry: dedupe.Entry{State: dedupe.StateClaimed, Fingerprint: o.Fingerprint, Account: o.Account, Seq: o.Seq, Expires: o.Expires, Owner: owner}}
		}
		if r.Owner != owner {
			return dedupe.ErrLost
		}
		r.until = now.Add(lease)
		if rev != 0 {
			r.Rev = rev
		}
		m.put(o.OutTradeNo, r, now)
		return nil
	})
}

func (m *Memory) Park(ctx context.Context, o dedupe.Order, owner string, e dedupe.Entry, delay time.Duration) error {
	return m.do(ctx, "park", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		if r != nil && r.Owner != owner && !(r.Owner == "" && r.parked == owner) {
			return dedupe.ErrLost
		}
		e.Fingerprint, e.Account, e.Seq, e.Expires, e.Owner, e.Result = o.Fingerprint, o.Account, o.Seq, o.Expires, "", nil
		if e.Doubt != nil {
			d := *e.Doubt
			e.Doubt = &d
		}
		m.put(o.OutTradeNo, &entry{Entry: e, parked: owner, until: now.Add(max(0, delay))}, now)
		return nil
	})
}

func (m *Memory) Remember(ctx context.Context, o dedupe.Order, result []byte, ttl time.Duration) error {
	return m.do(ctx, "remember", func(now time.Time) error {
		if r := m.find(o.OutTradeNo, now); r != nil && r.State == dedupe.StateFinal {
			return nil
		}
		r := &entry{Entry: dedupe.Entry{State: dedupe.StateFinal, Fingerprint: o.Fingerprint, Account: o.Account, Seq: o.Seq, Result: bytes.Clone(result)}}
		if ttl > 0 {
			r.expires = now.Add(ttl)
		}
		m.put(o.OutTradeNo, r, now)
		return nil
	})
}

func (m *Memory) Adopt(ctx context.Context, o dedupe.Order, from string) error {
	return m.do(ctx, "adopt", func(now time.Time) error {
		r := m.find(o.OutTradeNo, now)
		if r == nil || r.State == dedupe.StateFinal || r.Account != from || r.Left > 0 {
			return nil
		}
		r.Account, r.Doubt = o.Account, nil
		m.put(o.OutTradeNo, r, now)
		return nil
	})
}

func (m *Memory) Forget(ctx context.Context, o dedupe.Order, owner string) (left time.Duration, err error) {
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

func (m *Memory) Look(ctx context.Context, outTradeNo string) (e dedupe.Entry, ok bool, err error) {
	err = m.do(ctx, "look", func(now time.Time) error {
		if r := m.find(outTradeNo, now); r != nil {
			e, ok = r.Entry, true
		}
		return nil
	})
	return e, ok, err
}

func (m *Memory) Read(ctx context.Context, outTradeNo string) (r dedupe.Record, rev uint64, err error) {
	err = m.do(ctx, "read", func(now time.Time) error {
		if w := m.journalled(outTradeNo, now); w != nil {
			r, rev = w.Record, w.rev
		}
		return nil
	})
	return r, rev, err
}

func (m *Memory) Created(ctx context.Context) (created time.Time, err error) {
	err = m.do(ctx, "created", func(time.Time) error { created = m.created; return nil })
	return created, err
}

func (m *Memory) Used(ctx context.Context) (used bool, err error) {
	err = m.do(ctx, "used", func(time.Time) error { used = m.rev > 0; return nil })
	return used, err
}

func (m *Memory) Write(ctx context.Context, outTradeNo string, r dedupe.Record, rev uint64) (next uint64, err error) {
	if len(r.Result) > 0 && !json.Valid(r.Result) {
		return 0, fmt.Errorf("write %s: %w: the result is not JSON", outTradeNo, dedupe.ErrBroken)
	}
	r.Result = bytes.Clone(r.Result)
	err = m.do(ctx, "write", func(now time.Time) error {
		old := m.journalled(outTradeNo, now)
		switch {
		case old != nil && old.State == r.State && old.Owner == r.Owner && reflect.DeepEqual(old.Record, r):
			next = old.rev
		case old != nil && old.rev != rev, old == nil && rev != 0:
			return dedupe.ErrLost
		default:
			m.rev++ // one count for all orders, like the sequence of a stream
			next = m.rev
			m.journal[outTradeNo] = &record{r, next, now}
		}
		return nil
	})
	return next, err
}
