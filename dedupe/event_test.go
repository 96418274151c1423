package dedupe_test

import (
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
)

// eventEnv returns an environment with a results stream and a JOURNAL_TTL of an hour, for a
// synctest bubble. The journal forgets records as the real one does.
func eventEnv(t *testing.T) (testEnv, *dedupetest.Memory, published) {
	m, events := dedupetest.NewMemory(), published{}
	m.SetLifetime(func(r dedupe.Record) time.Duration { return r.Lifetime(time.Hour) })
	cfg := dedupe.Config{Lease: time.Minute, FinalTTL: 720 * time.Hour, JournalTTL: time.Hour}
	return newEnv(t, m, m, events, cfg, m.ForgetAll), m, events
}

// stored returns testOrder as it is stored now, under that sequence.
func stored(seq uint64) dedupe.Order {
	o := testOrder
	o.Seq, o.Stored = seq, time.Now()
	return o
}

// A success that answers the claim's own request leaves its intent in the journal, and
// nothing else. Every other result is journalled.
func TestStoreSuccessIsNotJournalled(t *testing.T) {
	for name, c := range map[string]struct {
		life      func(b testEnv) *dedupe.Claim
		succeeded bool
		recorded  bool
	}{
		"answered":            {(testEnv).sent, true, false},
		"failed":              {(testEnv).sent, false, true},
		"found by the lookup": {(testEnv).inDoubt, true, true},
		"settled by a resend": {func(b testEnv) *dedupe.Claim {
			c := b.inDoubt()
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			return c
		}, true, true},
		"after the lease":    {func(b testEnv) *dedupe.Claim { c := b.sent(); time.Sleep(time.Hour); return c }, true, true},
		"failed, never sent": {func(b testEnv) *dedupe.Claim { return b.must(testOrder, false, dedupe.Fresh) }, false, true},
		"answered after waits": {func(b testEnv) *dedupe.Claim {
			b.ok(b.Wait(b.ctx(), b.sent(), 1, soon))
			c := b.must(testOrder, true, dedupe.Ready)
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			return c
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _, _ := eventEnv(t)
				claim := c.life(b)
				result := failed
				if c.succeeded {
					result = won
				}
				got, err := b.Finish(b.ctx(), claim, result, c.succeeded)
				b.ok(err)
				want := dedupe.StateIntent
				if c.recorded {
					want = dedupe.StateFinal
				}
				if r := b.record(); string(got) != string(result) || claim.Verdict != dedupe.Final || claim.Recorded != c.recorded || r.State != want {
					t.Errorf("finish = %s, recorded %v, journal %q; want recorded %v", got, claim.Recorded, r.State, c.recorded)
				}
			})
		})
	}
}

// Where a success left its intent, the event is read before the order counts as in doubt:
// by any account, with Redis or without, also after somebody has parked the doubt.
func TestStoreEventEndsTheIntent(t *testing.T) {
	for name, life := range map[string]func(b testEnv, c *dedupe.Claim){
		"died":              func(b testEnv, c *dedupe.Claim) { time.Sleep(time.Minute) },
		"died, Redis wiped": func(b testEnv, c *dedupe.Claim) { b.wipe() },
		"parked in doubt": func(b testEnv, c *dedupe.Claim) {
			time.Sleep(time.Minute)
			again := b.must(ofA, true, dedupe.InDoubt)
			b.ok(b.Doubt(b.ctx(), again, again.Doubt, soon))
		},
	} {
		for _, o := range []dedupe.Order{ofA, ofB} {
			t.Run(name+"/"+o.Account, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, _, events := eventEnv(t)
					c := b.sentBy(ofA)
					_, err := b.Finish(b.ctx(), c, won, true)
					b.ok(err)
					life(b, c)
					events[o.OutTradeNo] = &dedupe.FinalEvent{Result: won, Seq: c.First, Fingerprint: c.Fingerprint, Account: "a"}
					got := b.must(o, true, dedupe.Done)
					if string(got.Result) != string(won) || got.ResultSeq != c.First || got.ResultBy != "a" {
						t.Errorf("claim %+v", got)
					}
					got = b.must(o, true, dedupe.Done) // by the cache
					if got.ResultSeq != c.First || got.ResultBy != "a" {
						t.Errorf("remembered: %+v", got)
					}
					if k, err := b.Look(b.ctx(), o.OutTradeNo); err != nil || k.Event == nil || k.Verdict(time.Now()) != dedupe.Done {
						t.Errorf("an operator sees %+v, %v", k, err)
					}
					if err := b.settle(o.OutTradeNo, nil); err == nil {
						t.Error("an order with a final event was settled")
					}
				})
			})
		}
	}
}

// A success whose event cannot be stored is journalled after all, unless there is another
// final.
func TestStoreRecordsASuccessWithoutAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := eventEnv(t)
		c := b.sent()
		if err := b.Record(b.ctx(), c); err == nil {
			t.Error("a claim without a result was journalled")
		}
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		for range 2 {
			b.ok(b.Record(b.ctx(), c))
			if r := b.record(); r.State != dedupe.StateFinal || string(r.Result) != string(won) || !c.Recorded {
				t.Errorf("journal %+v, recorded %v", r, c.Recorded)
			}
		}
		b.wipe()
		time.Sleep(time.Minute)
		if got := b.must(testOrder, true, dedupe.Final); string(got.Result) != string(won) {
			t.Errorf("claim %+v", got)
		}
	})
}

