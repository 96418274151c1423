package dedupe_test

import (
	"testing"
	"time"

	"orderworker/dedupe"
)

// An order that exists at the vendor is never sent again, and no lookup disproves it,
// whatever the cache loses. Only an operator can settle it as not bought.
func TestStoreExistsSurvives(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.sentBy(testOrder)
		d := c.Doubt
		d.Exists = true
		b.ok(b.Doubt(b.ctx(), c, d, soon))
		for _, wiped := range []bool{false, true} {
			if wiped {
				b.wipe()
			}
			c = b.must(testOrder, true, dedupe.InDoubt)
			if !c.Doubt.Exists || c.Doubt.Bought {
				t.Errorf("doubt %+v, wiped: %v", c.Doubt, wiped)
			}
			b.misused(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			b.misused(b.Disprove(b.ctx(), c))
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		}
		b.ok(b.settle(testOrder.OutTradeNo, nil))
		c = b.must(testOrder, true, dedupe.Ready)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		if c := b.must(testOrder, true, dedupe.InDoubt); c.Doubt.Exists {
			t.Errorf("doubt %+v of the next attempt", c.Doubt)
		}
	})
}

// Two owners each journal a fact about one order, and both facts remain.
func TestStoreExistsAndBought(t *testing.T) {
	eachStore(t, func(b testEnv) {
		stale := b.sentBy(testOrder)
		b.die(stale)
		c := b.must(testOrder, true, dedupe.InDoubt)
		d := c.Doubt
		d.Bought = true
		b.ok(b.Doubt(b.ctx(), c, d, soon))
		d = stale.Doubt
		d.Exists = true
		b.lost(b.Doubt(b.ctx(), stale, d, soon))
		if r := b.record(); !r.Bought || !r.Exists {
			t.Errorf("journal %+v", r)
		}
		if err := b.settle(testOrder.OutTradeNo, nil); err == nil {
			t.Error("an order that was bought is settled as not bought")
		}
	})
}

// Over is the latest end of all open requests of an order, and zero if the end of one of
// them is not known.
func TestStoreOverOfTheOpenAttempts(t *testing.T) {
	eachStore(t, func(b testEnv) {
		at := dedupe.CeilMillis(time.Now())
		want := func(sendBy, over time.Duration) {
			t.Helper()
			r := b.record()
			if !r.SendBy.Equal(at.Add(sendBy)) || over != 0 && !r.Over.Equal(at.Add(over)) || over == 0 && !r.Over.IsZero() {
				t.Errorf("send by %v, over %v; want %v, %v", r.SendBy.Sub(at), r.Over.Sub(at), sendBy, over)
			}
		}
		c := b.must(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, at, at.Add(time.Hour)))
		want(0, time.Hour)
		b.park(c) // remembers it
		if k, err := b.Look(b.ctx(), testOrder.OutTradeNo); err != nil || !k.Cache.Doubt.Over.Equal(at.Add(time.Hour)) {
			t.Errorf("redis %+v, %v", k.Cache.Doubt, err)
		}
		b.wipe()
		c = b.must(testOrder, true, dedupe.InDoubt)
		if !c.Doubt.Over.Equal(at.Add(time.Hour)) {
			t.Errorf("doubt %+v", c.Doubt)
		}
		b.ok(b.Intent(b.ctx(), c, at.Add(time.Minute), at.Add(2*time.Minute))) // sent again
		want(time.Minute, time.Hour)
		late, later := *c, *c
		later.ForgetRevision() // it knows nothing of what late writes
		b.wipe()
		b.ok(b.Intent(b.ctx(), b.must(testOrder, true, dedupe.InDoubt), at.Add(3*time.Minute), at.Add(2*time.Hour)))
		d := late.Doubt
		d.Exists = true
		_ = b.Doubt(b.ctx(), &late, d, soon) // covers the newer intent
		want(3*time.Minute, 2*time.Hour)

		d.SendBy, d.Over = at.Add(4*time.Minute), at.Add(5*time.Minute)
		_ = b.Doubt(b.ctx(), &later, d, soon)
		want(4*time.Minute, 2*time.Hour)

		r := b.record() // of an old release, sent later
		r.SendBy, r.Over, r.Owner = at.Add(6*time.Minute), time.Time{}, "old"
		_, rev, err := b.journal.Read(b.ctx(), testOrder.OutTradeNo)
		b.ok(err)
		_, err = b.journal.Write(b.ctx(), testOrder.OutTradeNo, r, rev)
		b.ok(err)
		d.Bought = true
		_ = b.Doubt(b.ctx(), &late, d, soon)
		want(6*time.Minute, 0)
	})
}
