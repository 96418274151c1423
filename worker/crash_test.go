package worker

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
)

// crashRow is one row of the crash table: what happens, what it leaves behind, and how the
// order ends.
type crashRow struct {
	op      simOp // at its first time
	fault   simFault
	answers []simAnswer
	wipe    bool          // the crash takes Redis' memory with it
	ttl     time.Duration // JOURNAL_TTL; 0: nothing expires
	failed  bool          // the order ends so, and is not bought
	slots   int           // 0 means 1
	out     []simOp       // what does not work
	lasts   time.Duration // for so long, from the first op on (from the start without one)

	journal dedupe.State // left behind by a crash
	redis   dedupe.State

	calls      int // bytes that left for the vendor
	publishes  int // of the final event, tries too; one is stored
	asks       bool
	reconciled bool
	from       time.Duration // not one call before
	finalBy    time.Duration // the event stands in the results by then
}

// Source: design, section 6.
var crashTable = map[string]crashRow{
	"1: the message":                            {op: opPull, fault: crashAfter, calls: 1, publishes: 1},
	"2: a claim":                                {op: opClaim, fault: crashAfter, redis: dedupe.StateClaimed, calls: 1, publishes: 1},
	"3: a claim, and a slot":                    {op: opSlot, fault: crashAfter, redis: dedupe.StateClaimed, calls: 1, publishes: 1},
	"4: an intent":                              {op: opIntent, fault: crashAfter, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1, asks: true, from: provenAfter},
	"5: an intent, no byte left":                {op: opPlace, fault: crashBefore, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1, asks: true, from: provenAfter},
	"5: an intent, bought":                      {op: opPlace, fault: crashAfter, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1, asks: true, reconciled: true},
	"5: an intent, not bought":                  {op: opPlace, fault: crashAfter, answers: []simAnswer{ignores, buys}, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 2, publishes: 1, asks: true},
	"answer read, before 6":                     {op: opEvent, fault: crashBefore, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 2, asks: true, reconciled: true},
	"answer read, before 6, refused":            {op: opReady, fault: crashBefore, answers: []simAnswer{refuses, buys}, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 2, publishes: 1, asks: true},
	"answer read: bought, by which number?":     {answers: []simAnswer{buysUnnamed, buys}, calls: 1, publishes: 1, asks: true, reconciled: true},
	"answer read: it exists":                    {answers: []simAnswer{buysExists, buys}, calls: 1, publishes: 1, asks: true, reconciled: true},
	"answer read: it exists, half written":      {op: opPark, fault: crashBefore, answers: []simAnswer{buysExists, buys}, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1, asks: true, reconciled: true},
	"answer read: a number beside a code":       {op: opPark, fault: crashBefore, answers: []simAnswer{buysBeside, buys}, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1, asks: true, reconciled: true},
	"answer read: 500, and it was bought":       {op: opPark, fault: crashBefore, answers: []simAnswer{buysUnclear, buys}, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1, asks: true, reconciled: true},
	"answer read: 500, and it was not":          {op: opPark, fault: crashBefore, answers: []simAnswer{unclear, buys}, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 2, publishes: 1, asks: true},
	"answer read: the account may not":          {op: opReady, fault: crashBefore, answers: []simAnswer{forbids, buys}, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 2, publishes: 1, asks: true},
	"in doubt, the control looked for":          {op: opSold, fault: crashAfter, answers: []simAnswer{buysSilently, buys}, journal: dedupe.StateIntent, redis: dedupe.StateInDoubt, calls: 1, publishes: 1, asks: true, reconciled: true},
	"in doubt, the lookup under way":            {op: opLookup, fault: crashAfter, answers: []simAnswer{ignores, buys}, journal: dedupe.StateIntent, redis: dedupe.StateInDoubt, calls: 2, publishes: 1, asks: true},
	"Redis wiped where it exists":               {op: opNak, fault: forget, answers: []simAnswer{buysExists, buys}, calls: 1, publishes: 1, asks: true, reconciled: true},
	"lookups fail for long":                     {out: []simOp{opLookup}, lasts: 5 * time.Minute, answers: []simAnswer{ignores, buys}, calls: 2, publishes: 1, asks: true, finalBy: 5*time.Minute + 40*time.Second},
	"the results cannot be read":                {out: []simOp{opSold}, lasts: time.Minute, answers: []simAnswer{ignores, buys}, calls: 2, publishes: 1, asks: true, finalBy: 5 * time.Minute},
	"6: the event":                              {op: opEvent, fault: crashAfter, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1},
	"6: the event, Redis wiped":                 {op: opEvent, fault: crashAfter, wipe: true, journal: dedupe.StateIntent, calls: 1, publishes: 1},
	"6: the event, its intent expired":          {op: opEvent, fault: crashAfter, ttl: 10 * time.Second, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1},
	"6: the event, its intent expired, wiped":   {op: opEvent, fault: crashAfter, wipe: true, ttl: 10 * time.Second, journal: dedupe.StateIntent, calls: 1, publishes: 1},
	"5: an intent that expired, bought":         {op: opPlace, fault: crashAfter, ttl: 10 * time.Second, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 1, publishes: 1, asks: true, reconciled: true},
	"5: an intent that expired, bought, wiped":  {op: opPlace, fault: crashAfter, wipe: true, ttl: 10 * time.Second, journal: dedupe.StateIntent, calls: 1, publishes: 1, asks: true, reconciled: true},
	"6: failed, before the journal":             {op: opFinal, fault: crashBefore, answers: []simAnswer{refusesForGood}, failed: true, journal: dedupe.StateIntent, redis: dedupe.StateClaimed, calls: 2, publishes: 1, asks: true},
	"6: failed, in the journal":                 {op: opFinal, fault: crashAfter, answers: []simAnswer{refusesForGood}, failed: true, journal: dedupe.StateFinal, redis: dedupe.StateClaimed, calls: 1, publishes: 1},
	"6: failed, the event":                      {op: opEvent, fault: crashAfter, answers: []simAnswer{refusesForGood}, failed: true, journal: dedupe.StateFinal, redis: dedupe.StateClaimed, calls: 1, publishes: 2},
	"6: found, in the journal":                  {op: opFinal, fault: crashAfter, answers: []simAnswer{buysSilently}, journal: dedupe.StateFinal, redis: dedupe.StateInDoubt, calls: 1, publishes: 1, asks: true, reconciled: true},
	"6: found, the event":                       {op: opEvent, fault: crashAfter, answers: []simAnswer{buysSilently}, journal: dedupe.StateFinal, redis: dedupe.StateInDoubt, calls: 1, publishes: 2, asks: true, reconciled: true},
	"8: everything":                             {op: opNoted, fault: crashAfter, journal: dedupe.StateIntent, redis: dedupe.StateFinal, calls: 1, publishes: 1},
	"9: everything, the ack lost":               {op: opAck, fault: crashBefore, journal: dedupe.StateIntent, redis: dedupe.StateFinal, calls: 1, publishes: 1},
	"9: the ack lost, Redis wiped":              {op: opAck, fault: crashBefore, wipe: true, journal: dedupe.StateIntent, calls: 1, publishes: 1},
	"9: all done":                               {op: opAck, fault: crashAfter, journal: dedupe.StateIntent, redis: dedupe.StateFinal, calls: 1, publishes: 1},
	"Redis wiped before the intent":             {op: opIntent, fault: forget, calls: 1, publishes: 1},
	"Redis wiped during the call":               {op: opPlace, fault: forget, calls: 1, publishes: 1},
	"Redis wiped before the event":              {op: opEvent, fault: forget, calls: 1, publishes: 1},
	"Redis wiped before the ack":                {op: opAck, fault: forget, calls: 1, publishes: 1},
	"Redis wiped in doubt":                      {op: opNak, fault: forget, answers: []simAnswer{buysSilently}, calls: 1, publishes: 1, asks: true, reconciled: true},
	"Redis down":                                {out: simServers[0], lasts: time.Minute, calls: 1, publishes: 1, from: time.Minute},
	"Redis down during the call":                {op: opPlace, out: simServers[0], lasts: time.Minute, calls: 1, publishes: 1, finalBy: 10 * time.Second},
	"NATS down":                                 {out: simServers[1], lasts: 5 * time.Second, calls: 1, publishes: 1, from: 5 * time.Second},
	"NATS down during the call":                 {op: opPlace, out: simServers[1], lasts: 5 * time.Second, calls: 1, publishes: 1},
	"worker frozen before the call":             {op: opPlace, fault: freeze, slots: 2, calls: 1, publishes: 1, asks: true, from: provenAfter},
	"worker frozen after the call, and sold":    {op: opEvent, fault: freeze, out: []simOp{opNoted}, lasts: 3 * time.Second, slots: 2, calls: 1, publishes: 2, asks: true, reconciled: true},
	"frozen after the call, its intent expired": {op: opEvent, fault: freeze, out: []simOp{opNoted}, lasts: 3 * time.Second, ttl: 10 * time.Second, slots: 2, calls: 1, publishes: 2, asks: true, reconciled: true},
}

