package dedupe_test

import (
	"testing"
	"time"

	"orderworker/dedupe"
)

// A duplicate may claim and continue an unfinished order. The order keeps the sequence of
// its first request, whatever is written and whatever the cache loses.
func TestStoreOrderStaysTheFirstRequests(t *testing.T) {
	second, third := testOrder, testOrder
	second.Seq, third.Seq = 20, 30
	eachStore(t, func(b testEnv) {
		want := func(c *dedupe.Claim) *dedupe.Claim {
			t.Helper()
			if c.First != testOrder.Seq {
				t.Fatalf("the order of request %d is %d's", testOrder.Seq, c.First)
			}
			return c
		}
		b.ok(b.Release(b.ctx(), want(b.must(testOrder, false, dedupe.Fresh))))
		c := want(b.must(second, false, dedupe.Ready)) // by Redis alone
		want(b.must(third, false, dedupe.Busy))
		b.die(c)
		c = want(b.must(third, false, dedupe.Fresh))
		b.wipe()
		b.ok(b.Renew(b.ctx(), c)) // recreated
		b.die(c)
		c = want(b.must(second, true, dedupe.Fresh))
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.ok(b.Wait(b.ctx(), c, 1, soon))
		c = want(b.must(third, false, dedupe.Ready))
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		b.wipe()
		c = want(b.must(second, true, dedupe.InDoubt)) // by the journal alone
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		c = want(b.must(third, true, dedupe.InDoubt))
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		if c.ResultSeq != testOrder.Seq {
			t.Errorf("the result is request %d's", c.ResultSeq)
		}
		b.ok(b.Remember(b.ctx(), c, won))
		if c := b.must(second, true, dedupe.Done); c.ResultSeq != testOrder.Seq {
			t.Errorf("the remembered result is request %d's", c.ResultSeq)
		}
	})
}

// If the later of two requests is claimed first, the earlier one becomes the first as
// soon as it is claimed.
func TestStoreEarlierRequestIsTheFirst(t *testing.T) {
	earlier := testOrder
	earlier.Seq = 3
	eachStore(t, func(b testEnv) {
		b.ok(b.Release(b.ctx(), b.must(testOrder, false, dedupe.Fresh)))
		c := b.must(earlier, false, dedupe.Ready)
		if c.First != 3 {
			t.Errorf("first %d, want 3", c.First)
		}
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		b.wipe()
		if c := b.must(testOrder, false, dedupe.Fresh); c.First != 7 { // nobody knows better yet
			t.Errorf("first %d, want 7", c.First)
		} else {
			b.lost(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		}
		if c := b.must(testOrder, true, dedupe.InDoubt); c.First != 3 {
			t.Errorf("first %d, want 3", c.First)
		}
	})
}

// A duplicate gets Expires of the first request, from the cache or from the journal. Its
// own does not count. If that of the first request is not known, Expires is nil.
func TestStoreFirstRequestsExpires(t *testing.T) {
	at, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	for _, expires := range []*time.Time{&at, nil} {
		first, second := testOrder, testOrder
		first.Expires = expires
		second.Seq, second.Expires = 20, &later
		eachStore(t, func(b testEnv) {
			want := func(c *dedupe.Claim) *dedupe.Claim {
				t.Helper()
				if (c.Expires == nil) != (expires == nil) || expires != nil && !c.Expires.Equal(*expires) {
					t.Fatalf("expires %v, want %v", c.Expires, expires)
				}
				return c
			}
			b.die(want(b.must(first, false, dedupe.Fresh)))
			c := want(b.must(second, false, dedupe.Fresh))
			b.wipe()
			b.ok(b.Renew(b.ctx(), c)) // recreated
			b.die(c)
			b.ok(b.Release(b.ctx(), want(b.must(second, true, dedupe.Fresh))))
			c = want(b.must(second, false, dedupe.Ready)) // by Redis alone
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
			b.wipe()
			want(b.must(second, true, dedupe.InDoubt)) // by the journal alone
		})
	}
}

// An expiry that has no RFC 3339 form counts as not known, and the order is not lost.
func TestStoreExpiresOutOfRange(t *testing.T) {
	far := time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -24*3600))
	o := testOrder
	o.Expires = &far
	eachStore(t, func(b testEnv) {
		c := b.must(o, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
	})
}
