package dedupe

import (
	"sync/atomic"
	"time"
)

// For the tests of package dedupe_test.
const (
	ClaimPause = claimPause
	ClockSkew  = clockSkew
)

func FloorMillis(t time.Time) time.Time { return floorMillis(t) }
func CeilMillis(t time.Time) time.Time  { return ceilMillis(t) }

// ForgetRevision gives c a revision of its own, which a copy of c does not share.
func (c *Claim) ForgetRevision() {
	rev := c.revision()
	c.rev = new(atomic.Uint64)
	c.rev.Store(rev)
}

// ForgetBought makes c forget that the journal has Doubt.Bought.
func (c *Claim) ForgetBought() { c.known.Bought = false }

// SetLease gives c a lease that was requested at that time.
func (c *Claim) SetLease(at time.Time, lease time.Duration) { c.setLease(at, lease) }

// StoredOrder returns the order as the stores have it.
func (c *Claim) StoredOrder() Order { return c.storedOrder() }
