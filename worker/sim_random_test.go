package worker

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	simOrders = flag.Int("sim.orders", 10_000, "simulated orders with random schedules; more than one world has them all")
	simSeed   = flag.Uint64("sim.seed", 1, "seed of the first random world; the next has the next")
	simFor    = flag.Duration("sim.for", 0, "run random worlds for that long instead")
)

// simWindow is a time in which some operations do not work.
type simWindow struct {
	from, to time.Duration
	ops      []simOp
	fault    simFault
}

// What is out when one server is out.
var simServers = [][]simOp{
	{opClaim, opPark, opNoted, opForget, opRenew, opSlot, opAskSlot},                              // Redis
	{opRead, opIntent, opReady, opFinal, opEnded, opEvent, opBury, opAck, opNak, opAlive, opPull}, // NATS
	{opLookup},                     // the vendor's lookup
	{opSold, opEnded},              // the results stream, where it is read
	{opIntent, opReady, opFinal},   // the journal's leader
	{opPlace},                      // the vendor
	{opPlace, opLookup, opConnect}, // the vendor, whole
}

// simQuiet is from when on nothing goes wrong any more.
const simQuiet = time.Hour

// randomWorld is the world of a seed.
func randomWorld(seed uint64) simConfig {
	chance := func(what, n uint64) simChance { return newChance(seed, 100+what, n) }
	slots := 1 + chance(1, 0).of(simSlots)
	orders := 5 + chance(2, 0).of(40)
	calm := chance(21, 0).of(4) > 0 // most of its orders are sold at once, as most are in life
	if calm {
		orders *= 5
	}
	c := simConfig{
		seed: seed, slots: slots, concurrency: []int{3, 16, 100}[chance(3, 0).of(3)],
		ackWait: []time.Duration{10 * time.Second, 30 * time.Second}[chance(4, 0).of(2)],
		rules: Rules{
			MaxAttempts: []int{1, 3, 8}[chance(5, 0).of(3)], LookupStates: []int64{1, 0, 2},
			Backoff:   Backoff{Initial: time.Second, Multiplier: 2, Max: time.Minute},
			Reconcile: Lookup, ReconcileDelay: []time.Duration{12 * time.Second, time.Minute, 10 * time.Minute}[chance(6, 0).of(3)],
			InDoubtNotice: []time.Duration{10 * time.Second, 5 * time.Minute}[chance(7, 0).of(2)], UpstreamTimeout: simTimeout,
		},
		prefer: func(o *simOrder, count uint64) int { return chance(8, uint64(o.index)<<20|count).of(slots) },
		stops:  map[time.Duration]int{},
		falls:  map[time.Duration]time.Duration{},
	}
	if chance(9, 0).of(5) == 0 { // this policy asks for a vendor that refuses repeats
		c.rules.Reconcile, c.picky = Resend, true
	}
	for i := range orders {
		c.orders = append(c.orders, randomOrder(newChance(seed, 200, uint64(i)), c.rules.Reconcile, calm))
	}
	randomVendor(&c, chance)
	// Longer than a pause by an operator and an outage keep an order from being delivered: an
	// order that nobody looks at for JOURNAL_TTL may be forgotten.
	if c.journalTTL = []time.Duration{0, 10 * time.Minute, 20 * time.Minute}[chance(26, 0).of(3)]; c.unsold {
		c.journalTTL = 0 // the first purchase, if it came to be in doubt unsent, would stay so without a control number
	}
	c.aged = chance(27, 0).of(2) == 0
	for n := range uint64(chance(10, 0).of(4)) {
		c.wipes = append(c.wipes, chance(11, n).upTo(5*time.Minute))
	}
	for n := range uint64(chance(22, 0).of(4)) {
		longest := []time.Duration{time.Second, time.Minute}[chance(25, n).of(2)]
		c.falls[chance(23, n).upTo(5*time.Minute)] = chance(24, n).upTo(longest)
	}
	for n := range uint64(chance(12, 0).of(3)) {
		c.stops[chance(13, n).upTo(3*time.Minute)] = chance(14, n).of(slots)
	}
	var windows []simWindow
	for n := range uint64(max(0, chance(15, 0).of(6)-2)) {
		from := chance(16, n).upTo(3 * time.Minute)
		windows = append(windows, simWindow{
			from, from + chance(17, n).upTo(90*time.Second), simServers[chance(18, n).of(len(simServers))],
			[]simFault{failBefore, failAfter, hang}[chance(19, n).of(3)],
		})
	}
	for n := range uint64(max(0, chance(50, 0).of(6)-3)) {
		from := chance(51, n).upTo(3 * time.Minute)
		c.halts = append(c.halts, simHalt{from, from + chance(52, n).upTo([]time.Duration{5 * time.Second, 5 * time.Minute}[chance(53, n).of(2)]), chance(54, n).of(3) == 0})
	}
	perMille := []int{0, 3, 10, 30, 100}[chance(20, 0).of(5)]
	c.fault = func(pt simPoint) simFault { return randomFault(seed, pt, windows, perMille, orders) }
	c.away = func(op simOp, at time.Duration) bool {
		return slices.ContainsFunc(windows, func(v simWindow) bool { return v.covers(op, at) })
	}
	return c
}

