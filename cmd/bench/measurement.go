package main

import (
	"context"
	"slices"
	"time"
)

// measurement is one side under its load.
type measurement struct {
	*runner
	site    *site
	side    side
	started time.Time // just before the first contender was
	team    []*contender
	sent    []time.Time // when each request left, of a paced load
	got     sample
}

func (m *measurement) close() {
	for _, c := range m.team {
		c.close()
	}
}

// work starts the contenders, waits until they have worked off the load, and notes the
// CPU time that it took everybody. With a paced load it counts from when all are ready:
// against a few hundred orders the start would weigh.
func (m *measurement) work(ctx context.Context, name string) error {
	before, err := cpuTimes(m.site.servers)
	if err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	profiled := m.startProfile(ctx, m.team[0], name)
	if m.side.perSecond > 0 {
		if before, err = cpuTimes(m.processes()); err != nil {
			return err
		}
		if m.sent, err = m.site.pace(ctx, m.side.orders, m.side.perSecond); err != nil {
			return err
		}
	}
	if err := m.site.finished(ctx, m.side.orders, m.team); err != nil {
		return err
	}
	after, err := cpuTimes(m.processes())
	if err != nil {
		return err
	}
	took := func(p *process) float64 {
		return (after[p.name] - before[p.name]).Seconds() / float64(m.side.orders) * 1000
	}
	for _, p := range m.site.servers {
		m.got.servers[p.name] = took(p)
	}
	for _, c := range m.team {
		m.got.cpu += took(c.process)
	}
	return profiled()
}

// start starts the contenders, and waits until they are ready.
func (m *measurement) start(ctx context.Context) error {
	for n := range m.side.processes {
		c, err := m.startContender(m.site, m.side, n+1)
		if err != nil {
			return err
		}
		m.team = append(m.team, c)
	}
	for _, c := range m.team {
		if err := c.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// processes are all that the load keeps busy.
func (m *measurement) processes() []*process {
	all := slices.Clone(m.site.servers)
	for _, c := range m.team {
		all = append(all, c.process)
	}
	return all
}

// rest gives the first contender nothing to do, where the load asks for that, and notes
// what it takes all the same.
func (m *measurement) rest(ctx context.Context) error {
	if m.side.idle == 0 {
		return nil
	}
	idler := m.team[0]
	before, err := idler.cpuTime()
	if err != nil {
		return err
	}
	begun := time.Now()
	select {
	case <-time.After(m.side.idle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	after, err := idler.cpuTime()
	if err != nil {
		return err
	}
	m.got.idleCPU = 100 * (after - before).Seconds() / time.Since(begun).Seconds()
	m.got.idleMiB, err = idler.residentMiB(nowResident)
	return err
}

// memory ends the contenders, and notes the memory that they took.
func (m *measurement) memory(ctx context.Context) error {
	orders := float64(m.side.orders)
	for _, c := range m.team {
		u, err := c.finish(ctx)
		if err != nil {
			return err
		}
		m.got.peakMiB = max(m.got.peakMiB, u.peakMiB)
		m.got.allocs += u.allocs / orders
		m.got.allocKiB += u.bytes / orders / (1 << 10)
	}
	return nil
}

// times reads from the results when they were stored.
func (m *measurement) times(ctx context.Context) error {
	n := m.side.orders
	first := n / warmUp
	switch {
	case m.side.perSecond > 0:
		took, err := m.site.latencies(ctx, m.sent)
		if err != nil {
			return err
		}
		took = slices.Sorted(slices.Values(took[first:]))
		ms := func(p float64) float64 { return percentile(took, p).Seconds() * 1000 }
		m.got.p50, m.got.p99, m.got.max = ms(0.5), ms(0.99), ms(1)
		return nil
	case m.side.idle > 0:
		stored, err := m.site.storedAt(ctx, 1)
		m.got.firstMS = stored.Sub(m.started).Seconds() * 1000
		return err
	}
	head := min(m.shortQueue, n)
	var err error
	if m.got.headRate, err = m.site.rate(ctx, head/warmUp, head); err != nil {
		return err
	}
	m.got.rate, err = m.site.rate(ctx, first, n)
	return err
}
