package submit

import (
	"context"
	"errors"
	"iter"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/worker/client"
)

// requests returns the orders of the file, without duplicates, in the order of the file.
func (f *file) requests() iter.Seq2[client.Request, error] {
	return func(yield func(client.Request, error) bool) {
		for i := range f.chunks {
			rows, err := f.read(i)
			if err != nil {
				yield(client.Request{}, err)
				return
			}
			for k, row := range rows {
				if !f.duplicate.has(i*chunkRows+k) && !yield(row.request, nil) {
					return
				}
			}
		}
	}
}

// reader reads outcomes, as *client.Client does.
type reader interface {
	Results(ctx context.Context, requests []client.Request) ([]client.Outcome, error)
}

// outcomes reads a chunk of the file again, and from the results stream the outcome of each
// row. Rows that skip reports get the zero Outcome and are not looked up.
func (f *file) outcomes(ctx context.Context, c reader, chunk int, skip func(row int) bool) ([]*row, []client.Outcome, error) {
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
	// Orders become final roughly in the order of the file. So a pass over the chunks with
	// open orders stops once this many in a row, behind the last chunk that ever had a final
	// one, have nothing new.
	quietChunks = 5
	// A full pass does not stop. It is made at least this often, unless it takes so long
	// that this would be more than a twentieth of the time.
	fullPassEvery = 10 * time.Second

	shortestWait, longestWait = 100 * time.Millisecond, 2 * time.Second // between two passes
)

// follower waits until the orders of a file are final.
type follower struct {
	*file
	client    reader
	connected func() bool // the connection to NATS is there
	progress  *progress

	known    int           // orders that are known to be final
	frontier int           // index of the last chunk in which an order has become final
	fullAt   time.Time     // when the last full pass ended
	fullTook time.Duration // how long it took
}

// follow waits until every order of the file is final. It also waits while the results
// cannot be read: that may take as long as a server's restart or an election.
func (f *file) follow(ctx context.Context, c reader, connected func() bool, p *progress) error {
	w := &follower{file: f, client: c, connected: connected, progress: p}
	for wait := shortestWait; ; {
		news, err := w.pass(ctx)
		switch {
		case errors.Is(err, client.ErrUnavailable) && ctx.Err() == nil:
			p.set(w.known, text.OneLine(err))
		case err != nil:
			return err
		}
		if w.known == f.rows {
			p.end(w.known)
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

// pass asks for the open orders once, and returns how many have become final.
func (w *follower) pass(ctx context.Context) (news int, err error) {
	began, quiet := time.Now(), 0
	full := began.Sub(w.fullAt) > max(fullPassEvery, 20*w.fullTook)
	for i := range w.chunks {
		if w.chunks[i].left == 0 {
			continue
		}
		if !full && i > w.frontier && quiet >= quietChunks {
			break
		}
		if !w.connected() { // the client waits for the connection
			w.progress.set(w.known, "the connection to NATS is lost")
		}
		n, err := w.ask(ctx, w.client, i)
		if err != nil {
			return news, err
		}
		if n > 0 {
			w.frontier, quiet = max(w.frontier, i), 0
		}
		quiet++
		news += n
		w.known += n
		w.progress.set(w.known, "")
	}
	if full {
		w.fullAt, w.fullTook = time.Now(), time.Since(began)
	}
	return news, nil
}

// ask reads the outcomes of the open rows of chunk i, and returns how many have become
// final.
func (f *file) ask(ctx context.Context, c reader, i int) (news int, err error) {
	chunk := &f.chunks[i]
	_, outcomes, err := f.outcomes(ctx, c, i, chunk.final.has)
	if err != nil {
		return 0, err
	}
	for k, o := range outcomes {
		if o.Final {
			chunk.final.set(k)
			chunk.left--
			news++
		}
	}
	return news, nil
}