// randomVendor is what the vendor of a seed does to all orders alike.
func randomVendor(c *simConfig, chance func(what, n uint64) simChance) {
	c.form = simRows(max(0, chance(30, 0).of(2*int(simRowForms))-int(simRowForms)))
	if c.form == rowsUnnamed { // which row is an order's, only a person can say: see TestSimStaysInDoubt
		c.form = rowsPackage
	}
	c.sold = simState(chance(31, 0).of(int(simStates)))
	if chance(32, 0).of(6) == 0 {
		c.rules.LookupStates = nil
	}
	if chance(33, 0).of(4) == 0 { // the first success is the first control
		c.unsold, c.orders[0] = true, simSpec{answers: []simAnswer{buys}}
	}
	for n := range uint64(max(0, chance(34, 0).of(6)-3)) {
		from := chance(35, n).upTo(4 * time.Minute)
		c.dims = append(c.dims, simDim{from, from + chance(36, n).upTo(5*time.Minute), chance(37, n).of(2) == 0})
	}
	for n := range uint64(max(0, chance(38, 0).of(8)-5)) {
		from := chance(39, n).upTo(2 * time.Minute)
		c.bans = append(c.bans, simBan{from, from + chance(40, n).upTo(2*time.Minute),
			[]simAnswer{forbids, refuses}[chance(41, n).of(2)], chance(42, n).of(2) == 0})
	}
}

func (v simWindow) covers(op simOp, at time.Duration) bool {
	return v.from <= at && at < v.to && slices.Contains(v.ops, op)
}

// randomFault decides by the point alone.
func randomFault(seed uint64, pt simPoint, windows []simWindow, perMille, orders int) simFault {
	if pt.at > simQuiet {
		return fine
	}
	f := fine
	if newChance(seed, 300, pt.hash()).of(1000) < perMille {
		f = 1 + simFault(newChance(seed, 301, pt.hash()).of(int(simFaults-1)))
	}
	for _, v := range windows {
		if v.covers(pt.op, pt.at) {
			f = v.fault
		}
	}
	// These befall all orders, not this one alone.
	forAll := f == crashBefore || f == crashAfter || f == freeze || f >= forget
	if forAll && newChance(seed, 302, pt.hash()).of(orders) > 2 {
		f = stray
	}
	if pt.op.beat() && f != fine && f != failBefore {
		f = failAfter // the others would befall some orders before the beat, some after it
	}
	return f
}

func randomOrder(x simChance, policy Policy, calm bool) simSpec {
	chance := func(what uint64) simChance { return newChance(uint64(x), what, 0) }
	s := simSpec{arrives: chance(1).upTo(time.Minute), slow: chance(2).upTo(simTimeout)}
	if calm && chance(40).of(10) > 0 {
		s.answers = []simAnswer{buys}
		return s
	}
	for n := range uint64(chance(3).of(4)) {
		s.answers = append(s.answers, []simAnswer{buys, buysSilently, ignores, refuses, refuses, refusesForGood, buysBroken, breaks, buysUnnamed, throttles,
			buysUnclear, unclear, buysBeside, buysExists, forbids}[chance(10+n).of(15)])
	}
	last := buys
	if policy != Resend { // which goes on until it is answered
		last = []simAnswer{buys, buys, buys, buysSilently, refuses, refusesForGood}[chance(4).of(6)]
	}
	s.answers = append(s.answers, last)
	s.hidden = chance(5).of(3) == 0
	s.state = simState(max(0, chance(41).of(6)-3))
	s.double = chance(42).of(30) == 0
	s.down = max(0, chance(6).of(8)-5)
	s.vague = max(0, chance(7).of(8)-5)
	if chance(8).of(8) == 0 {
		s.expires = chance(9).upTo(5 * time.Minute)
	}
	for n := range uint64(max(0, chance(20).of(12)-9)) {
		kind := []simKind{aCopy, aCopy, aConflict, broken}[chance(21+n).of(4)]
		s.more = append(s.more, simRequest{kind, chance(31 + n).upTo(3 * time.Minute)})
	}
	return s
}

