package main

import (
	"math"
	"testing"
)

func TestSpread(t *testing.T) {
	for name, c := range map[string]struct {
		values []float64
		want   spread
	}{
		"one":  {[]float64{3}, spread{3, 3, 3}},
		"odd":  {[]float64{9, 1, 2}, spread{2, 1, 9}},
		"even": {[]float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A ratio is of runs that were neighbours, not of medians.
func TestRatiosAreOfPairs(t *testing.T) {
	if got, want := pairs([]float64{10, 40, 90}, []float64{20, 40, 60}, quotient), (spread{1, 0.5, 1.5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := pairs([]float64{1}, []float64{0}, quotient).text(2); got != "-" {
		t.Errorf("a ratio to nothing is %q, want -", got)
	}
	if got := pairs([]float64{0}, []float64{0}, quotient); !math.IsNaN(got.median) || got.text(2) != "-" {
		t.Errorf("a ratio of nothing to nothing is %v", got)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for p, want := range map[float64]int{0: 1, 0.5: 50, 0.99: 99, 0.991: 100, 1: 100} {
		if got := percentile(hundred, p); got != want {
			t.Errorf("p%g of 1..100 is %d, want %d", 100*p, got, want)
		}
	}
	if got := percentile([]int{7}, 0.99); got != 7 {
		t.Errorf("p99 of one value is %d", got)
	}
}

func TestGoals(t *testing.T) {
	for name, c := range map[string]struct {
		goal        goal
		left, right float64
		want        bool
		says        string
	}{
		"at least, just":  {goal{ratio, atLeast, 0.75}, 75, 100, true, "ratio >= 0.75"},
		"at least, short": {goal{ratio, atLeast, 0.75}, 74, 100, false, "ratio >= 0.75"},
		"at most, just":   {goal{ratio, atMost, 1.5}, 3, 2, true, "ratio <= 1.5"},
		"at most, over":   {goal{ratio, atMost, 1.5}, 3.1, 2, false, "ratio <= 1.5"},
		"excess, just":    {goal{excess, atMost, 4}, 29, 25, true, "excess <= 4"},
		"excess, over":    {goal{excess, atMost, 4}, 29.1, 25, false, "excess <= 4"},
		"under, just not": {goal{itself, under, 64}, 64, 100, false, "< 64"},
		"under":           {goal{itself, under, 64}, 63.9, 1, true, "< 64"},
		"not a number":    {goal{ratio, atLeast, 0.7}, 0, 0, false, "ratio >= 0.7"},
	} {
		if got := c.goal.met(c.goal.got([]float64{c.left}, []float64{c.right})); got != c.want || c.goal.String() != c.says {
			t.Errorf("%s: met is %v, want %v; %q, want %q", name, got, c.want, c.goal, c.says)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 30000: "30,000", 1000000: "1,000,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
