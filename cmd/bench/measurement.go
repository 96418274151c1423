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
	started time.Time    // just before the first contender was started
	running []*contender // started, in this order
	sent    []time.Time  // when each request was published; paced loads only
	got     sample
}

func (m *measurement) close() {
	for _, c := range m.running {
		c.close()
	}
}

// work starts the contenders, waits until they have finished all orders, and records the CPU
// time of contenders and servers. With a paced load that time begins when all contenders are
// ready: the load has only a few hundred orders, so the start would dominate.
func (m *measurement) work(ctx context.Context, name string) error {
	before, err := cpuTimes(m.site.servers)
	if err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	profiled := m.startProfile(ctx, m.running[0], name)
	if m.side.perSecond > 0 {
		if before, err = cpuTimes(m.processes()); err != nil {
			return err
		}
		if m.sent, err = m.site.pace(ctx, m.side.orders, m.side.perSecond); err != nil {
			return err
		}
	}
	if err := m.site.finished(ctx, m.side.orders, m.running); err != nil {
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
	for _, c := range m.running {
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
		m.running = append(m.running, c)
	}
	for _, c := range m.running {
		if err := c.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// processes returns the servers and the contenders.
func (m *measurement) processes() []*process {
	all := slices.Clone(m.site.servers)
	for _, c := range m.running {
		all = append(all, c.process)
	}
	return all
}

// measureIdle leaves the first contender without orders for load.idle, and records the CPU time and
// the memory that it takes meanwhile.
func (m *measurement) measureIdle(ctx context.Context) error {
	if m.side.idle == 0 {
		return nil
	}
	idler := m.running[0]
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

// stopAll ends the contenders, and records the memory that they took.
func (m *measurement) stopAll(ctx context.Context) error {
	orders := float64(m.side.orders)
	for _, c := range m.running {
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

// readTimes computes latencies and rates from the times at which the results were stored.
func (m *measurement) readTimes(ctx context.Context) error {
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
