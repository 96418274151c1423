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
	itself subject = "itself" // of the left side
)

// sense is on which side of the limit is good.
type sense string

const (
	atLeast sense = ">="
	atMost  sense = "<="
	under   sense = "<"
)

// met says whether the median of the runs is what it should be.
func (g goal) met(of, ratios spread) bool {
	got := of.median
	if g.of == ratio {
		got = ratios.median
	}
	switch g.sense {
	case atLeast:
		return got >= g.limit
	case atMost:
		return got <= g.limit
	default:
		return got < g.limit
	}
}

// verdict says the goal, and whether it was met; nothing where there is none.
func (g *goal) verdict(of, ratios spread) string {
	if g == nil {
		return ""
	}
	verdict := "MISSED"
	if g.met(of, ratios) {
		verdict = "met"
	}
	what := "ratio "
	if g.of == itself {
		what = ""
	}
	return fmt.Sprintf("%s%s %g\t%s", what, g.sense, g.limit, verdict)
}
