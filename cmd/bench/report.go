package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// report writes the table of a comparison: of each measure the median of the
// runs and their spread, the ratio of the sides, and the goal with whether it is met.
// It returns a line for each goal.
func (c comparison) report(left, right []sample, out io.Writer) (verdicts []string, err error) {
	fmt.Fprintf(out, "\n%s\n", c.heading())
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "\t%s\t%s\tratio\tgoal\n", c.left.label, c.right.label)
	for _, m := range c.measures {
		a, b := m.values(left), m.values(right)
		aim := ""
		if m.goal != nil {
			got, verdict := m.goal.got(a, b), "MISSED"
			if m.goal.met(got) {
				verdict = "met"
			}
			aim = m.goal.String() + "\t" + verdict
			verdicts = append(verdicts, fmt.Sprintf("%-6s  %s, %s: %s, %v", verdict, c.name, m.name, got.text(2), m.goal))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.name, spreadOf(a).text(m.digits), spreadOf(b).text(m.digits), pairs(a, b, quotient).text(2), aim)
	}
	return verdicts, w.Flush()
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
