package dedupe_test

import (
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
)

// An order is claimed by a, parked, claimed by b, forgotten and finished, with one write a
// second; then the cache loses its last writes.
func TestMemoryFallsBack(t *testing.T) {
	before := map[string]struct { // the fall
		lose   int
		since  time.Duration
		want   dedupe.State
		owner  string
		enough bool
	}{
		"by nothing":              {0, long, dedupe.StateFinal, "", true},
		"before the final":        {1, 5 * time.Second, "", "", true},
		"before it was forgotten": {2, 4 * time.Second, dedupe.StateReady, "b", true},
		"before b":                {3, 3 * time.Second, dedupe.StateReady, "", true},
		"before it was parked":    {4, 2 * time.Second, dedupe.StateClaimed, "a", true},
		"before a":                {5, time.Second, "", "", true},
		"before there was Redis":  {6, 0, "", "", false},
	}
	for name, fall := range before {
		for way, lose := range map[string]func(m *dedupetest.Memory, begun time.Time) bool{
			"by writes": func(m *dedupetest.Memory, _ time.Time) bool { return m.LoseWrites(fall.lose) },
			"by time": func(m *dedupetest.Memory, begun time.Time) bool {
				m.LoseSince(begun.Add(fall.since))
				return fall.enough
			},
		} {
			t.Run(name+", "+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m, begun := dedupetest.NewMemory(), time.Now()
					ctx, o := t.Context(), testOrder
					later := func() { time.Sleep(time.Second) }
					later()
					time.Sleep(time.Millisecond)
					mustHold(t, m, o, "a", long, holdNew)
					later()
					mustDo(t, m.Park(ctx, o, "a", dedupe.Entry{State: dedupe.StateReady}, 0), nil)
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
