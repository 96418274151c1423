//go:debug randseednop=0

package worker

import (
	"fmt"
	"math/rand"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
)

// The simulation runs the real worker and the real dedupe.Store in a synctest
// bubble, between fakes of everything that can fail. Read this file (a world),
// sim_process_test.go (its workers), then sim_fault_test.go (what goes wrong at
// a point), sim_stream_test.go, sim_stores_test.go and sim_vendor_test.go (the
// fakes), sim_audit_test.go (the invariants), then the tests: crash_test.go,
// sim_faults_test.go (each fault, each pair) and sim_random_test.go.

// simConfig is a world to be: it is run once, and the same config gives the
// same run.
type simConfig struct {
	seed        uint64
	orders      []simSpec
	slots       int // workers that run side by side; one that crashes is started again
	concurrency int
	rules       Rules
	ackWait     time.Duration
	metrics     *Metrics
	fault       func(simPoint) simFault                     // what goes wrong where
	prefer      func(o *simOrder, count uint64) int         // which slot gets a delivery, while it lives
	away        func(op simOp, at time.Duration) bool       // what does not answer at all then
	picky       bool                                        // the vendor refuses a number that it has sold
	unsold      bool                                        // nothing was ever sold: there is no control number at first
	form        simRows                                     // of the lookup
	sold        simState                                    // of the package of the old control number
	missing     simMissing                                  // what no state means to the lookup
	dims        []simDim                                    // when the lookup does not show what was bought
	halts       []simHalt                                   // when an operator pauses
	bans        []simBan                                    // when the account is refused
	stays       bool                                        // the orders stay in doubt, and rightly so
	journalTTL  time.Duration                               // JOURNAL_TTL; 0: nothing expires
	aged        bool                                        // the journal has an age limit too
	wipes       []time.Duration                             // when Redis forgets everything
	falls       map[time.Duration]time.Duration             // when Redis falls back to an older state, and how old
	stops       map[time.Duration]int                       // when which slot is asked to stop, as a rolling restart does
	until       time.Duration                               // the longest that it may take; 0: simLongest
	watch       func(w *simWorld)                           // looks at the world five times a second
	crashed     func(w *simWorld, o *simOrder, pt simPoint) // told of each crash that a point has
}

const (
	simLongest  = 3 * time.Hour
	simAckWait  = 30 * time.Second
	simRestart  = 2 * time.Second           // from a crash to the next start
	simHang     = 91_237 * time.Millisecond // long enough for another worker to come to the end; no multiple of a beat
	simLate     = 20 * time.Second          // from a lost reply to a stray effect
	simShutdown = 20 * time.Second
	simShort    = 10 * time.Millisecond // waits up to that are not cut off
	simSettle   = 5 * time.Second       // longer than any pause between two operations of one order
)

// simWorld is everything outside the workers. One mutex guards it, which
// is never locked while a goroutine waits.
type simWorld struct {
	simConfig
	begun  time.Time
	memory *dedupetest.Memory
	orders []*simOrder

	mu         sync.Mutex
	procs      []*simProc // by slot: the one that runs there now
	msgs       []*simMsg
	front      int // of msgs: all before it are acked
	open       int // requests in the stream
	idle       chan struct{}
	over       bool
	underway   int // operations, and effects of some whose process is gone
	running    sync.WaitGroup
	timers     []*time.Timer // at rest
	purchases  int
	sales      []simSale // successes in the results stream
	injected   int
	lostAll    bool // Redis was thrown back to before its first write
	violations []string
}

// simOrder is one outTradeNo: what the world does to it, and what became of it.
type simOrder struct {
	simSpec
	index  int
	no     string
	seen   [simSlots][simOps]int // operations so far
	log    []simEvent
	parked time.Time // the last time, in Redis
	book   simBook
	audit  simAudit
}

// simSlots is the most workers at a time.
const simSlots = 3

// simEvent is one line of an order's log.
type simEvent struct {
	at    time.Duration
	note  string
	n     int32
	slot  int8
	op    simOp
	fault simFault
	point bool // an operation began; else it is news
}

func (e simEvent) String() string {
	s := fmt.Sprintf("%14v  worker %d  %v %d", e.at, e.slot, e.op, e.n)
	if e.fault != fine {
		s += "  FAULT " + e.fault.String()
	}
	return s + "  " + e.note
}

