package worker

import (
	"testing"
	"testing/synctest"
	"time"
)

// What the simulation has found, each as small as it could be made.

// Redis was wiped while a request was under way, then a late "ready" of the
// delivery before came in. The order was claimed again under the same owner, so
// the intent of the request that had left was taken for the new one, whose
// reply got lost; and it was sent, and bought, once more. Seed 4122.
func TestLateParkAfterAWipeDoesNotSendTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulate(simConfig{
			seed: 1, slots: 1, concurrency: 2, rules: simRules(), ackWait: 15 * time.Second, metrics: simMetrics(),
			orders: []simSpec{{answers: []simAnswer{refuses, buysSilently, buys}}},
			wipes:  []time.Duration{20 * time.Second},
			fault: func(pt simPoint) simFault {
				switch pt.name() {
				case simPoint{op: opPark}:
					return stray // comes simLate later
				case simPoint{op: opNak}:
					return failBefore // so the next delivery is under way by then
				}
				return fine
			},
		})
		if len(w.violations) > 0 {
			t.Error(w.report())
		}
	})
}

// An order's worker died before the intent. A conflicting request was rejected,
// because the order had the number. Then Redis was wiped, and a claim of the
// rejected request was written late. The order found the number taken, with
// nothing in the journal, and was rejected too, so that neither had the number.
// Now the earlier of two requests has it until one is in the journal. Seed 2683.
func TestConflictingOrdersAreNotBothRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := simulate(simConfig{
			seed: 1, slots: 1, concurrency: 2, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(),
			orders: []simSpec{{answers: []simAnswer{buys}, more: []simRequest{{aConflict, 5 * time.Second}}}},
			wipes:  []time.Duration{15 * time.Second},
			fault: func(pt simPoint) simFault {
				switch pt.name() {
				case simPoint{op: opIntent}:
					return crashBefore
				case simPoint{op: opClaim, n: 1}: // the other's first
					return stray // comes simLate later
				}
				return fine
			},
		})
		if len(w.violations) > 0 {
			t.Error(w.report())
		}
	})
}

// The vendor said that an order exists at the moment when its in_doubt event was
// due. A reply of Redis got lost, so the event could not be stored, and the
// delivery ended before the vendor's word was written down: the order was sent
// again. Seed 178.
func TestPurchaseIsNotedWhenTheEventCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simConfig{
			seed: 1, slots: 1, concurrency: 2, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(),
			orders: []simSpec{{answers: []simAnswer{buysExists, buys}, hidden: true}},
			fault: func(pt simPoint) simFault {
				if pt.name() == (simPoint{op: opRenew}) { // the first thing that the event needs
					return failAfter
				}
				return fine
			},
		}
		c.rules.Reconcile, c.rules.InDoubtNotice = Resend, time.Millisecond
		if w := simulate(c); len(w.violations) > 0 {
			t.Error(w.report())
		}
	})
}

// While an in_doubt event cannot be stored, what the lookups say is written down all the
// same: two of them that show nothing prove that the order was not bought, and it is sent
// again.
func TestLookupsCountWhileTheEventCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simConfig{
			seed: 1, slots: 1, concurrency: 2, rules: simRules(), ackWait: simAckWait, metrics: simMetrics(),
			orders: []simSpec{{answers: []simAnswer{buys}}, {answers: []simAnswer{ignores, buys}}},
			fault: func(pt simPoint) simFault {
				if pt.op == opRenew { // the first thing that the event needs
					return failBefore
				}
				return fine
			},
		}
		c.rules.InDoubtNotice = time.Millisecond
		if w := simulate(c); len(w.violations) > 0 {
			t.Error(w.report())
		}
	})
}
