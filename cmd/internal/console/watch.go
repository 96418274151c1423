package console

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"orderworker/cmd/internal/operator"
)

const (
	// Unfinished orders are read again after this many times as long as it took, so that
	// 10,000 of them do not keep the stores busy.
	restFactor = 4

	shortestRest = time.Second
	longestRest  = 30 * time.Second

	// lookedAt is how long after somebody has looked the rows are kept fresh.
	lookedAt = time.Minute

	// maxQueued is how many requests that no worker has taken are read.
	maxQueued = 50_000
)

// watch keeps the index up to date until ctx ends.
func (x *Index) watch(ctx context.Context, desk *operator.Desk, log zerolog.Logger) {
	var all sync.WaitGroup
	all.Go(func() { x.followFinished(ctx, desk, log) })
	all.Go(func() { x.followDead(ctx, desk, log) })
	all.Go(func() { x.scanOrders(ctx, desk) })
	all.Wait()
}

// rest waits for a moment; false: ctx has ended.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// followFinished adds the final events as they are stored.
func (x *Index) followFinished(ctx context.Context, desk *operator.Desk, log zerolog.Logger) {
	var from uint64
	for ok := true; ok; ok = rest(ctx, time.Second) {
		err := desk.FollowFinished(ctx, from, uint64(x.bound), func(row operator.Row, seq uint64) {
			x.finish(row)
			from = seq + 1
		})
		if errors.Is(err, operator.ErrStreamAnew) {
			x.forget()
			from = 0
		}
		log.Debug().Err(err).Str("stream", desk.ResultsStream).Msg("stream is not followed, retrying")
	}
}

// followDead adds the dead letters as they are stored, and removes those that are gone.
func (x *Index) followDead(ctx context.Context, desk *operator.Desk, log zerolog.Logger) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		var count, held uint64
		for rest(ctx, time.Second) {
			x.mu.RLock()
			now, have := x.overview.Counts.Dead, uint64(len(x.letters))
			x.mu.RUnlock()
			if now == count && have == held || now == have {
				continue
			}
			if x.dropGone(ctx, desk) == nil {
				count, held = now, have
			}
		}
	})
	var from uint64
	for ok := true; ok; ok = rest(ctx, time.Second) {
		err := desk.FollowDead(ctx, from, maxLetters, func(l operator.DeadLetter) {
			x.bury(l)
			from = l.Seq + 1
		})
		if errors.Is(err, operator.ErrStreamAnew) {
			x.mu.Lock()
			x.letters, from = nil, 0
			x.mu.Unlock()
		}
		log.Debug().Err(err).Str("stream", desk.DeadStream).Msg("stream is not followed, retrying")
	}
}

// bury adds a dead letter.
func (x *Index) bury(l operator.DeadLetter) {
	l.Error, l.Reason = cut(l.Error, maxField), cut(l.Reason, maxField)
	l.OutTradeNo, l.ICCID, l.PackageCode = cut(l.OutTradeNo, maxField), cut(l.ICCID, maxField), cut(l.PackageCode, maxField)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.letters = append(x.letters, l)
	if len(x.letters) > maxLetters {
		x.letters = slices.Delete(x.letters, 0, len(x.letters)-maxLetters)
	}
}

// dropGone removes the letters that are not in their stream any more.
func (x *Index) dropGone(ctx context.Context, desk *operator.Desk) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	first, last, count, gone, err := desk.DeadLeft(ctx)
	if err != nil {
		return err
	}
	slices.Sort(gone)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.letters = slices.DeleteFunc(x.letters, func(l operator.DeadLetter) bool {
		_, removed := slices.BinarySearch(gone, l.Seq)
		return l.Seq < first || removed || count == 0 && l.Seq <= last
	})
	x.lettersLost = count - min(count, uint64(len(x.letters)))
	return nil
}

// dropLetters removes letters that this console has replayed: they vanish at once.
func (x *Index) dropLetters(ctx context.Context, desk *operator.Desk) {
	_ = x.dropGone(ctx, desk) // otherwise within some seconds
}

// scanOrders reads the unfinished orders again and again: often while somebody looks and
// they are few, seldom otherwise. Between two scans it asks how the deployment fares.
func (x *Index) scanOrders(ctx context.Context, desk *operator.Desk) {
	for ctx.Err() == nil {
		began := time.Now()
		x.scanOnce(ctx, desk)
		pause := min(max(restFactor*time.Since(began), shortestRest), longestRest)
		if time.Since(time.Unix(x.looked.Load(), 0)) > lookedAt {
			pause = longestRest
		}
		x.waitToScan(ctx, desk, pause)
	}
}

// scanOnce reads the unfinished orders.
func (x *Index) scanOnce(ctx context.Context, desk *operator.Desk) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ended := x.endedSoFar()
	o, rows := desk.Unfinished(ctx, maxQueued)
	if ctx.Err() == nil {
		x.scan(o, rows, ended)
	}
}

// waitToScan waits for as long as pause or until it is poked, and refreshes the overview
// meanwhile.
func (x *Index) waitToScan(ctx context.Context, desk *operator.Desk, pause time.Duration) {
	until := time.After(pause)
	for {
		select {
		case <-ctx.Done():
			return
		case <-until:
			return
		case <-x.poked:
			return
		case <-time.After(shortestRest):
		}
		short, cancel := context.WithTimeout(ctx, patience)
		if o := desk.Fleet(short); short.Err() == nil {
			x.refresh(o)
		}
		cancel()
	}
}
