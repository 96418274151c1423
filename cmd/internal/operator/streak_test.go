package operator

import (
	"fmt"
	"testing"
	"time"

	"orderworker/cmd/internal/vitals"
	"orderworker/upstream"
)

// A streak is that of all workers: a good answer to one of them ends it, and what began
// before it does not count. A worker of an older version tells nothing.
func TestStreakOfAllWorkers(t *testing.T) {
	start := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	bad := func(good, since, last int) *upstream.Streak {
		s := &upstream.Streak{Since: at(since), Last: at(last), What: fmt.Sprint("minute ", last)}
		if good >= 0 {
			s.Good = at(good)
		}
		return s
	}
	good := func(minute int) *upstream.Streak { return &upstream.Streak{Good: at(minute)} }
	for name, c := range map[string]struct {
		workers []*upstream.Streak
		want    string
	}{
		"no worker":                        {nil, ""},
		"old workers":                      {[]*upstream.Streak{nil, nil}, ""},
		"nothing was asked":                {[]*upstream.Streak{{}, {}}, ""},
		"good":                             {[]*upstream.Streak{good(3), good(5)}, ""},
		"bad, the other was not asked":     {[]*upstream.Streak{bad(-1, 1, 4), {}}, "since 1, last 4 minute 4, 1 of 2"},
		"bad, the other is old":            {[]*upstream.Streak{bad(0, 1, 4), nil}, "since 1, last 4 minute 4, 1 of 1"},
		"both bad":                         {[]*upstream.Streak{bad(0, 3, 4), bad(1, 2, 6)}, "since 2, last 6 minute 6, 2 of 2"},
		"bad, the other good later":        {[]*upstream.Streak{bad(0, 1, 4), good(5)}, ""},
		"bad, the other good before":       {[]*upstream.Streak{good(0), bad(-1, 1, 4)}, "since 1, last 4 minute 4, 1 of 2"},
		"bad, the other good in between":   {[]*upstream.Streak{good(3), bad(-1, 1, 4)}, "since 4, last 4 minute 4, 1 of 2"},
		"one ended, the other began later": {[]*upstream.Streak{bad(0, 1, 4), bad(5, 6, 7)}, "since 6, last 7 minute 7, 1 of 2"},
	} {
		workers := make([]vitals.Figures, len(c.workers))
		for i, s := range c.workers {
			workers[i].Orders = s
		}
		got := ""
		if s := streakOf(workers, func(w *vitals.Figures) *upstream.Streak { return w.Orders }); s != nil {
			got = fmt.Sprintf("since %v, last %v %s, %d of %d", s.Since.Sub(start).Minutes(), s.Last.Sub(start).Minutes(), s.What, s.Workers, s.Of)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