// simTotals counts over worlds.
type simTotals struct{ worlds, orders, faults, purchases int }

// run runs the world of a seed, and reports what it broke.
func (s *simTotals) run(t *testing.T, seed uint64, m *Metrics) *simWorld {
	c := randomWorld(seed)
	c.metrics = m
	w := simulate(c)
	s.worlds++
	s.orders += len(w.orders)
	s.faults += w.injected
	s.purchases += w.purchases
	if len(w.violations) > 0 {
		t.Errorf("seed %d: %s\nagain: go test ./worker -run 'TestSimRandom$' -sim.seed=%d -sim.orders=1", seed, w.report(), seed)
	}
	return w
}

// Random lives under random faults. A seed that breaks a promise is printed with
// the logs of the orders that it broke, and runs again by itself.
func TestSimRandom(t *testing.T) {
	simAlone(t)
	var totals simTotals
	begun := time.Now()
	if *simFor > 0 {
		t.Logf("for %v, from seed %d", *simFor, *simSeed)
	}
	orders := max(1, *simOrders/simThin())
	more := func() bool {
		if *simFor > 0 {
			return time.Since(begun) < *simFor
		}
		return totals.orders < orders
	}
	for seed := *simSeed; more() && !t.Failed(); {
		synctest.Test(t, func(t *testing.T) {
			m := simMetrics()
			for range 20 {
				if (*simFor > 0 || totals.orders < orders) && !t.Failed() { // time is fake in here
					totals.run(t, seed, m)
					seed++
				}
			}
		})
	}
	t.Logf("%d worlds from seed %d, %d orders, %d faults, %d purchases; %v", totals.worlds, *simSeed,
		totals.orders, totals.faults, totals.purchases, simTook(begun))
}

// simTook says how long it took, and how much of a core the process has used.
func simTook(begun time.Time) string {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used) // never fails for itself
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	return fmt.Sprintf("%v, %v of CPU", time.Since(begun).Round(time.Millisecond), cpu.Round(time.Millisecond))
}

// The same seed gives the same run, to the last line of every order's log, as long
// as there is no pause. Which of the waiting orders becomes the probe is chance,
// because a synctest bubble shuffles timers that end at the same moment.
func TestSimSeedReplays(t *testing.T) {
	simAlone(t)
	for seed := range uint64(12) {
		var runs [2]*simWorld
		for i := range runs {
			synctest.Test(t, func(t *testing.T) {
				runs[i] = simulate(answering(randomWorld(seed), simMetrics()))
			})
		}
		for i, o := range runs[0].orders {
			first, again := o.sorted(), runs[1].orders[i].sorted()
			for n := range min(len(first), len(again)) {
				if first[n] != again[n] {
					t.Fatalf("seed %d, order %s: a second run differs:\n%v\n%v", seed, o.no, first[n], again[n])
				}
			}
			if len(first) != len(again) {
				t.Fatalf("seed %d, order %s: %d lines, in a second run %d", seed, o.no, len(first), len(again))
			}
		}
	}
}

// answering is a world whose vendor always gives a clear answer, to few at a time.
func answering(c simConfig, m *Metrics) simConfig {
	c.metrics, c.concurrency, c.bans = m, 3, nil
	for i := range c.orders {
		c.orders[i].answers = slices.DeleteFunc(c.orders[i].answers, func(a simAnswer) bool {
			return slices.Contains([]simAnswer{ignores, buysSilently, buysBroken, breaks, buysUnclear, unclear, forbids}, a)
		})
		c.orders[i].answers = append(c.orders[i].answers, buys)
	}
	fault := c.fault
	c.fault = func(pt simPoint) simFault {
		f := fault(pt)
		if (pt.op == opPlace || pt.op == opConnect) && f != crashBefore && f != crashAfter && f < forget {
			return fine
		}
		return f
	}
	return c
}

// sorted is the log in an order that does not depend on which of two goroutines
// that wake up at the same moment is the first.
func (o *simOrder) sorted() []simEvent {
	return slices.SortedStableFunc(slices.Values(o.log), func(a, b simEvent) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.slot, b.slot), cmp.Compare(a.op, b.op), cmp.Compare(a.n, b.n))
	})
}