// An operator is refused where the event is all that says how the order ended.
func TestStoreSettleReadsTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, events := eventEnv(t)
		b.sent()
		b.wipe()
		time.Sleep(time.Minute)
		events[testOrder.OutTradeNo] = &dedupe.FinalEvent{Result: won}
		if err := b.settle(testOrder.OutTradeNo, nil); err == nil || b.record().State != dedupe.StateIntent {
			t.Errorf("settled as not bought: %v, journal %+v", err, b.record())
		}
		delete(events, testOrder.OutTradeNo)
		b.ok(b.settle(testOrder.OutTradeNo, nil))
	})
}

// However long a doubt lasts, and whatever Redis forgets, a young duplicate finds it. The
// journal would have forgotten the intent.
func TestStoreDoubtDoesNotExpire(t *testing.T) {
	for name, doubt := range map[string]func(b testEnv, m *dedupetest.Memory, c *dedupe.Claim){
		"after the request": func(b testEnv, _ *dedupetest.Memory, c *dedupe.Claim) { b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon)) },
		"bought": func(b testEnv, _ *dedupetest.Memory, c *dedupe.Claim) {
			b.ok(b.Doubt(b.ctx(), c, dedupe.Doubt{Bought: true}, soon))
		},
		"found by another": func(b testEnv, _ *dedupetest.Memory, c *dedupe.Claim) {
			time.Sleep(time.Minute)
			c = b.must(c.Order, true, dedupe.InDoubt)
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		},
		"of another account": func(b testEnv, _ *dedupetest.Memory, c *dedupe.Claim) {
			time.Sleep(time.Minute)
			b.must(under(c.Order, "b"), true, dedupe.Foreign)
		},
		"nothing in the journal": func(b testEnv, m *dedupetest.Memory, c *dedupe.Claim) {
			b.ok(b.Renew(b.ctx(), c)) // the cache knows the revision
			time.Sleep(time.Minute)
			m.ForgetJournal()
			m.SetJournalCreated(time.Time{})
			c = b.must(c.Order, true, dedupe.InDoubt)
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		},
		"nothing in the journal, of another account": func(b testEnv, m *dedupetest.Memory, c *dedupe.Claim) {
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
			m.ForgetJournal()
			m.SetJournalCreated(time.Time{})
			b.must(under(c.Order, "b"), true, dedupe.Foreign)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, m, _ := eventEnv(t)
				c := b.sentBy(under(stored(7), "a"))
				doubt(b, m, c)
				time.Sleep(48 * time.Hour)
				b.wipe()
				b.must(under(stored(1000), "a"), false, dedupe.InDoubt)
			})
		})
	}
}

// A stream may have an age limit that drops every record. The record of a doubt is written
// again before that, as long as somebody looks at the order.
func TestStoreDoubtOutlivesAnAgeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, m, _ := eventEnv(t)
		m.SetLifetime(func(dedupe.Record) time.Duration { return time.Hour })
		o := stored(7)
		c := b.sentBy(o)
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		revisions := map[uint64]bool{}
		for range 40 {
			time.Sleep(3 * time.Minute)
			c = b.must(o, true, dedupe.InDoubt)
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
			k, err := b.Look(b.ctx(), o.OutTradeNo)
			b.ok(err)
			revisions[k.JournalRev] = true
		}
		if len(revisions) < 4 || len(revisions) > 6 {
			t.Errorf("%d records in two hours, want one about each half hour", len(revisions))
		}
		b.wipe()
		b.must(stored(1000), false, dedupe.InDoubt)
	})
}

// An intent that nobody came back to expires. Its order is not new: not by its age, and for
// a young duplicate not as long as the intent is there, well after JOURNAL_TTL.
func TestStoreExpiredIntentIsNotNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := eventEnv(t)
		o := stored(7)
		b.sentBy(o)
		time.Sleep(100 * time.Minute)
		b.wipe()
		c := b.must(stored(1000), false, dedupe.InDoubt)
		b.ok(b.Release(b.ctx(), c))
		b.wipe()
		time.Sleep(90 * time.Minute) // the intent has expired
		if r := b.record(); r.State != "" {
			t.Fatalf("journal %+v", r)
		}
		b.must(o, true, dedupe.InDoubt)
	})
}

// What the vendor said to the attempt's owner meanwhile is not lost when another parks the
// doubt.
func TestStoreDoubtIsNotParkedOverAFact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := eventEnv(t)
		slow := b.sent()
		time.Sleep(time.Minute)
		c := b.must(testOrder, true, dedupe.InDoubt)
		b.lost(b.Doubt(b.ctx(), slow, dedupe.Doubt{Bought: true}, soon)) // it no longer owns the order
		b.lost(b.Doubt(b.ctx(), c, c.Doubt, soon))
		if r := b.record(); !r.Bought || r.Parked.IsZero() {
			t.Errorf("journal %+v, want that it was bought", r)
		}
	})
}

// A doubt is parked as the record of the attempt's owner, whose answer may still come.
func TestStoreParkedIntentStaysItsOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := eventEnv(t)
		slow := b.sent()
		before := b.record()
		time.Sleep(time.Minute)
		c := b.must(testOrder, true, dedupe.InDoubt)
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		if r := b.record(); r.Owner != slow.Owner || r.Attempt != before.Attempt || !r.SendBy.Equal(before.SendBy) || r.EarlierOpen || r.Parked.IsZero() {
			t.Errorf("parked %+v, the intent was %+v", r, before)
		}
		if _, err := b.Finish(b.ctx(), slow, won, true); err != nil || b.record().State != dedupe.StateFinal {
			t.Errorf("the late success: %v, journal %+v; want a final, which ends the record of the doubt", err, b.record())
		}
	})
}
