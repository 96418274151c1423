package main

import (
	"math"
	"slices"
)

// spread is what several runs gave.
type spread struct{ median, least, most float64 }

// spreadOf is the spread of values, of which there is at least one. Of an even
// number the median is the mean of the two in the middle.
func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return spread{median: (sorted[(n-1)/2] + sorted[n/2]) / 2, least: sorted[0], most: sorted[n-1]}
}

// pairs compares a's values with b's, run by run: what slowed the machine down
// slowed both of a pair down.
func pairs(a, b []float64, compare func(a, b float64) float64) spread {
	compared := make([]float64, len(a))
	for i := range a {
		compared[i] = compare(a[i], b[i])
	}
	return spreadOf(compared)
}

// quotient returns a/b; of 0 and 0 that is NaN.
func quotient(a, b float64) float64 { return a / b }

func difference(a, b float64) float64 { return a - b }

// percentile is the value that p (0..1) of all sorted values do not exceed, by
// nearest rank; 1 is the largest.
func percentile[T any](sorted []T, p float64) T {
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
