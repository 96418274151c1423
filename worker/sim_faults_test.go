package worker

import (
	"flag"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	simStride = flag.Int("sim.stride", 2000, "of all pairs of faults, run every n-th, of single ones a few hundred times as many; 1 is all")
	simParts  = flag.Int("sim.parts", 1, "how many processes share the single faults, each with the pairs of its own")
	simLife   = flag.String("sim.life", "", "of the lives only those where the vendor does what has this in it")
	simPart   = flag.Int("sim.part", 0, "which of them this is, from 0 on")
)

// simRules are realistic settings, but for a short RECONCILE_DELAY: the points
// of the later lookups are like those of the earlier.
func simRules() Rules {
	return Rules{
		MaxAttempts: 3, Backoff: Backoff{Initial: time.Second, Multiplier: 2, Max: 30 * time.Second},
		Reconcile: Lookup, LookupStates: []int64{1, 0, 2}, ReconcileDelay: slowProof, InDoubtNotice: 15 * time.Second, UpstreamTimeout: simTimeout,
	}
}

// simVendorCase is what the vendor may do with an order, and how long "not found"
// takes to prove anything: longer than a lease, or shorter.
type simVendorCase struct {
	simSpec
	delay time.Duration
	world simConfig // what else holds for all: form, dims, bans
}

const (
	slowProof = 30 * time.Second
	fastProof = 12 * time.Second
	longProof = time.Minute // a frozen worker comes back before it
)

var simVendors = map[string]simVendorCase{
	"buys and answers":                          {simSpec{answers: []simAnswer{buys}}, slowProof, simConfig{}},
	"buys and times out":                        {simSpec{answers: []simAnswer{buysSilently, buys}, slow: 8 * time.Second}, slowProof, simConfig{}},
	"does not buy and times out":                {simSpec{answers: []simAnswer{ignores, buys}}, slowProof, simConfig{}},
	"does not buy and times out, then again":    {simSpec{answers: []simAnswer{ignores, buysSilently, buys}, hidden: true}, fastProof, simConfig{}},
	"refuses":                                   {simSpec{answers: []simAnswer{refuses}}, slowProof, simConfig{}},
	"refuses, then buys":                        {simSpec{answers: []simAnswer{refuses, buys}}, slowProof, simConfig{}},
	"5xx after buying":                          {simSpec{answers: []simAnswer{buysBroken, buys}}, slowProof, simConfig{}},
	"buys, the lookup is late":                  {simSpec{answers: []simAnswer{buysSilently, buys}, hidden: true}, slowProof, simConfig{}},
	"buys, the lookup is down":                  {simSpec{answers: []simAnswer{buysSilently, buys}, down: 3}, slowProof, simConfig{}},
	"refuses, then buys and times out":          {simSpec{answers: []simAnswer{refuses, buysSilently, buys}}, slowProof, simConfig{}},
	"refuses for good":                          {simSpec{answers: []simAnswer{refusesForGood}}, slowProof, simConfig{}},
	"refuses for good, then buys":               {simSpec{answers: []simAnswer{refusesForGood, buysSilently, buys}, hidden: true}, longProof, simConfig{}},
	"throttles, then buys":                      {simSpec{answers: []simAnswer{throttles, buys}}, slowProof, simConfig{}},
	"buys, but not under a number":              {simSpec{answers: []simAnswer{buysUnnamed, buys}, hidden: true}, fastProof, simConfig{}},
	"buys what is asked for four times":         {simSpec{answers: []simAnswer{buys}, more: othersAsk}, slowProof, simConfig{}},
	"500 after buying":                          {simSpec{answers: []simAnswer{buysUnclear, buys}, hidden: true}, fastProof, simConfig{}},
	"500, does not buy":                         {simSpec{answers: []simAnswer{unclear, buys}}, slowProof, simConfig{}},
	"forbids, then buys":                        {simSpec{answers: []simAnswer{forbids, buys}}, slowProof, simConfig{}},
	"gives a number beside a code":              {simSpec{answers: []simAnswer{buysBeside, buys}, hidden: true}, fastProof, simConfig{}},
	"buys, and says that it exists":             {simSpec{answers: []simAnswer{buysExists, buys}, hidden: true}, fastProof, simConfig{}},
	"buys an add-on and times out":              {simSpec{answers: []simAnswer{buysSilently, buys}, state: addOn}, slowProof, simConfig{}},
	"buys, is refunded and times out":           {simSpec{answers: []simAnswer{buysSilently, buys}, state: refunded, vague: 1}, slowProof, simConfig{}},
	"buys twice and times out":                  {simSpec{answers: []simAnswer{buysSilently, buys}, double: true}, slowProof, simConfig{}},
	"buys and times out, rows by package":       {simSpec{answers: []simAnswer{buysSilently, buys}}, slowProof, simConfig{form: rowsPackage}},
	"buys and times out, the lookup is blind":   {simSpec{answers: []simAnswer{buysSilently, buys}}, fastProof, simConfig{dims: []simDim{{to: 2 * time.Minute}}}},
	"buys and times out, the lookup is strange": {simSpec{answers: []simAnswer{buysSilently, buys}}, fastProof, simConfig{dims: []simDim{{to: 2 * time.Minute, strange: true}}}},
	"refuses the account, lookups too":          {simSpec{answers: []simAnswer{buys}}, slowProof, simConfig{bans: []simBan{{to: 20 * time.Second, answer: refuses, lookups: true}}}},
}

