package main

import (
	"fmt"
	"slices"
	"time"
)

// The contenders.
const (
	orderWorker = "orderworker"
	bareLoop    = "bare"
	otherWorker = "other" // the one of -against
)

// defaultConcurrency is the worker's own default of CONCURRENCY.
const defaultConcurrency = 64

// load is what one measurement asks of a contender.
type load struct {
	orders      int
	latency     time.Duration // of the vendor
	concurrency int           // orders in progress at once, in each process
	processes   int
	perSecond   int           // 0: all orders are queued before the contender starts
	idle        time.Duration // how long the contender has no orders afterwards; 0: that is not measured
}

// side is a contender under a load.
type side struct {
	who   string
	label string // above its column
	load
}

// comparison is two sides that are measured in turns.
type comparison struct {
	name     string // for -only
	left     side
	right    side
	runs     int
	measures []measure
}

// measure is one line of a comparison's table.
type measure struct {
	name   string
	of     func(sample) float64
	digits int // after the point
	goal   *goal
}

// Each measure, without a goal.
var (
	throughput = measure{name: "orders per second", of: func(s sample) float64 { return s.rate }}
	cpu        = measure{name: "CPU-seconds per 1,000 orders", of: func(s sample) float64 { return s.cpu }, digits: 3}
	natsCPU    = measure{name: "of nats-server", of: func(s sample) float64 { return s.servers["nats"] }, digits: 3}
	redisCPU   = measure{name: "of redis-server", of: func(s sample) float64 { return s.servers["redis"] }, digits: 3}
	peak       = measure{name: "peak RSS, MiB", of: func(s sample) float64 { return s.peakMiB }, digits: 1}
	allocs     = measure{name: "allocations per order", of: func(s sample) float64 { return s.allocs }}
	allocBytes = measure{name: "KiB allocated per order", of: func(s sample) float64 { return s.allocKiB }, digits: 1}
	p50        = measure{name: "publish to result, p50 ms", of: func(s sample) float64 { return s.p50 }, digits: 1}
	p99        = measure{name: "publish to result, p99 ms", of: func(s sample) float64 { return s.p99 }, digits: 1}
	slowest    = measure{name: "publish to result, max ms", of: func(s sample) float64 { return s.max }, digits: 1}
	firstMS    = measure{name: "process started to first result, ms", of: func(s sample) float64 { return s.firstMS }}
	idleCPU    = measure{name: "idle: % of a core", of: func(s sample) float64 { return s.idleCPU }, digits: 2}
	idleMiB    = measure{name: "idle: RSS, MiB", of: func(s sample) float64 { return s.idleMiB }, digits: 1}
)

func (m measure) should(of subject, s sense, limit float64) measure {
	m.goal = &goal{of, s, limit}
	return m
}

// The goals.
const (
	backlogRatio = 0.8  // of the bare loop's throughput
	cpuRatio     = 1.5  // of the bare loop's CPU time
	p99ExcessMS  = 4    // over the bare loop's
	peakMiB      = 80   // CONCURRENCY 512
	queueRatio   = 0.95 // of the throughput with a short queue
	fleetRatio   = 1    // of one process' throughput
	maxFirstMS   = 200
	maxIdleCPU   = 0.2 // % of a core
	maxIdleMiB   = 32
)

// plan is what is compared.
func (o *options) plan() []comparison {
	chosen := []string{"fast", "slow", "steady", "low", "idle"}
	if o.long {
		chosen = []string{"queue", "fleet"}
	}
	if len(o.only) > 0 {
		chosen = o.only
	}
	all := append(o.besideBare(), o.besideItself()...)
	return slices.DeleteFunc(all, func(c comparison) bool { return !slices.Contains(chosen, c.name) })
}

