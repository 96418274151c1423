package worker

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
)

// An order stays in doubt, visibly and without another request to buy, where
// nothing that the vendor's lookup says is a proof.
func TestSimStaysInDoubt(t *testing.T) {
	const long = 4 * time.Hour
	for name, c := range map[string]simConfig{
		"no control number":                      {unsold: true, orders: []simSpec{{answers: []simAnswer{ignores}}}},
		"rows unnamed":                           {form: rowsUnnamed, orders: []simSpec{{answers: []simAnswer{buysSilently}}}},
		"no control number, rows unnamed":        {unsold: true, form: rowsUnnamed, orders: []simSpec{{answers: []simAnswer{buysSilently}}}},
		"the lookup is blind":                    {dims: []simDim{{to: long}}, orders: []simSpec{{answers: []simAnswer{buysSilently}}}},
		"the lookup answers another question":    {dims: []simDim{{to: long, strange: true}}, orders: []simSpec{{answers: []simAnswer{buysSilently}}}},
		"without state it shows what waits only": {missing: missingIsZero, rules: Rules{LookupStates: []int64{}}, orders: []simSpec{{answers: []simAnswer{buysSilently}}}},
		"without state it is refused":            {missing: missingIsWrong, rules: Rules{LookupStates: []int64{}}, orders: []simSpec{{answers: []simAnswer{buysSilently}}}},
		"packages in use are not asked for":      {rules: Rules{LookupStates: []int64{0, 2}}, orders: []simSpec{{answers: []simAnswer{buysSilently}}}},
		"it exists, says the vendor":             {orders: []simSpec{{answers: []simAnswer{claimsExists, buys}}}},
		"it exists, and Redis forgets that":      {orders: []simSpec{{answers: []simAnswer{claimsExists, buys}}}, wipes: []time.Duration{10 * time.Second}},
		"lookups fail":                           {orders: []simSpec{{answers: []simAnswer{ignores}, down: 1 << 30}}},
		"each answer has more rows":              {orders: []simSpec{{answers: []simAnswer{ignores}, vague: 1 << 30}}},
		"rows without a number":                  {orders: []simSpec{{answers: []simAnswer{buysSilently}, vague: 1 << 30}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				states := c.rules.LookupStates
				c.seed, c.slots, c.concurrency, c.ackWait, c.metrics = 1, 1, 2, simAckWait, simMetrics()
				if c.rules = simRules(); states != nil {
					c.rules.LookupStates = states
				}
				c.stays, c.until = true, long/2
				if w := simulate(c); len(w.violations) > 0 {
					t.Error(w.report())
				}
			})
		})
	}
}

// Once a purchase is old enough to be the control number, the doubt about the other
// orders ends.
func TestSimFirstPurchaseEndsDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulate(simConfig{
			seed: 1, slots: 1, concurrency: 2, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(), unsold: true,
			orders: []simSpec{{answers: []simAnswer{ignores, buys}}, {answers: []simAnswer{buys}, arrives: 10 * time.Minute}},
		})
		if len(w.violations) > 0 {
			t.Error(w.report())
		}
		if finals, _ := w.orders[0].finals(); len(finals) != 1 || finals[0].at.Sub(w.begun) < 10*time.Minute+slowProof {
			t.Error("the doubt ended before there was a control number")
		}
	})
}

// The account's secret has expired on a quiet day, and the vendor says so by a
// code that is in no list: no attempt of any order is spent, hardly a call made,
// and it goes on by itself.
func TestSimExpiredSecretSpendsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const healed = 10 * time.Minute
		c := simConfig{
			seed: 1, slots: 1, concurrency: 3, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(),
			bans: []simBan{{to: healed, answer: refuses, lookups: true}},
		}
		for range 3 {
			c.orders = append(c.orders, simSpec{answers: []simAnswer{buys}})
		}
		w := simulate(c)
		calls := 0
		for _, o := range w.orders {
			for _, e := range o.log {
				if !e.point && e.op == opPlace && e.note == refuses.String() {
					calls++
				}
			}
			if finals, _ := o.finals(); len(finals) != 1 || attemptsOf(t, finals[0]) != 1 {
				t.Errorf("order %s has not one result with one attempt", o.no)
			}
		}
		if calls == 0 || calls > 15 {
			t.Errorf("%d calls while the secret was expired, want 1 to 15", calls)
		}
		if len(w.violations) > 0 {
			t.Error(w.report())
		}
	})
}

