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

// ForgetRevision makes c know nothing of what another copy of it writes.
func (c *Claim) ForgetRevision() {
	rev := c.revision()
	c.rev = new(atomic.Uint64)
	c.rev.Store(rev)
}

// ForgetBought makes c not know that the journal has it down as bought.
func (c *Claim) ForgetBought() { c.bought = false }

// LeaseFrom makes the lease of c one that was asked for at.
func (c *Claim) LeaseFrom(at time.Time, lease time.Duration) { c.leased(at, lease) }

// Owned is the order as the stores keep it.
func (c *Claim) Owned() Order { return c.owned() }
