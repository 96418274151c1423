package dedupe_test

import (
	"reflect"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
	"orderworker/dedupe/storetest"
)

// under returns o with another account.
func under(o dedupe.Order, account string) dedupe.Order {
	o.Account = account
	return o
}

var (
	ofA = under(testOrder, "a")
	ofB = under(testOrder, "b")
)

// Account B neither looks up nor sends an order with an open attempt of account A, even
// after A's worker has died or the cache was lost. Account A goes on as before.
func TestStoreForeignAttempt(t *testing.T) {
	for name, life := range map[string]func(b testEnv, c *dedupe.Claim){
		"parked":        func(b testEnv, c *dedupe.Claim) { b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon)) },
		"parked, wiped": func(b testEnv, c *dedupe.Claim) { b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon)); b.wipe() },
		"died":          func(b testEnv, c *dedupe.Claim) { b.die(c) },
		"died, wiped":   func(b testEnv, _ *dedupe.Claim) { b.wipe() },
		"bought":        func(b testEnv, c *dedupe.Claim) { b.ok(b.parkBought(c)) },
		"A looks at it": func(b testEnv, c *dedupe.Claim) {
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
			b.die(b.must(ofA, true, dedupe.InDoubt))
		},
		"B thought it new": func(b testEnv, _ *dedupe.Claim) {
			b.wipe()
			b.lost(b.Intent(b.ctx(), b.must(ofB, false, dedupe.Fresh), time.Now(), time.Now()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(b testEnv) {
				c := b.must(ofA, false, dedupe.Fresh)
				b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
				life(b, c)
				before := b.record()
				known, err := b.Look(b.ctx(), ofB.OutTradeNo)
				b.ok(err)
				b.must(ofB, true, dedupe.Foreign)
				noted, err := b.Look(b.ctx(), ofB.OutTradeNo)
				b.ok(err)
				if known.Cache == nil || known.Cache.Account != "a" { // then that is noted once
					known.Cache = noted.Cache
				}
				if noted.Journal.Parked.IsZero() {
					t.Errorf("the open intent of A expires: %+v", noted.Journal)
				}
				known.Journal, known.JournalRev = noted.Journal, noted.JournalRev
				foreign := b.must(ofB, true, dedupe.Foreign)
				for _, act := range []error{
					b.Intent(b.ctx(), foreign, time.Now(), time.Now()), b.Wait(b.ctx(), foreign, 1, soon), b.Disprove(b.ctx(), foreign),
					b.Doubt(b.ctx(), foreign, dedupe.Doubt{}, soon), b.Renew(b.ctx(), foreign),
				} {
					b.misused(act)
				}
				_, err = b.Finish(b.ctx(), foreign, failed, false)
				b.misused(err)
				b.ok(b.Release(b.ctx(), foreign))
				again, err := b.Look(b.ctx(), ofB.OutTradeNo)
				b.ok(err)
				again.Cache.Left, known.Cache.Left = 0, 0
				if again.Cache.Account != "a" || !reflect.DeepEqual(again, known) {
					t.Errorf("B wrote: %+v, was %+v", again.Cache, known.Cache)
				}
				if got := b.record(); got.Owner != before.Owner || got.Account != "a" {
					t.Errorf("journal %+v, was %+v", got, before)
				}
				c = b.must(ofA, true, dedupe.InDoubt) // A was never kept waiting
				b.must(ofB, true, dedupe.Busy)
				_, err = b.Finish(b.ctx(), c, won, true)
				b.ok(err)
				b.ok(b.Remember(b.ctx(), c, won))
				b.must(ofB, true, dedupe.Done)
				b.wipe()
				b.must(ofB, true, dedupe.Final)
			})
		})
	}
}

