package worker

import (
	"fmt"
	"time"
)

// MaxSkew is the most that the clocks of workers, Redis and NATS may differ.
//
// Source: contract, section 9.
const MaxSkew = 5 * time.Second

// Skew returns by how much, at least, a server's clock differs from this host's:
// negative where it is behind. The server said that its time was there, at some
// moment between before and after by this host's clock, so a late reply alone
// gives no skew.
func Skew(before, there, after time.Time) time.Duration {
	before, after = before.Round(0), after.Round(0) // compare wall clocks: the monotonic clock does not show when one was set
	switch {
	case there.Before(before):
		return there.Sub(before)
	case there.After(after):
		return there.Sub(after)
	}
	return 0
}

// Clock compares the clock of a server with this host's again and again. It is not
// safe for concurrent use.
type Clock struct {
	Server string // the server's name in the fault
	fault  string
}

// Compare returns what is wrong with the server's clock, or this host's, and ""
// where nothing is. The arguments are those of Skew; a zero there means that the
// server does not tell its time. While the fault lasts the text stays that of the
// first time, so that a caller can tell whether it has reported the fault.
func (c *Clock) Compare(before, there, after time.Time) string {
	skew := Skew(before, there, after)
	switch {
	case there.IsZero() || skew.Abs() <= MaxSkew:
		c.fault = ""
	case c.fault == "":
		c.fault = fmt.Sprintf("%s: its clock says %s and this host's %s, more than %v apart: an order could be sent again too early; set both clocks by NTP",
			c.Server, Time{there}, Time{after}, MaxSkew)
	}
	return c.fault
}
