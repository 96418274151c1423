package main

import "fmt"

// goal is what a measure should come to.
type goal struct {
	of    subject
	sense sense
	limit float64
}

// subject is which number a goal is about.
type subject string

const (
	ratio  subject = "ratio"  // of the left side to the right one
	excess subject = "excess" // of the left side over the right one
	itself subject = "itself" // of the left side
)

// sense is on which side of the limit is good.
type sense string

const (
	atLeast sense = ">="
	atMost  sense = "<="
	under   sense = "<"
)

// got returns the value that the goal limits, over the runs of both sides.
func (g goal) got(left, right []float64) spread {
	switch g.of {
	case ratio:
		return pairs(left, right, quotient)
	case excess:
		return pairs(left, right, difference)
	default:
		return spreadOf(left)
	}
}

// met reports whether the median of the runs keeps the limit.
func (g goal) met(got spread) bool {
	switch g.sense {
	case atLeast:
		return got.median >= g.limit
	case atMost:
		return got.median <= g.limit
	default:
		return got.median < g.limit
	}
}

// String is the goal in words: "ratio >= 0.8".
func (g goal) String() string {
	if g.of == itself {
		return fmt.Sprintf("%s %g", g.sense, g.limit)
	}
	return fmt.Sprintf("%s %s %g", g.of, g.sense, g.limit)
}