// othersAsk are requests with the order's number that come while it is under way.
var othersAsk = []simRequest{{aConflict, 1020 * time.Millisecond}, {broken, 1040 * time.Millisecond}, {aCopy, 1060 * time.Millisecond}}

// simCase is one order's life, with the faults that befall it.
type simCase struct {
	vendor string
	slots  int
	faults map[simPoint]simFault
}

func (c simCase) String() string {
	var faults []string
	for pt, f := range c.faults {
		faults = append(faults, fmt.Sprintf("%v at %v %d of worker %d", f, pt.op, pt.n, pt.slot))
	}
	slices.Sort(faults)
	return fmt.Sprintf("the vendor %s; %d workers; %s", c.vendor, c.slots, strings.Join(faults, ", "))
}

func (c simCase) run(m *Metrics) *simWorld {
	vendor, rules := simVendors[c.vendor], simRules()
	rules.ReconcileDelay = vendor.delay
	if vendor.state != refunded { // nothing is ever in state 2
		rules.LookupStates = []int64{1, 0}
	}
	return simulate(simConfig{
		form: vendor.world.form, dims: vendor.world.dims, bans: vendor.world.bans, unsold: vendor.world.unsold,
		seed: 1, orders: []simSpec{vendor.simSpec}, slots: c.slots, concurrency: 2,
		rules: rules, ackWait: simAckWait, metrics: m, until: time.Hour,
		prefer: func(_ *simOrder, count uint64) int { return int(count) % c.slots },
		fault:  func(pt simPoint) simFault { return c.faults[pt.name()] },
	})
}

// with is c with one fault more.
func (c simCase) with(pt simPoint, f simFault) simCase {
	faults := map[simPoint]simFault{pt: f}
	maps.Copy(faults, c.faults)
	c.faults = faults
	return c
}

// points are those of a life, from the last fault on that it had.
func (w *simWorld) points() []simPoint {
	var points []simPoint
	for _, e := range w.orders[0].log {
		if e.fault != fine {
			points = points[:0]
		}
		if e.point && e.fault == fine {
			points = append(points, simPoint{0, int(e.slot), e.op, int(e.n), 0})
		}
	}
	return points
}

