package sandbox

import "time"

// window is a sliding second: the arrivals of the last second, oldest first.
// It holds as many entries as there were arrivals in one second, not more.
type window struct {
	arrivals []time.Time
}

// count drops what is one second old or older at now and returns what is left.
// Calls must be made with times that do not go back.
func (w *window) count(now time.Time) int {
	old := 0
	for old < len(w.arrivals) && now.Sub(w.arrivals[old]) >= time.Second {
		old++
	}
	w.arrivals = w.arrivals[old:] // append copies the live part away when it runs out of room
	return len(w.arrivals)
}

// add enters an arrival at now and returns the size of the second that ends with it.
func (w *window) add(now time.Time) int {
	w.count(now)
	w.arrivals = append(w.arrivals, now)
	return len(w.arrivals)
}