// provenAfter is the earliest that "not found" can prove anything, by simRules.
const provenAfter = simTimeout + slowProof

func TestCrashTable(t *testing.T) {
	for name, row := range crashTable {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, row.test)
		})
	}
}

func (row crashRow) test(t *testing.T) {
	c := simConfig{
		seed: 1, slots: max(1, row.slots), concurrency: 2, rules: simRules(), ackWait: simAckWait,
		orders: []simSpec{{answers: row.answers, slowest: true}}, journalTTL: row.ttl,
		metrics: simMetrics(),
		prefer:  func(_ *simOrder, count uint64) int { return int(count) % max(1, row.slots) },
	}
	c.rules.InDoubtNotice = time.Hour
	if row.answers == nil {
		c.orders[0].answers = []simAnswer{buys}
	}
	struck := row.op == opWorld
	end := row.lasts
	c.fault = func(pt simPoint) simFault {
		if pt.op == row.op && !struck {
			struck, end = true, pt.at+row.lasts
			return row.fault
		}
		if struck && pt.at < end && slices.Contains(row.out, pt.op) {
			return failBefore
		}
		return fine
	}
	c.crashed = func(w *simWorld, o *simOrder, _ simPoint) {
		if row.wipe {
			w.memory.ForgetAll()
		}
		r, _, _ := w.memory.Read(context.Background(), o.no)
		e, _, _ := w.memory.Look(context.Background(), o.no)
		if r.State != row.journal || e.State != row.redis {
			t.Errorf("left behind: %q in the journal, %q in Redis; want %q, %q", r.State, e.State, row.journal, row.redis)
		}
	}
	w := simulate(c)
	if !struck {
		t.Errorf("the order never came to %v", row.op)
	}
	row.check(t, w)
	if len(w.violations) > 0 || t.Failed() {
		t.Error(w.report())
	}
}