// simulate runs a world to its end. It must be called in a bubble, and one
// world runs at a time: the jitter of the waits comes from math/rand's own source.
func simulate(c simConfig) *simWorld {
	rand.Seed(int64(c.seed)) //nolint:staticcheck // SA1019: with the setting above it does what it says
	w := &simWorld{simConfig: c, begun: time.Now(), memory: dedupetest.NewMemory(), idle: make(chan struct{})}
	w.memory.SetLifetime(w.lifetime)
	for i, spec := range c.orders {
		o := &simOrder{simSpec: spec, index: i, no: fmt.Sprintf("%d-%d", c.seed%1e9, i), log: make([]simEvent, 0, 24)}
		w.orders = append(w.orders, o)
		w.publish(o)
	}
	w.procs = make([]*simProc, c.slots)
	for slot := range w.procs {
		time.AfterFunc(w.chance(4, uint64(slot)).upTo(time.Second), func() { w.start(slot) })
	}
	for _, at := range c.wipes {
		time.AfterFunc(at, w.memory.ForgetAll)
	}
	for at, age := range c.falls {
		time.AfterFunc(at, func() { w.memory.LoseSince(time.Now().Add(-age)) })
	}
	if c.watch != nil {
		w.later(0, func() { w.look() })
	}
	for at, slot := range c.stops {
		time.AfterFunc(at, func() { w.stop(slot) })
	}
	longest := c.until
	if longest == 0 {
		longest = simLongest
	}
	select {
	case <-w.idle:
		for time.Sleep(simSettle); w.busy(); { // whoever is late may do his worst now
			time.Sleep(simSettle)
		}
	case <-time.After(longest):
		if !w.stays {
			w.violate(nil, "not every order ended")
		}
	}
	w.end()
	return w
}

// lifetime is how long the journal keeps a record. An intent lives shorter than in the
// program, just as long as it has to: so what rests on one that is gone shows sooner.
func (w *simWorld) lifetime(r dedupe.Record) time.Duration {
	const longerThanACall = 20 * time.Second
	ttl := r.Lifetime(w.journalTTL)
	if w.journalTTL > 0 && r.State != dedupe.StateFinal && (ttl > 0 || w.aged) {
		return w.journalTTL + longerThanACall
	}
	return ttl
}

// look has the world watched until it is over.
func (w *simWorld) look() {
	w.mu.Lock()
	over := w.over
	w.mu.Unlock()
	if !over {
		w.watch(w)
		time.AfterFunc(197*time.Millisecond, w.look)
	}
}

// simAlone has the goroutines of a test run one at a time until it ends, in the
// order in which they are woken: so a seed replays even where several wait for
// the same thing. It is faster too; two processes use two cores.
func simAlone(t *testing.T) {
	procs, gc := runtime.GOMAXPROCS(1), debug.SetGCPercent(400)
	t.Cleanup(func() { runtime.GOMAXPROCS(procs); debug.SetGCPercent(gc) })
}

// end stops every worker and waits for all that is under way.
func (w *simWorld) end() {
	w.mu.Lock()
	w.over = true
	for _, p := range w.procs {
		if p != nil {
			p.stop()
		}
	}
	w.wakeAll()
	w.mu.Unlock()
	w.running.Wait()
	for w.busy() {
		time.Sleep(simSettle)
	}
	for _, o := range w.orders {
		w.judge(o)
	}
}

// busy says that something is under way.
func (w *simWorld) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.underway > 0 || slices.ContainsFunc(w.procs, func(p *simProc) bool { return p != nil && time.Now().Before(p.thaw) })
}

// note adds a line to an order's log.
func (w *simWorld) note(o *simOrder, slot int, op simOp, n int, f simFault, note string) {
	o.log = append(o.log, simEvent{time.Since(w.begun), note, int32(n), int8(slot), op, f, false})
}

// violate notes a broken promise; o may be nil.
func (w *simWorld) violate(o *simOrder, format string, args ...any) {
	text := fmt.Sprintf("%v: ", time.Since(w.begun)) + fmt.Sprintf(format, args...)
	if o != nil {
		text = o.no + " at " + text
		w.note(o, -1, opWorld, 0, fine, "VIOLATION "+text)
	}
	if len(w.violations) < 20 {
		w.violations = append(w.violations, text)
	}
}

// report is what a failing test prints: what broke, and the log of each order
// that broke.
func (w *simWorld) report() string {
	s := fmt.Sprintf("%d violations\n", len(w.violations))
	for _, v := range w.violations {
		s += "  " + v + "\n"
	}
	for _, o := range w.orders {
		broke := len(w.orders) == 1 || slices.ContainsFunc(o.log, func(e simEvent) bool { return e.op == opWorld })
		if !broke {
			continue
		}
		s += fmt.Sprintf("order %s: %v\n", o.no, o.simSpec)
		for _, e := range o.log {
			s += "  " + e.String() + "\n"
		}
	}
	return s
}
