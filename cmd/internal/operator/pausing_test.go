package operator

import (
	"errors"
	"strings"
	"testing"
	"time"

	"orderworker/worker/halt"
)

// Who pauses is told what that replaces, and if it makes the buying go on sooner.
func TestReplaced(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	lasting := &Before{State: halt.State{Paused: true, By: "boss", Reason: "fraud"}}
	ending := &Before{State: halt.State{Paused: true, By: "boss", Reason: "fraud", Until: now.Add(time.Hour)}}
	const already, sooner = "It is paused already: ", " It ends sooner than the pause before: orders are bought again at 12:30:00."
	for name, c := range map[string]struct {
		before          *Before
		lasts           time.Duration
		begins          string
		shortens, empty bool
	}{
		"nothing":               {&Before{}, time.Hour, "", false, true},
		"a pause that is over":  {&Before{State: halt.State{Paused: true, Until: now.Add(-time.Second)}}, time.Hour, "", false, true},
		"nobody can read it":    {&Before{Unread: errors.New("no JSON")}, 30 * time.Minute, "Yours replaces what there is: ", false, false},
		"without an end, both":  {lasting, 0, already, false, false},
		"without an end":        {lasting, 30 * time.Minute, already, true, false},
		"ends later than yours": {ending, 30 * time.Minute, already, true, false},
		"ends with yours":       {ending, time.Hour, already, false, false},
		"yours has no end":      {ending, 0, already, false, false},
	} {
		got := c.before.Replaced(c.lasts, now)
		if !strings.HasPrefix(got, c.begins) || strings.HasSuffix(got, sooner) != c.shortens || (got == "") != c.empty {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What a worker tells through Redis is shown, not obeyed, by the terminal.
func TestBuyingIsShown(t *testing.T) {
	hostile := "worker \x1b[2J\nbuying   yes"
	for _, b := range []Buying{{Unknown: hostile}, {Operator: &halt.State{Paused: true}, Unknown: hostile}} {
		if text := b.text(time.Now()); strings.ContainsAny(text, "\x1b\n") || !strings.Contains(text, "buying   yes") {
			t.Errorf("%q", text)
		}
	}
}