// A pause begins while orders wait for their slots, which come late. Of these
// orders only the probe is sent.
func TestSimPauseStopsOrdersThatWaitForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const late = 4 * time.Second // sooner than a connection is idle for too long
		c := simConfig{
			seed: 1, slots: 1, concurrency: 16, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(),
			bans: []simBan{{to: late + 3*time.Second, answer: forbids}}, orders: []simSpec{{answers: []simAnswer{buys}}},
			away: func(op simOp, at time.Duration) bool { return op == opSlot && time.Second < at && at < late },
		}
		for range 8 {
			c.orders = append(c.orders, simSpec{answers: []simAnswer{buys}})
		}
		for i := range c.orders[1:] {
			c.orders[i+1].arrives = 1010 * time.Millisecond
		}
		c.orders[0].arrives = 990 * time.Millisecond
		w := simulate(c)
		calls := 0
		for _, o := range w.orders {
			for _, e := range o.log {
				if !e.point && e.op == opPlace && e.note == forbids.String() {
					calls++
				}
			}
		}
		if calls < 1 || calls > 5 {
			t.Errorf("%d calls while the account was refused, want 1 to 5", calls)
		}
		if len(w.violations) > 0 {
			t.Error(w.report())
		}
	})
}

// The gauge counts each order in doubt once, whichever worker had it. The sum over
// all workers is never too high, and exact while no such order is in flight.
func TestSimInDoubtIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simConfig{
			seed: 1, slots: 3, concurrency: 16, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(),
			prefer: func(o *simOrder, count uint64) int { return int(newChance(1, uint64(o.index), count).of(3)) },
		}
		c.rules.ReconcileDelay = 10 * time.Minute
		for i := range 30 {
			c.orders = append(c.orders, simSpec{answers: []simAnswer{buysSilently}, hidden: true, arrives: time.Duration(i) * 50 * time.Millisecond})
		}
		var mu sync.Mutex // of most and exact
		most, exact := 0, 0
		c.watch = func(w *simWorld) {
			w.mu.Lock()
			procs := slices.Clone(w.procs[:])
			w.mu.Unlock()
			sum, busy, truth := 0, 0, 0
			for _, p := range procs {
				if p == nil {
					return
				}
				sum += p.run.doubts.count(time.Now())
				busy += len(p.run.inFlight.snapshot())
			}
			for _, o := range w.orders {
				if e, ok, _ := w.memory.Look(t.Context(), o.no); ok && e.State != dedupe.StateFinal {
					if r, _, _ := w.memory.Read(t.Context(), o.no); r.State == dedupe.StateIntent {
						truth++
					}
				}
			}
			mu.Lock()
			most = max(most, sum)
			if busy == 0 {
				exact++
			}
			mu.Unlock()
			if sum > truth || busy == 0 && sum != truth {
				w.violate(nil, "%d orders are counted, %d are in doubt, %d in flight", sum, truth, busy)
			}
		}
		w := simulate(c)
		if len(w.violations) > 0 {
			t.Error(w.report())
		}
		mu.Lock()
		defer mu.Unlock()
		if most != 30 || exact < 100 {
			t.Errorf("at most %d of 30 were counted, and it could be exact %d times", most, exact)
		}
	})
}

func attemptsOf(t *testing.T, e simStored) int {
	var r Result
	if err := json.Unmarshal(e.Payload, &r); err != nil {
		t.Fatal(err)
	}
	return r.Attempts
}

// Lookups fail for a minute, in which "not found" becomes proof. Every order in
// doubt is looked up within 30 s after that, and the second "not found" follows
// the first within a tenth of RECONCILE_DELAY, so the doubt about all ends soon.
func TestSimLookupOutageLengthensNoSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const from, to = 10 * time.Second, 70 * time.Second
		c := simConfig{
			seed: 1, slots: 1, concurrency: 64, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(),
			bans: []simBan{{from: from, to: to, answer: refuses, lookups: true}}, // no order is sent in that time
		}
		c.rules.ReconcileDelay = 30 * time.Second
		for range 4 { // one more in a row, and orders would be paused
			c.orders = append(c.orders, simSpec{answers: []simAnswer{ignores, buys}})
		}
		w := simulate(c)
		if len(w.violations) > 0 {
			t.Error(w.report())
		}
		latest := to + 30*time.Second + c.rules.ReconcileDelay/10 + 5*time.Second // for the calls themselves
		for _, o := range w.orders {
			if finals, _ := o.finals(); len(finals) != 1 || finals[0].at.Sub(w.begun) < to || finals[0].at.Sub(w.begun) > latest {
				t.Errorf("order %s: %+v, want it settled between %v and %v", o.no, finals, to, latest)
			}
		}
	})
}
