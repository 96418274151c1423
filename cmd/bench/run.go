package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// runner makes measurements.
type runner struct {
	*options
	self     string // this program
	worker   string // the built orderworker
	dir      string // for everything that is written
	progress io.Writer
}

// sample is what one measurement gave.
type sample struct {
	rate          float64            // orders per second, start-up not counted
	headRate      float64            // of the first orders, as many as the short queue has
	cpu           float64            // seconds per 1,000 orders; start-up included, unless the load is paced
	servers       map[string]float64 // the same of each server, by its name; its start-up and filling the queue not included
	peakMiB       float64            // of the largest process
	allocs        float64            // per order, start-up included
	allocKiB      float64            // per order
	p50, p99, max float64            // milliseconds from publish to result
	firstMS       float64            // milliseconds from the start of the process to the first result
	idleCPU       float64            // % of a core, while there is nothing to do
	idleMiB       float64            // resident afterwards
}

// warmUp is the share of the orders that is not counted: connections are made,
// memory grows.
const warmUp = 20 // one in

// compare measures both sides in turns, each first every other time, and writes
// their table.
func (r *runner) compare(ctx context.Context, c comparison, out io.Writer) (verdicts []string, err error) {
	fmt.Fprintln(r.progress, c.heading())
	var left, right []sample
	for n := range c.runs {
		sides := []side{c.left, c.right}
		if n%2 == 1 {
			slices.Reverse(sides)
		}
		for _, s := range sides {
			got, err := r.measure(ctx, s, fmt.Sprintf("%s-%d", c.name, n+1))
			if err != nil {
				return nil, fmt.Errorf("%s, run %d: %w", s.label, n+1, err)
			}
			fmt.Fprintf(r.progress, "  %d/%d %-16s %s\n", n+1, c.runs, s.label, got.brief(s.load))
			if s == c.left {
				left = append(left, got)
			} else {
				right = append(right, got)
			}
		}
	}
	return c.report(left, right, out)
}

// brief is a sample in a few words.
func (s sample) brief(l load) string {
	switch {
	case l.perSecond > 0:
		return fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, %.3f CPU-s/1,000; NATS %.3f, Redis %.3f", s.p50, s.p99, s.cpu, s.servers["nats"], s.servers["redis"])
	case l.idle > 0:
		return fmt.Sprintf("first result after %.0f ms, then %.2f %% of a core, %.1f MiB", s.firstMS, s.idleCPU, s.idleMiB)
	}
	return fmt.Sprintf("%.0f orders/s, %.3f CPU-s/1,000, %.0f MiB; NATS %.3f, Redis %.3f", s.rate, s.cpu, s.peakMiB, s.servers["nats"], s.servers["redis"])
}

// measure puts one side under its load, on fresh servers, and sees that all of
// its orders came out right.
func (r *runner) measure(ctx context.Context, side side, name string) (sample, error) {
	s, err := r.openSite(ctx, side.latency)
	if err != nil {
		return sample{}, err
	}
	defer s.close()
	if side.perSecond == 0 {
		if err := s.fill(ctx, side.orders); err != nil {
			return sample{}, err
		}
	}
	m := &measurement{runner: r, site: s, side: side, started: time.Now(), got: sample{servers: make(map[string]float64)}}
	defer m.close()
	if err := m.work(ctx, name); err != nil {
		return sample{}, err
	}
	if err := m.measureIdle(ctx); err != nil {
		return sample{}, err
	}
	if err := m.stopAll(ctx); err != nil {
		return sample{}, err
	}
	if err := s.verify(ctx, side.orders, side.who != bareLoop && !slices.Contains(r.env, "JOURNAL_TTL=0")); err != nil {
		return sample{}, err
	}
	err = m.readTimes(ctx)
	return m.got, err
}

// stuck is how long a contender may go without one more result.
const stuck = time.Minute

// finished waits until n results are stored and no request is left.
func (s *site) finished(ctx context.Context, n int, team []*contender) error {
	var (
		results uint64
		since   = time.Now()
	)
	return until(ctx, "all orders have their results", 24*time.Hour, 50*time.Millisecond, func() (bool, error) {
		errs := []error{s.alive()}
		for _, c := range team {
			errs = append(errs, c.alive())
		}
		if err := errors.Join(errs...); err != nil {
			return false, err
		}
		info, err := s.results.Info(ctx)
		if err != nil {
			return false, fmt.Errorf("count the results: %w", err)
		}
		switch got := info.State.Msgs; {
		case got > results:
			results, since = got, time.Now()
		case time.Since(since) > stuck:
			return false, fmt.Errorf("THE ORDERS DID NOT COME OUT RIGHT: %d of %d have a result, and for %v no more came\n%s", got, n, stuck, team[0].tail())
		}
		if results < uint64(n) {
			return false, nil
		}
		left, err := s.orders.Info(ctx)
		if err != nil {
			return false, fmt.Errorf("count what is left: %w", err)
		}
		return left.State.Msgs == 0, nil
	})
}
