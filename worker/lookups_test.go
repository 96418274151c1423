package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rs/zerolog"

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

type fixedControls struct {
	control Control
	ok      bool
	err     error
}

func (f fixedControls) FindControl(context.Context, time.Time) (Control, bool, error) {
	return f.control, f.ok, f.err
}

// A round without a control number says why it has none.
func TestControlFor(t *testing.T) {
	bk7 := Control{OutTradeNo: "BK-7"}
	for name, c := range map[string]struct {
		found   fixedControls
		want    Control
		without string
	}{
		"found":             {fixedControls{bk7, true, nil}, bk7, ""},
		"none is old":       {fixedControls{}, Control{}, ""},
		"cannot be read":    {fixedControls{err: errors.New("no permission")}, Control{}, "no control number: the results cannot be read"},
		"is asked for also": {fixedControls{Control{OutTradeNo: "A"}, true, nil}, Control{}, "the control number is itself looked up in this round"},
	} {
		l := &lookups{controls: c.found, logger: zerolog.Nop()}
		got, without := l.controlFor(t.Context(), map[string][]inquiry{"A": nil})
		if got != c.want || without != c.without {
			t.Errorf("%s: %v, %q, want %v, %q", name, got, without, c.want, c.without)
		}
	}
}