// If nothing was bought under account A, account B may send. Then A may not.
func TestStoreForeignNothingOpen(t *testing.T) {
	for name, life := range map[string]func(b testEnv) dedupe.Verdict{
		"waits": func(b testEnv) dedupe.Verdict { b.ok(b.Wait(b.ctx(), b.sentBy(ofA), 1, soon)); return dedupe.Ready },
		"wiped": func(b testEnv) dedupe.Verdict {
			b.ok(b.Wait(b.ctx(), b.sentBy(ofA), 1, soon))
			b.wipe()
			return dedupe.Ready
		},
		"released": func(b testEnv) dedupe.Verdict {
			b.ok(b.Release(b.ctx(), b.must(ofA, false, dedupe.Fresh)))
			return dedupe.Ready
		},
		"died": func(b testEnv) dedupe.Verdict { b.die(b.must(ofA, false, dedupe.Fresh)); return dedupe.Fresh },
		"disproved": func(b testEnv) dedupe.Verdict {
			b.park(b.sentBy(ofA))
			c := b.must(ofA, true, dedupe.InDoubt)
			b.ok(b.Disprove(b.ctx(), c))
			b.die(c)
			return dedupe.Ready
		},
		"settled": func(b testEnv) dedupe.Verdict {
			b.park(b.sentBy(ofA))
			b.ok(b.settle(ofA.OutTradeNo, nil))
			if r := b.record(); r.State != dedupe.StateReady || r.Account != "a" {
				b.t.Errorf("settled as %+v", r)
			}
			return dedupe.Ready
		},
		"no account": func(b testEnv) dedupe.Verdict {
			b.park(b.sentBy(testOrder))
			return dedupe.InDoubt
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(b testEnv) {
				c := b.must(ofB, true, life(b))
				if c.Verdict == dedupe.InDoubt {
					b.ok(b.Disprove(b.ctx(), c))
				}
				b.must(ofA, true, dedupe.Busy)
				b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
				if r := b.record(); r.Account != "b" {
					t.Errorf("journal %+v", r)
				}
				b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
				b.must(ofA, true, dedupe.Foreign)
				b.must(ofB, true, dedupe.InDoubt)
			})
		})
	}
}

// A final of another account is a final, and other content is a conflict.
func TestStoreForeignFinalAndConflict(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.sentBy(ofA)
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		b.must(under(otherF, "b"), true, dedupe.Conflict)
		b.die(c)
		b.must(under(otherF, "b"), true, dedupe.Conflict)
		if c := b.must(ofB, true, dedupe.Final); string(c.Result) != string(won) || c.ResultBy != "a" {
			t.Errorf("result %s of account %q", c.Result, c.ResultBy)
		}
	})
}

// If the journal is lost, the cache's notes on another account's attempt count.
func TestStoreForeignJournalLost(t *testing.T) {
	m := dedupetest.NewMemory()
	b := newEnv(t, m, m, nil, dedupe.Config{Lease: long}, m.LoseEntries)
	b.park(b.sentBy(ofA))
	m.ForgetJournal()
	b.must(ofB, true, dedupe.Foreign)
	b.must(ofA, true, dedupe.InDoubt)
}

func (b testEnv) sentBy(o dedupe.Order) *dedupe.Claim {
	b.t.Helper()
	c := b.must(o, false, dedupe.Fresh)
	b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Now().Add(-time.Second)))
	return c
}

// die ends the lease of c, as if its owner had died.
func (b testEnv) die(c *dedupe.Claim) {
	b.t.Helper()
	b.ok(b.cache.Renew(b.ctx(), c.Order, c.Owner, 0, time.Millisecond))
	storetest.Eventually(b.t, "the lease lapses", func() bool {
		e, ok, err := b.cache.Look(b.ctx(), c.OutTradeNo)
		b.ok(err)
		return ok && e.Left == 0
	})
}

func TestCacheAdopt(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, _ func()) {
		ctx := t.Context()
		mustHold(t, r, ofA, "1", long, holdNew)
		if e := mustLook(t, r); e.Account != "a" {
			t.Errorf("new entry %+v", e)
		}
		mustHold(t, r, ofB, "2", long, holdBusy)
		mustDo(t, r.Adopt(ctx, ofB, "a"), nil) // held
		mustDo(t, r.Park(ctx, ofA, "1", dedupe.Entry{State: dedupe.StateInDoubt, Progress: dedupe.Progress{Attempt: 1}, Doubt: &dedupe.Doubt{Attempt: 1}}, long), nil)
		mustDo(t, r.Adopt(ctx, ofB, "a"), nil) // not due
		mustHold(t, r, ofB, "2", long, holdEarly)
		mustDo(t, r.Park(ctx, ofA, "1", dedupe.Entry{State: dedupe.StateInDoubt, Progress: dedupe.Progress{Attempt: 1}, Doubt: &dedupe.Doubt{Attempt: 1}}, 0), nil)
		for range 2 {
			if e := mustHold(t, r, ofB, "2", long, holdForeign); e.Account != "a" || e.Owner != "" || e.Doubt == nil {
				t.Errorf("foreign entry %+v", e)
			}
		}
		mustDo(t, r.Adopt(ctx, ofB, "c"), nil) // not that account's
		mustHold(t, r, ofB, "2", long, holdForeign)
		mustDo(t, r.Adopt(ctx, ofB, "a"), nil)
		if e := mustHold(t, r, ofB, "2", long, holdParked); e.Account != "b" || e.Doubt != nil || e.Attempt != 1 {
			t.Errorf("adopted entry %+v", e)
		}
	})
}
