package dedupe

import (
	"testing"
	"testing/synctest"
	"time"
)

// An order is claimed by a, parked, claimed by b, forgotten and finished, one
// write a second; then Redis falls back.
func TestMemoryFallsBack(t *testing.T) {
	before := map[string]struct { // the fall
		lose   int
		since  time.Duration
		want   State
		owner  string
		enough bool
	}{
		"by nothing":              {0, long, StateFinal, "", true},
		"before the final":        {1, 5 * time.Second, "", "", true},
		"before it was forgotten": {2, 4 * time.Second, StateReady, "b", true},
		"before b":                {3, 3 * time.Second, StateReady, "", true},
		"before it was parked":    {4, 2 * time.Second, StateClaimed, "a", true},
		"before a":                {5, time.Second, "", "", true},
		"before there was Redis":  {6, 0, "", "", false},
	}
	for name, fall := range before {
		for way, lose := range map[string]func(m *Memory, begun time.Time) bool{
			"by writes": func(m *Memory, _ time.Time) bool { return m.LoseWrites(fall.lose) },
			"by time":   func(m *Memory, begun time.Time) bool { m.LoseSince(begun.Add(fall.since)); return fall.enough },
		} {
			t.Run(name+", "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, begun := NewMemory(), time.Now()
					ctx, o := t.Context(), testOrder
					later := func() { time.Sleep(time.Second) }
					later()
					time.Sleep(time.Millisecond)
					mustHold(t, m, o, "a", long, holdNew)
					later()
					mustDo(t, m.Park(ctx, o, "a", Entry{State: StateReady}, 0), nil)
					later()
					mustHold(t, m, o, "b", long, holdParked)
					later()
					m.ForgetAll()
					later()
					mustDo(t, m.Remember(ctx, o, []byte("{}"), 0), nil)
					if enough := lose(m, begun); enough != fall.enough {
						t.Errorf("there were as many writes: %v, want %v", enough, fall.enough)
					}
					e, _, err := m.Look(ctx, o.OutTradeNo)
					if err != nil || e.State != fall.want || e.Owner != fall.owner {
						t.Errorf("%q of %q, %v; want %q of %q", e.State, e.Owner, err, fall.want, fall.owner)
					}
				})
			})
		}
	}
}
