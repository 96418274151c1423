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

// send writes the intent of c's request.
func (b testEnv) send(c *dedupe.Claim) *dedupe.Sent {
	b.t.Helper()
	sent, err := b.Store.Intent(b.ctx(), c, time.Now(), time.Now())
	b.ok(err)
	return sent
}

// A success that answers the claim's own request needs no final, unless its event may come
// too late or nobody would read it. A final that is written all the same stays.
func TestStoreSuccessOfItsOwnRequest(t *testing.T) {
	for name, c := range map[string]struct {
		life func(b testEnv) (*dedupe.Claim, *dedupe.Sent)
		want bool
	}{
		"answered": {func(b testEnv) (*dedupe.Claim, *dedupe.Sent) {
			c := b.must(testOrder, false, dedupe.Fresh)
			return c, b.send(c)
		}, true},
		"answered after waits": {func(b testEnv) (*dedupe.Claim, *dedupe.Sent) {
			b.ok(b.Wait(b.ctx(), b.sent(), 1, soon))
			c := b.must(testOrder, true, dedupe.Ready)
			return c, b.send(c)
		}, true},
		"after a disproof": {func(b testEnv) (*dedupe.Claim, *dedupe.Sent) {
			c := b.inDoubt()
			b.ok(b.Disprove(b.ctx(), c))
			return c, b.send(c)
		}, true},
		"beside an earlier attempt that is open": {func(b testEnv) (*dedupe.Claim, *dedupe.Sent) {
			c := b.inDoubt()
			return c, b.send(c)
		}, false},
		"after the lease": {func(b testEnv) (*dedupe.Claim, *dedupe.Sent) {
			c := b.must(testOrder, false, dedupe.Fresh)
			sent := b.send(c)
			time.Sleep(time.Hour)
			return c, sent
		}, false},
		"no events are read": {func(b testEnv) (*dedupe.Claim, *dedupe.Sent) {
			b.Store = dedupe.New(b.cache, b.journal, nil, b.cfg)
			c := b.must(testOrder, false, dedupe.Fresh)
			return c, b.send(c)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _, _ := eventEnv(t)
				claim, sent := c.life(b)
				if got := sent.EventSuffices(); got != c.want || b.record().State != dedupe.StateIntent {
					t.Errorf("the event suffices: %v, want %v; journal %+v", got, c.want, b.record())
				}
				for range 2 {
					got, err := b.Finish(b.ctx(), claim, won, true)
					if r := b.record(); err != nil || string(got) != string(won) || claim.Verdict != dedupe.Final || r.State != dedupe.StateFinal || string(r.Result) != string(won) {
						t.Errorf("finish = %s, %v; journal %+v", got, err, r)
					}
				}
				b.wipe()
				time.Sleep(time.Minute)
				if got := b.must(testOrder, true, dedupe.Final); string(got.Result) != string(won) {
					t.Errorf("claim %+v", got)
				}
			})
		})
	}
}

// Every other result is journalled.
func TestStoreResultIsJournalled(t *testing.T) {
	for name, c := range map[string]struct {
		life      func(b testEnv) *dedupe.Claim
		succeeded bool
	}{
		"failed":              {(testEnv).sent, false},
		"found by the lookup": {(testEnv).inDoubt, true},
		"failed, never sent":  {func(b testEnv) *dedupe.Claim { return b.must(testOrder, false, dedupe.Fresh) }, false},
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
				if r := b.record(); err != nil || string(got) != string(result) || claim.Verdict != dedupe.Final || r.State != dedupe.StateFinal {
					t.Errorf("finish = %s, %v; journal %q", got, err, r.State)
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
			b.ok(b.parkBought(c))
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
		b.lost(b.parkBought(slow)) // it no longer owns the order
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
