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
	cpu           float64            // seconds per 1,000 orders, start-up included
	servers       map[string]float64 // the same of each server, by its name; start-up and filling the queue not included
	peakMiB       float64            // of the largest process
	allocs        float64            // per order, start-up included
	allocKiB      float64            // per order
	p50, p99, max float64            // milliseconds from publish to result
}

// warmUp is the share of the orders that is not counted: connections are made,
// memory grows.
const warmUp = 20 // one in

// compare measures both sides in turns, each first every other time, and writes
// their table.
func (r *runner) compare(ctx context.Context, c comparison, out io.Writer) error {
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
				return fmt.Errorf("%s, run %d: %w", s.label, n+1, err)
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
	if l.perSecond > 0 {
		return fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", s.p50, s.p99)
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
	before, err := s.cpuTimes()
	if err != nil {
		return sample{}, err
	}
	var team []*contender
	defer func() {
		for _, c := range team {
			c.close()
		}
	}()
	for n := range side.processes {
		c, err := r.startContender(s, side, n+1)
		if err != nil {
			return sample{}, err
		}
		team = append(team, c)
	}
	for _, c := range team {
		if err := c.ready(ctx); err != nil {
			return sample{}, err
		}
	}
	profiled := r.startProfile(ctx, team[0], name)
	var sent []time.Time
	if side.perSecond > 0 {
		if sent, err = s.pace(ctx, side.orders, side.perSecond); err != nil {
			return sample{}, err
		}
	}
	if err := s.finished(ctx, side.orders, team); err != nil {
		return sample{}, err
	}
	if err := profiled(); err != nil {
		return sample{}, err
	}
	after, err := s.cpuTimes()
	if err != nil {
		return sample{}, err
	}
	got := sample{servers: make(map[string]float64)}
	for name := range after {
		got.servers[name] = (after[name] - before[name]).Seconds() / float64(side.orders) * 1000
	}
	for _, c := range team {
		u, err := c.finish(ctx)
		if err != nil {
			return sample{}, err
		}
		orders := float64(side.orders)
		got.cpu += u.cpu.Seconds() / orders * 1000
		got.peakMiB = max(got.peakMiB, float64(u.peak)/(1<<20))
		got.allocs += u.allocs / orders
		got.allocKiB += u.bytes / orders / (1 << 10)
	}
	if err := s.verify(ctx, side.orders, side.who == orderWorker && !slices.Contains(r.env, "JOURNAL_TTL=0")); err != nil {
		return sample{}, err
	}
	return got, r.readTimes(ctx, s, side, sent, &got)
}

// readTimes reads from the results when they were stored.
func (r *runner) readTimes(ctx context.Context, s *site, side side, sent []time.Time, got *sample) (err error) {
	first := side.orders / warmUp
	if side.perSecond > 0 {
		took, err := s.latencies(ctx, sent)
		if err != nil {
			return err
		}
		took = slices.Sorted(slices.Values(took[first:]))
		ms := func(p float64) float64 { return percentile(took, p).Seconds() * 1000 }
		got.p50, got.p99, got.max = ms(0.5), ms(0.99), ms(1)
		return nil
	}
	head := min(r.shortQueue, side.orders)
	if got.headRate, err = s.rate(ctx, head/warmUp, head); err != nil {
		return err
	}
	got.rate, err = s.rate(ctx, first, side.orders)
	return err
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
