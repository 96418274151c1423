package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// report writes the table of a comparison: of each measure the median of the
// runs and their spread, the ratio of the sides, and the goal.
func (c comparison) report(left, right []sample, out io.Writer) error {
	fmt.Fprintf(out, "\n%s\n", c.heading())
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\t%s\t%s\tratio\tgoal\n", c.left.label, c.right.label)
	for _, m := range c.measures {
		a, b := m.values(left), m.values(right)
		of, than, quotient := spreadOf(a), spreadOf(b), ratios(a, b)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.name, of.text(m.digits), than.text(m.digits), quotient.text(2), m.goal.verdict(of, quotient))
	}
	return w.Flush()
}

func (m measure) values(of []sample) []float64 {
	values := make([]float64, len(of))
	for i, s := range of {
		values[i] = m.of(s)
	}
	return values
}

// text is the median, and in brackets the least and the most.
func (s spread) text(digits int) string {
	if math.IsNaN(s.median) || math.IsInf(s.median, 0) {
		return "-"
	}
	return fmt.Sprintf("%.*f (%.*f..%.*f)", digits, s.median, digits, s.least, digits, s.most)
}
