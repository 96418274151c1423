package worker

import (
	"testing"

	"orderworker/upstream"
)

// What a whole round says of the rounds for operators: it was good if it proved something of
// an order that it did not find, or showed the control number and so could have.
func TestNoteRound(t *testing.T) {
	missing := map[string]bool{"A": true}
	for name, c := range map[string]struct {
		findings  upstream.Findings
		good, bad bool
	}{
		"proved":                            {upstream.Findings{Missing: missing, Seen: true}, true, false},
		"proved of one, not of another":     {upstream.Findings{Missing: missing, Seen: true, Why: "partial"}, true, false},
		"proved nothing":                    {upstream.Findings{Why: "control number BK-7 is not shown"}, false, true},
		"proved nothing, but was not blind": {upstream.Findings{Why: "partial", Seen: true}, false, true},
		"found all, and the control number": {upstream.Findings{Seen: true}, true, false},
		"found all, and it alone is known":  {upstream.Findings{}, false, false},
	} {
		l := &lookups{}
		l.noteRound(c.findings)
		if s := l.Proofs(); !s.Good.IsZero() != c.good || !s.Since.IsZero() != c.bad || s.What != c.findings.Why && c.bad {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