// besideBare are the comparisons of the worker with the bare loop.
func (o *options) besideBare() []comparison {
	fast := load{orders: o.orders, concurrency: o.concurrency, processes: 1}
	slow := load{orders: o.orders, concurrency: o.wideConcurrency, processes: 1, latency: o.latency}
	paced := func(perSecond int) load {
		return load{orders: o.pacedOrders(perSecond), concurrency: defaultConcurrency, processes: 1, latency: o.latency, perSecond: perSecond}
	}
	idle := load{orders: 1, concurrency: defaultConcurrency, processes: 1, idle: o.idle}
	who, label := bareLoop, "bare loop"
	if o.against != "" {
		who, label = otherWorker, "-against"
	}
	beside := func(name string, l load, measures ...measure) comparison {
		return comparison{name: name, runs: o.runs, measures: measures,
			left: side{orderWorker, "orderworker run", l}, right: side{who, label, l}}
	}
	return []comparison{
		beside("fast", fast, throughput.should(ratio, atLeast, backlogRatio), cpu, natsCPU, redisCPU, peak, allocs, allocBytes),
		beside("slow", slow, throughput.should(ratio, atLeast, backlogRatio), cpu, natsCPU, redisCPU, peak.should(itself, under, peakMiB)),
		beside("steady", paced(o.perSecond), p50, p99.should(excess, atMost, p99ExcessMS), slowest, cpu.should(ratio, atMost, cpuRatio), natsCPU, redisCPU),
		beside("low", paced(o.lowPerSecond), p50, p99, slowest, cpu.should(ratio, atMost, cpuRatio), natsCPU, redisCPU),
		beside("idle", idle, firstMS.should(itself, atMost, maxFirstMS), idleCPU.should(itself, atMost, maxIdleCPU), idleMiB.should(itself, atMost, maxIdleMiB)),
	}
}

// besideItself are the comparisons of the worker with itself: a long queue with
// a short one, several processes with one.
func (o *options) besideItself() []comparison {
	long := load{orders: o.longQueue, concurrency: o.wideConcurrency, processes: 1}
	short, one := long, load{orders: o.orders, concurrency: o.concurrency, processes: 1}
	short.orders = o.shortQueue
	several := one
	several.processes = o.processes

	head := measure{name: fmt.Sprintf("the first %s, per second", thousands(o.shortQueue)), of: func(s sample) float64 { return s.headRate }}
	queue := func(who string, measures ...measure) comparison {
		return comparison{name: "queue", runs: o.runs, measures: measures,
			left:  side{who, thousands(long.orders) + " queued", long},
			right: side{who, thousands(short.orders) + " queued", short}}
	}
	return []comparison{
		queue(orderWorker, throughput.should(ratio, atLeast, queueRatio), head, cpu, peak.should(itself, under, peakMiB)),
		queue(bareLoop, throughput, head, cpu, peak), // what the servers themselves lose
		{name: "fleet", runs: o.runs, measures: []measure{throughput.should(ratio, atLeast, fleetRatio), cpu, peak},
			left:  side{orderWorker, fmt.Sprintf("%d processes", several.processes), several},
			right: side{orderWorker, "1 process", one}},
	}
}

// heading describes the load of a comparison.
func (c comparison) heading() string {
	l := c.left.load
	who := "orderworker and a bare loop"
	switch {
	case c.right.who == otherWorker:
		who = "orderworker and another build"
	case c.left.who == c.right.who:
		who = map[string]string{orderWorker: "orderworker", bareLoop: "the bare loop"}[c.left.who]
	}
	how := thousands(l.orders) + " orders queued"
	switch {
	case l.perSecond > 0:
		how = fmt.Sprintf("%s orders, %d per second", thousands(l.orders), l.perSecond)
	case l.idle > 0:
		how = fmt.Sprintf("one order queued, then nothing for %v", l.idle)
	}
	return fmt.Sprintf("%s: %s; %s, %d in progress at once, vendor latency %v; runs: %d", c.name, who, how, l.concurrency, l.latency, c.runs)
}

// thousands writes n with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
