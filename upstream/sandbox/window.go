package sandbox

import "time"

// window is a sliding second: the arrivals of the last second, oldest first.
type window struct {
	arrivals []time.Time
}

// count removes the arrivals that are a second old or older at now, and returns how
// many are left. Now must not go back from one call to the next.
func (w *window) count(now time.Time) int {
	old := 0
	for old < len(w.arrivals) && now.Sub(w.arrivals[old]) >= time.Second {
		old++
	}
	w.arrivals = w.arrivals[old:] // append copies only these when it reallocates
	return len(w.arrivals)
}

// add adds an arrival at now, and returns the number of arrivals in the second that
// ends with it.
func (w *window) add(now time.Time) int {
	w.count(now)
	w.arrivals = append(w.arrivals, now)
	return len(w.arrivals)
}
