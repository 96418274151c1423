package console

import "fmt"

// Chart is the results of the last hour as the parts of an SVG. Its lengths are in units of
// the viewBox in its template, 1160 by 165.
type Chart struct {
	Bars   []Bar
	Lines  []Line // across, with a number of results each
	Labels []Label
	Words  string // the same in a sentence, for those who do not see it
	Empty  bool
}

// Bar is one minute.
type Bar struct {
	X, OKY, OKHeight, BadY, BadHeight float64
	Title                             string
}

// Line is a line across the chart.
type Line struct {
	Y    float64
	Text string
}

// Label is a time below the chart.
type Label struct {
	X    float64
	Text string
}

const (
	chartLeft   = 40.0  // room for the numbers
	chartTop    = 8.0   // the highest bar ends here
	chartFloor  = 140.0 // bars stand on it
	barDistance = 18.5
	barWidth    = 15.0
)

// newChart draws minutes, oldest first.
func newChart(minutes []Minute) *Chart {
	c := &Chart{}
	most, succeeded, failed := 0, 0, 0
	for _, m := range minutes {
		most = max(most, m.Succeeded+m.Failed)
		succeeded += m.Succeeded
		failed += m.Failed
	}
	c.Empty = most == 0
	c.Words = fmt.Sprintf("Results in the last %d minutes: %d succeeded, %d failed; %d in the busiest minute.", len(minutes), succeeded, failed, most)
	top := roundUp(most)
	scale := (chartFloor - chartTop) / float64(top)
	for i, m := range minutes {
		ok, bad := float64(m.Succeeded)*scale, float64(m.Failed)*scale
		b := Bar{X: chartLeft + float64(i)*barDistance, OKHeight: ok, OKY: chartFloor - ok, BadHeight: bad, BadY: chartFloor - ok - bad}
		b.Title = fmt.Sprintf("%s: %d succeeded, %d failed", m.At.Format("15:04"), m.Succeeded, m.Failed)
		c.Bars = append(c.Bars, b)
		if m.At.Minute()%15 == 0 {
			c.Labels = append(c.Labels, Label{b.X + barWidth/2, m.At.Format("15:04")})
		}
	}
	parts := 2
	if top < 2 {
		parts = 1
	}
	for i := range parts + 1 {
		n := top * i / parts
		c.Lines = append(c.Lines, Line{chartFloor - float64(n)*scale, fmt.Sprint(n)})
	}
	return c
}

// roundUp returns a round number of at least n: 1, 2, 4, 6, 8, 10, 20, 40 and so on.
func roundUp(n int) int {
	for ten := 1; ; ten *= 10 {
		for _, f := range []int{1, 2, 4, 6, 8} {
			if f*ten >= n {
				return f * ten
			}
		}
	}
}
