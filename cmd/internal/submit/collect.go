package submit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/worker"
	"orderworker/worker/client"
)

// tally counts how many of a file's rows have a result, by its status.
type tally struct {
	rows     int
	statuses map[worker.Status]int
	inDoubt  int      // open rows that are in doubt
	failures []string // the first rows that failed or were rejected, a line each
}

// shownFailures is how many rows tally.failures has at most.
const shownFailures = 10

func (t *tally) add(line int, r result) {
	t.rows++
	t.statuses[r.Status]++
	if r.Reason == worker.Reason(worker.InDoubt) {
		t.inDoubt++
	}
	if r.Status != worker.Succeeded && r.Status != statusOpen && len(t.failures) < shownFailures {
		t.failures = append(t.failures, fmt.Sprintf("line %d: %s %s, %s", line, r.OutTradeNo, r.Status,
			strings.Join(strings.Fields(string(r.Reason)+" "+r.Code+" "+r.Message), " ")))
	}
}

// String returns the counts on one line, and then tally.failures.
func (t *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d succeeded, %d failed, %d rejected, %d open", text.Counted(t.rows, "order"),
		t.statuses[worker.Succeeded], t.statuses[worker.Failed], t.statuses[worker.Rejected], t.statuses[statusOpen])
	if t.inDoubt > 0 {
		fmt.Fprintf(&b, " (%d of them in doubt)", t.inDoubt)
	}
	b.WriteByte('\n')
	for _, line := range t.failures {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	if n := t.statuses[worker.Failed] + t.statuses[worker.Rejected] - len(t.failures); n > 0 {
		fmt.Fprintf(&b, "  and %d more\n", n)
	}
	return b.String()
}

// collect reads the outcome of each row, in the order of the file, and writes its line to
// out. out may be nil.
func (f *file) collect(ctx context.Context, c reader, out *output, p *progress) (*tally, error) {
	t := &tally{statuses: map[worker.Status]int{}}
	for i := range f.chunks {
		rows, outcomes, err := f.outcomesAgain(ctx, c, i, func(note string) { p.set(t.rows, note) })
		if err != nil {
			return t, err
		}
		for k, row := range rows {
			line := newResult(row.request, outcomes[k])
			t.add(row.line, line)
			if out == nil {
				continue
			}
			if err := out.write(line); err != nil {
				return t, err
			}
		}
		p.set(t.rows, "")
	}
	p.end(t.rows)
	return t, nil
}

// outcomesAgain reads the outcome of each row of a chunk. Any replica of the stream may
// answer, and one that is behind does not have what another has shown already: then it asks
// again, until each row that was final is final. It calls waiting with the reason.
func (f *file) outcomesAgain(ctx context.Context, c reader, i int, waiting func(note string)) ([]*row, []client.Outcome, error) {
	chunk := &f.chunks[i]
	followed := len(chunk.final) > 0
	for wait := shortestWait; ; wait = min(wait*3/2, longestWait) {
		rows, outcomes, err := f.outcomes(ctx, c, i, func(int) bool { return false })
		missing := 0
		for k, o := range outcomes {
			if chunk.final.has(k) && !o.Final {
				missing++
			}
		}
		switch {
		case err == nil && missing == 0:
			return rows, outcomes, nil
		case err == nil:
			waiting(fmt.Sprintf("a replica of the results stream may be behind: it does not have %s that another had", text.Counted(missing, "final event")))
		case followed && errors.Is(err, client.ErrUnavailable) && ctx.Err() == nil:
			waiting(text.OneLine(err))
		default:
			return nil, nil, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}
