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

	// A scan has a minute, or longer where the servers answer and the last one was not done
	// by then.
	shortestScan = time.Minute
	longestScan  = 8 * time.Minute

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
	all.Go(func() {
		for rest(ctx, shortestRest) {
			x.refreshOnce(ctx, desk, patience)
		}
	})
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
	at := &operator.Cursor{Most: uint64(x.bound + x.bound/8), Began: func() { x.followed("results", nil) }} // some events are not final
	for ok := true; ok; ok = rest(ctx, time.Second) {
		err := desk.FollowFinished(ctx, at, x.finish)
		if errors.Is(err, operator.ErrStreamAnew) {
			x.forget()
			continue
		}
		x.followed("results", err)
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
			x.mu.Lock()
			now, have := x.overview.Counts.Dead, uint64(len(x.letters))
			if now == have {
				x.lettersLost = 0
			}
			x.mu.Unlock()
			if now == count && have == held || now == have {
				continue
			}
			if x.dropGone(ctx, desk) == nil {
				count, held = now, have
			}
		}
	})
	at := &operator.Cursor{Most: maxLetters, Began: func() { x.followed("dead letters", nil) }}
	for ok := true; ok; ok = rest(ctx, time.Second) {
		err := desk.FollowDead(ctx, at, x.bury)
		if errors.Is(err, operator.ErrStreamAnew) {
			x.mu.Lock()
			x.letters = nil
			x.mu.Unlock()
			continue
		}
		x.followed("dead letters", err)
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
// they are few, seldom otherwise.
func (x *Index) scanOrders(ctx context.Context, desk *operator.Desk) {
	for limit := shortestScan; ctx.Err() == nil; {
		began := time.Now()
		limit = x.scanOnce(ctx, desk, limit)
		pause := min(max(restFactor*time.Since(began), shortestRest), longestRest)
		if time.Since(time.Unix(x.looked.Load(), 0)) > lookedAt {
			pause = longestRest
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		case <-x.poked:
		}
	}
}

// scanOnce reads the unfinished orders, for as long as limit, and returns the next limit.
// What was read by a limit that was too short is wrong of the rest, so the last rows stay.
func (x *Index) scanOnce(ctx context.Context, desk *operator.Desk, limit time.Duration) time.Duration {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended, began := x.endedSoFar(), time.Now()
	o, rows := desk.Unfinished(short, maxQueued)
	switch {
	case short.Err() == nil:
		x.scan(o, rows, ended)
		return min(max(2*time.Since(began), shortestScan), longestScan)
	case ctx.Err() == nil && x.late(limit):
		return min(2*limit, longestScan)
	}
	return shortestScan
}

// refreshOnce asks how the deployment fares, for as long as limit.
func (x *Index) refreshOnce(ctx context.Context, desk *operator.Desk, limit time.Duration) {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if o, firstResult := desk.Fleet(short); ctx.Err() == nil {
		x.refresh(o, firstResult)
	}
}
