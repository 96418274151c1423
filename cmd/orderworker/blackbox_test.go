package main

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// The black-box test: blackbox_test.go (scenarios), blackbox_world_test.go
// (everything that runs) with blackbox_process_test.go, blackbox_publisher_test.go,
// blackbox_vendor_test.go, blackbox_deployment_test.go and blackbox_proxy_test.go;
// the faults in blackbox_faults_test.go, blackbox_nats_test.go, blackbox_proxy_test.go,
// blackbox_hostile_test.go and blackbox_account_test.go; the judge in
// blackbox_verdict_test.go and blackbox_events_test.go; the search for secrets in
// blackbox_secrets_test.go.
var (
	soak       = flag.Float64("soak", 0, "run the black-box scenarios in their long form, so many times as long; 0 = the short form")
	soakAtOnce = flag.Int("soak.at-once", 5, "how many black-box scenarios run at once")
	soakSeed   = flag.Uint64("soak.seed", 0, "seed of every random choice of the black-box scenarios; 0 = another one each time")
)

// scenario is one kind of fault, made again and again on three workers while orders come
// in.
type scenario struct {
	name        string
	setup       setup
	fault       func(w *world, n int) // the n-th fault, over when it returns
	short, long size
}

// size is how many faults a scenario makes, and how many orders come in
// meanwhile.
type size struct{ faults, orders int }

// scenarios are all scenarios. In their long form they have 1,000 kills over 50,000
// orders, more than 100 losses of Redis, and 30 of a cluster's leader.
var scenarios = []scenario{
	{"worker killed", setup{}, killWorker, size{20, 600}, size{1000, 50000}},
	{"everything", setup{natsDies: true, proxied: true}, anyFault, size{8, 300}, size{200, 8000}},
	{"worker frozen", setup{}, freezeWorker, size{4, 300}, size{150, 4500}},
	{"Redis flushed", setup{}, flushRedis, size{4, 300}, size{60, 4500}},
	{"Redis restarted", setup{}, restartRedis, size{6, 300}, size{120, 6000}},
	{"NATS restarted", setup{natsDies: true}, restartNATS, size{4, 300}, size{60, 4500}},
	{"consumer deleted", setup{}, deleteConsumer, size{5, 300}, size{100, 5000}},
	{"link to NATS", setup{proxied: true}, breakLink(natsLink), size{6, 200}, size{120, 4000}},
	{"link to Redis", setup{proxied: true}, breakLink(redisLink), size{6, 200}, size{120, 4000}},
	{"link to the vendor", setup{proxied: true}, breakLink(vendorLink), size{6, 200}, size{120, 4000}},
	{"cluster leader killed", setup{nodes: 3, natsDies: true}, killLeader, size{2, 200}, size{30, 3000}},
	{"cluster node wiped", setup{nodes: 3, natsDies: true}, wipeNode, size{1, 150}, size{15, 1500}},
	{"hostile publisher", setup{}, hostilePublisher, size{3, 150}, size{60, 3000}},
	{"foreign messages", setup{}, foreignMessages, size{3, 150}, size{60, 3000}},
	{"two deployments", setup{beside: true}, eitherDeployment, size{4, 200}, size{100, 4000}},
	{"account changed", setup{accounts: true}, changeAccount, size{2, 200}, size{40, 3000}},
	{"quota", setup{rate: 40}, loseQuota, size{4, 300}, size{60, 4500}},
}

// TestBlackBox runs the built program against real servers through every
// scenario: three processes, nats-server, redis-server and the simulated
// vendor, all processes of their own. Whatever happens to them, no order may be
// bought twice, be lost, or end in two ways.
func TestBlackBox(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOTHING IS PROVEN: -short")
	}
	// Not t.Parallel: beside the other tests of this package the machine would be too busy
	// for the workers' short leases.
	programs := buildPrograms(t)
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d: repeat with -soak.seed=%[1]d", seed)
	// The scenarios are not parallel either: they mostly wait, so more of them than cores may run at once.
	var all sync.WaitGroup
	var sum tally
	turn := make(chan struct{}, *soakAtOnce)
	for _, s := range scenarios {
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			t.Run(s.name, func(t *testing.T) { s.run(t, programs, seed, &sum) })
		})
	}
	all.Wait()
	t.Logf("SUMMARY of all: %s", &sum)
}

func (s scenario) run(t *testing.T, programs programs, seed uint64, sum *tally) {
	size := s.short
	if *soak > 0 {
		size.faults, size.orders = int(float64(s.long.faults)**soak), int(float64(s.long.orders)**soak)
	}
	ofName := fnv.New64a()
	fmt.Fprint(ofName, s.name)
	w := newWorld(t, programs, s.setup, rand.NewPCG(seed, ofName.Sum64()))
	began := time.Now()
	w.endure(s.fault, size)
	for _, d := range w.deployments() {
		v := d.verdict()
		t.Logf("SUMMARY %s%s: %s; %v", s.name, d.side, v.summary(size), time.Since(began).Round(time.Second))
		v.report(t)
		sum.add(size, v)
	}
}

// tally adds up the verdicts of all scenarios.
type tally struct {
	mu                                   sync.Mutex
	faults, orders                       int
	doubles, lost, contradictions, above int
}

func (s *tally) add(size size, v *verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.w.side == "" { // the faults of two deployments are the same
		s.faults += size.faults
	}
	s.orders += v.orders
	s.doubles += len(v.doubles)
	s.lost += len(v.lost)
	s.contradictions += len(v.contradictions)
	s.above += v.above
}

func (s *tally) String() string {
	return fmt.Sprintf("%d faults, %d orders: %d double purchases, %d lost, %d contradictions, %d seconds above the rate (bound 3/n = %.2g)",
		s.faults, s.orders, s.doubles, s.lost, s.contradictions, s.above, bound(s.orders))
}

// endure makes the faults, and publishes the orders evenly between them. The first orders
// can all be bought: until one is, there is no control number, and no order in doubt is
// sent again.
func (w *world) endure(fault func(w *world, n int), size size) {
	for _, d := range w.deployments() {
		d.publisher.enqueue(d.newPlain(10)...)
		d.publisher.enqueue(d.newOrders(size.orders / (size.faults + 1))...)
		d.publisher.enqueue(d.newInvalid())
	}
	for n := range size.faults {
		upTo := size.orders * (n + 2) / (size.faults + 1)
		for _, d := range w.deployments() {
			d.publisher.enqueue(d.newOrders(max(0, upTo-len(d.orders)))...)
		}
		fault(w, n)
	}
}

// between is a random time from least to most.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.random.Int64N(int64(most-least)))
}

// pass waits for a random time. It paces the faults; no assertion relies on it.
func (w *world) pass(least, most time.Duration) {
	select {
	case <-time.After(w.between(least, most)):
	case <-w.t.Context().Done():
	}
}