// check compares what became of the order with the row.
func (row crashRow) check(t *testing.T, w *simWorld) {
	o := w.orders[0]
	publishes, asks := 0, false
	for _, e := range o.log {
		switch {
		case e.point && e.op == opEvent && e.fault != failBefore:
			publishes++
			if row.finalBy > 0 && e.at > row.finalBy {
				t.Errorf("the event was published at %v, want by %v", e.at, row.finalBy)
			}
		case e.point && e.op == opLookup:
			asks = true
		case !e.point && e.op == opPlace && e.at < row.from:
			t.Errorf("a call at %v, want none before %v", e.at, row.from)
		}
	}
	if publishes != row.publishes {
		t.Errorf("published %d times, want %d", publishes, row.publishes)
	}
	if asks != row.asks {
		t.Errorf("the vendor was asked: %v, want %v", asks, row.asks)
	}
	if got := len(o.book.sends); got != row.calls {
		t.Errorf("%d calls, want %d", got, row.calls)
	}
	bought, status := 1, Succeeded
	if row.failed {
		bought, status = 0, Failed
	}
	if o.book.purchases != bought {
		t.Errorf("bought %d times", o.book.purchases)
	}
	finals, _ := o.finals()
	if len(finals) != 1 {
		t.Fatalf("%d events stored, want 1", len(finals))
	}
	var r Result
	if err := json.Unmarshal(finals[0].Payload, &r); err != nil || r.Status != status || r.Reconciled != row.reconciled {
		t.Errorf("event %s (error %v), want %s, reconciled %v", finals[0].Payload, err, status, row.reconciled)
	}
}
