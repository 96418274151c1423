package worker

import (
	"fmt"
	"time"
)

// MaxSkew is how far the clocks of a fleet may be apart.
//
// Source: contract, section 9.
const MaxSkew = 5 * time.Second

// Skew is how far a server's clock is from this host's at least, where it said
// there at some moment between before and after; negative: it is behind. A
// server that is slow to answer has no skew because of that.
func Skew(before, there, after time.Time) time.Duration {
	before, after = before.Round(0), after.Round(0) // wall clocks: the monotonic one knows of no step
	switch {
	case there.Before(before):
		return there.Sub(before)
	case there.After(after):
		return there.Sub(after)
	}
	return 0
}

// Clock is the clock of a server, compared with this host's again and again. It
// is for one goroutine.
type Clock struct {
	Server string // as the fault names it
	fault  string
}

// Compare says what is wrong with the server's clock, or this host's; "" for
// nothing. The arguments are Skew's; a server that does not tell its time says a
// zero there. While it stays wrong the words are those of the first time, so
// that whoever reports it can tell that it is no news.
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