// eachLife runs each life without a fault, and gives it with its points to do.
func eachLife(t *testing.T, do func(clean simCase, points []simPoint, run func(simCase) *simWorld)) {
	for _, vendor := range slices.Sorted(maps.Keys(simVendors)) {
		if !strings.Contains(vendor, *simLife) {
			continue
		}
		for _, slots := range []int{1, 2} {
			synctest.Test(t, func(t *testing.T) {
				m := simMetrics()
				clean := simCase{vendor: vendor, slots: slots}
				w := clean.run(m)
				if len(w.violations) > 0 {
					t.Errorf("%v: %s", clean, w.report())
				}
				do(clean, w.points(), func(c simCase) *simWorld { return c.run(m) })
			})
		}
	}
}

// simTally counts cases, and reports the first that broke a promise.
type simTally struct{ cases, faults, broken int }

func (s *simTally) add(t *testing.T, c simCase, w *simWorld) {
	s.cases++
	s.faults += w.injected
	if len(w.violations) > 0 {
		if s.broken++; s.broken < 4 {
			t.Errorf("%v: %s", c, w.report())
		}
	}
}

// simThin is by how much every sample is smaller with -short, and under the race
// detector, which makes the simulation several times as slow and needs to see each line
// of the product, not each fault. make sample has the whole of it.
func simThin() int {
	build, _ := debug.ReadBuildInfo()
	switch {
	case slices.Contains(build.Settings, debug.BuildSetting{Key: "-race", Value: "true"}):
		return 40
	case testing.Short():
		return 10
	}
	return 1
}

// simTakes says whether the n-th single fault is for this process.
func simTakes(n int) bool {
	stride := max(1, *simStride*simThin()/500)
	return n%stride == 0 && n/stride%*simParts == *simPart
}

// Every fault at every point of an order's life, and then every other at every
// point of what is left of it.
func TestSimEachFaultAndEachPair(t *testing.T) {
	simAlone(t)
	var singles []simCase
	n := 0
	eachLife(t, func(clean simCase, points []simPoint, _ func(simCase) *simWorld) {
		for _, pt := range points {
			for f := fine + 1; f < simFaults; f++ {
				if n++; simTakes(n) {
					singles = append(singles, clean.with(pt, f))
				}
			}
		}
	})
	pairs := 0
	var ones, twos simTally
	every := *simStride * simThin()
	stride := max(1, every/max(1, every/500)) // of the singles that run
	begun := time.Now()
	for part := range slices.Chunk(singles, 100) {
		if ones.broken+twos.broken > 10 {
			break // enough to see what is wrong
		}
		synctest.Test(t, func(t *testing.T) {
			m := simMetrics()
			for _, c := range part {
				w := c.run(m)
				ones.add(t, c, w)
				if len(simVendors[c.vendor].more) > 0 {
					continue // while one request hangs, the others come again and again: too many points
				}
				for _, pt := range w.points() {
					for f := fine + 1; f < simFaults; f++ {
						if pairs++; pairs%stride == 0 {
							c := c.with(pt, f)
							twos.add(t, c, c.run(m))
						}
					}
				}
			}
		})
	}
	t.Logf("%d of %d single faults, %d of their %d pairs; %d faults injected, %d cases broke a promise; %v", ones.cases, n,
		twos.cases, pairs, ones.faults+twos.faults, ones.broken+twos.broken, simTook(begun))
}

// Redis falls back, at every point of an order's life, to every older state.
func TestSimRedisFallsBackToEachState(t *testing.T) {
	simAlone(t)
	n := 0
	var all simTally
	eachLife(t, func(clean simCase, points []simPoint, run func(simCase) *simWorld) {
		for _, pt := range points {
			if n++; !simTakes(n) {
				continue
			}
			for f, lostAll := loseOne, false; !lostAll && f < 255; f++ {
				c := clean.with(pt, f)
				w := run(c)
				all.add(t, c, w)
				lostAll = w.lostAll
			}
		}
	})
	t.Logf("%d points, %d falls to an older state, %d broke a promise", n, all.cases, all.broken)
}
