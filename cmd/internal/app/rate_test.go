package app

import (
	"testing"
	"time"
)

// A request each 105 ms is shown as 9.5 a second, wherever the samples fall: samples of 3 s
// alone would show up to 9.7.
func TestRate(t *testing.T) {
	const spacing = 105 * time.Millisecond
	r := rate{span: 30 * time.Second}
	start := time.Now()
	var last float64
	for i := range 40 {
		at := time.Duration(i) * 3001 * time.Millisecond
		last = r.add(start.Add(at), uint64(at/spacing))
		if i > 10 && (last < 9.48 || last > 9.56) {
			t.Errorf("after %v: %.3f", at, last)
		}
	}
	for i := range 11 { // nothing is sent any more
		last = r.add(start.Add(120*time.Second+time.Duration(i)*3*time.Second), uint64(39*3001*time.Millisecond/spacing))
	}
	if last != 0 {
		t.Errorf("30 s after the last request: %v", last)
	}
}
