package submit

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"orderworker/worker"
	"orderworker/worker/client"
)

// requests are the orders of the file, each number once, in the order of the file.
func (f *file) requests() iter.Seq2[client.Request, error] {
	return func(yield func(client.Request, error) bool) {
		for i := range f.chunks {
			rows, err := f.read(i)
			if err != nil {
				yield(client.Request{}, err)
				return
			}
			for k, row := range rows {
				if !f.repeat.has(i*chunkRows+k) && !yield(row.request, nil) {
					return
				}
			}
		}
	}
}

// outcomes reads a chunk of the file, and what the results stream says of its rows.
func (f *file) outcomes(ctx context.Context, c *client.Client, chunk int, skip func(row int) bool) ([]*row, []client.Outcome, error) {
	rows, err := f.read(chunk)
	if err != nil {
		return nil, nil, err
	}
	asked := make([]client.Request, 0, len(rows))
	for i, row := range rows {
		if !skip(i) {
			asked = append(asked, row.request)
		}
	}
	got, err := c.Results(ctx, asked)
	if err != nil {
		return nil, nil, err
	}
	all := make([]client.Outcome, len(rows))
	for i := range rows {
		if !skip(i) {
			all[i], got = got[0], got[1:]
		}
	}
	return rows, all, nil
}

const (
	// Orders are finished about in the order of the file. A pass over those that are open
	// ends when this many chunks behind the last that had news had none.
	quietChunks = 5
	// A pass over all of them comes at least this often, and takes a twentieth of the time
	// at most.
	fullPassEvery = 10 * time.Second

	shortestWait, longestWait = 100 * time.Millisecond, 2 * time.Second
)

// follow waits until every order of the file is final.
func (f *file) follow(ctx context.Context, c *client.Client, p *progress) error {
	final, frontier := 0, 0
	var lastFull time.Time
	full := time.Duration(0) // how long a whole pass takes
	wait := shortestWait
	for {
		began, news, quiet := time.Now(), 0, 0
		whole := began.Sub(lastFull) > max(fullPassEvery, 20*full)
		for i := range f.chunks {
			if f.chunks[i].left == 0 {
				continue
			}
			if !whole && i > frontier && quiet >= quietChunks {
				break
			}
			n, err := f.ask(ctx, c, i)
			if err != nil {
				return err
			}
			if n > 0 {
				frontier, quiet = max(frontier, i), 0
			}
			quiet++
			news += n
			p.set(final+news, "")
		}
		if whole {
			lastFull, full = time.Now(), time.Since(began)
		}
		if final += news; final == f.rows {
			p.end(final)
			return nil
		}
		if wait = min(wait*3/2, longestWait); news > 0 {
			wait = shortestWait
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// ask looks whether rows of a chunk that are open have become final, and returns how many
// have.
func (f *file) ask(ctx context.Context, c *client.Client, i int) (news int, err error) {
	chunk := &f.chunks[i]
	_, outcomes, err := f.outcomes(ctx, c, i, chunk.done.has)
	if err != nil {
		return 0, err
	}
	for k, o := range outcomes {
		if o.Final {
			chunk.done.set(k)
			chunk.left--
			news++
		}
	}
	return news, nil
}

// tally counts how the rows of a file ended.
type tally struct {
	rows     int
	statuses map[worker.Status]int
	inDoubt  int
	failures []string // the first rows that did not succeed
}

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

// String has the numbers in one line, and then the first rows that did not succeed.
func (t *tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d succeeded, %d failed, %d rejected, %d open", count(t.rows, "order"),
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

// collect reads the outcome of each row, in the order of the file, and writes it to out
// if that is not nil.
func (f *file) collect(ctx context.Context, c *client.Client, out *output, p *progress) (*tally, error) {
	t := &tally{statuses: map[worker.Status]int{}}
	for i := range f.chunks {
		rows, outcomes, err := f.outcomes(ctx, c, i, func(int) bool { return false })
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
