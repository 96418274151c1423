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
	if got, want := ratios([]float64{10, 40, 90}, []float64{20, 40, 60}), (spread{1, 0.5, 1.5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := ratios([]float64{1}, []float64{0}).text(2); got != "-" {
		t.Errorf("a ratio to nothing is %q, want -", got)
	}
	if got := ratios([]float64{0}, []float64{0}); !math.IsNaN(got.median) || got.text(2) != "-" {
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
	at := func(v float64) spread { return spread{v, v, v} }
	for name, c := range map[string]struct {
		goal           goal
		itself, ratios float64
		want           bool
	}{
		"at least, just":  {goal{ratio, atLeast, 0.7}, 9, 0.7, true},
		"at least, short": {goal{ratio, atLeast, 0.7}, 9, 0.69, false},
		"at most, just":   {goal{ratio, atMost, 1.5}, 9, 1.5, true},
		"at most, over":   {goal{ratio, atMost, 1.5}, 1, 1.51, false},
		"under, just not": {goal{itself, under, 64}, 64, 1, false},
		"under":           {goal{itself, under, 64}, 63.9, 99, true},
		"not a number":    {goal{ratio, atLeast, 0.7}, 9, math.NaN(), false},
	} {
		if got := c.goal.met(at(c.itself), at(c.ratios)); got != c.want {
			t.Errorf("%s: met is %v, want %v", name, got, c.want)
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
