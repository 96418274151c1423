package worker

import (
	"testing"
	"time"
)

func TestClockCompare(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		there time.Time
		bad   bool
	}{
		"between":      {now.Add(time.Second), false},
		"a bit early":  {now.Add(-4 * time.Second), false},
		"a bit late":   {now.Add(6 * time.Second), false}, // 4 s after the answer came
		"6 s early":    {now.Add(-6 * time.Second), true},
		"6 s late":     {now.Add(8 * time.Second), true},
		"does not say": {time.Time{}, false},
	} {
		clock := Clock{Server: "Redis"}
		if got := clock.Compare(now, c.there, now.Add(2*time.Second)); (got != "") != c.bad {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// The fault names both times and the cure, and stays the same while it stands.
func TestClockStaysWrong(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	clock := Clock{Server: "Redis"}
	const want = "Redis: its clock says 2026-11-23T09:59:50.000Z and this host's 2026-11-23T10:00:00.000Z, more than 5s apart: an order could be sent again too early; set both clocks by NTP"
	for i, apart := range []time.Duration{10 * time.Second, 11 * time.Second, 6 * time.Second} {
		if got := clock.Compare(now, now.Add(-apart), now); got != want {
			t.Errorf("look %d: %q, want %q", i, got, want)
		}
	}
	if got := clock.Compare(now, now, now); got != "" {
		t.Errorf("once it is right: %q", got)
	}
	if got := clock.Compare(now, now.Add(time.Minute), now); got == "" || got == want {
		t.Errorf("wrong again: %q", got)
	}
}
