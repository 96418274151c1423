package app

import "time"

// rate measures requests per second over a span. Over a short span, one request more or
// less would show as a rate above the quota.
type rate struct {
	span    time.Duration
	samples []sample // oldest first
}

// sample is how many requests there were in all at a moment.
type sample struct {
	at time.Time
	n  uint64
}

// add enters a sample, and returns the rate since the newest sample that is at
// least span old, or the oldest that there is.
func (r *rate) add(now time.Time, n uint64) float64 {
	r.samples = append(r.samples, sample{now, n})
	for len(r.samples) > 2 && now.Sub(r.samples[1].at) >= r.span {
		r.samples = r.samples[1:]
	}
	first := r.samples[0]
	since := now.Sub(first.at).Seconds()
	if since < 0.1 {
		return 0
	}
	return float64(n-first.n) / since
}
