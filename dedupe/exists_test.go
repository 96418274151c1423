package dedupe

import (
	"testing"
	"time"
)

// An order of which the vendor said that it exists is never sent again and never
// disproved by a lookup, whatever Redis loses. Only an operator may say that it
// was not bought.
func TestStoreExistsSurvives(t *testing.T) {
	eachStore(t, func(b bench) {
		c := b.sentBy(testOrder)
		d := c.Doubt
		d.Exists = true
		b.ok(b.Doubt(b.ctx(), c, d, soon))
		for _, wiped := range []bool{false, true} {
			if wiped {
				b.wipe()
			}
			c = b.must(testOrder, true, InDoubt)
			if !c.Doubt.Exists || c.Doubt.Bought {
				t.Errorf("doubt %+v, wiped: %v", c.Doubt, wiped)
			}
			b.misused(b.Intent(b.ctx(), c, time.Now()))
			b.misused(b.Disprove(b.ctx(), c))
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		}
		b.ok(b.settle(testOrder.OutTradeNo, nil))
		c = b.must(testOrder, true, Ready)
		b.ok(b.Intent(b.ctx(), c, time.Now()))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		if c := b.must(testOrder, true, InDoubt); c.Doubt.Exists {
			t.Errorf("doubt %+v of the next attempt", c.Doubt)
		}
	})
}

// Two owners each learn something of one order: neither fact covers the other.
func TestStoreExistsAndBought(t *testing.T) {
	eachStore(t, func(b bench) {
		stale := b.sentBy(testOrder)
		b.die(stale)
		c := b.must(testOrder, true, InDoubt)
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
