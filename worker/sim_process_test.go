package worker

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"orderworker/dedupe"
)

// simProc is one run of the worker program. A slot sees several of them.
type simProc struct {
	w        *simWorld
	slot     int
	store    *dedupe.Store
	process  string          // how its owners begin
	life     context.Context // until the crash, or the end
	kill     context.CancelFunc
	soft     context.Context
	stop     context.CancelFunc
	dead     bool      // from now on nothing it does has any effect
	thaw     time.Time // until then nothing it does goes on
	cut      time.Time // when the shutdown time of a process that was asked to stop is over; else zero
	followed bool      // another one starts in its slot
	wake     chan struct{}
	waits    time.Time // when its pull wakes up by itself
	run      *Worker
	lines    int  // connections that are open
	control  bool // it has found a control number
}

// simRegistry takes the gauges of every process of a world, and forgets them.
type simRegistry struct{ *prometheus.Registry }

func (simRegistry) MustRegister(...prometheus.Collector) {}

func simMetrics() *Metrics { return NewMetrics(simRegistry{}) }

// start runs a new process in slot. The caller does not hold the mutex.
func (w *simWorld) start(slot int) {
	p := &simProc{w: w, slot: slot, wake: make(chan struct{}, 1)}
	p.life, p.kill = context.WithCancel(context.Background())
	p.soft, p.stop = context.WithCancel(context.Background())
	p.store = dedupe.New(simCache{p}, simJournal{p}, simResults{p}, dedupe.Config{Lease: w.ackWait, FinalTTL: 720 * time.Hour, JournalTTL: w.journalTTL})
	p.process, _ = simProcessOf(p.store.NewOwner())
	p.run = New(Config{
		Rules: w.rules, Concurrency: w.concurrency, ShutdownTimeout: simShutdown,
		Stream: simStream{p}, Claims: p.store, Connect: p.connect, Slots: simQuota{p},
		Metrics: w.metrics, Logger: zerolog.Nop(), halts: simHalts{p},
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	w.procs[slot] = p
	w.running.Go(func() {
		_ = p.run.Run(p.soft)
		p.kill()
		w.mu.Lock()
		defer w.mu.Unlock()
		if p.lines != 0 {
			w.violate(nil, "a process ended with %d connections that nobody released", p.lines)
		}
	})
	w.wakeAll()
}

// crash ends a process: its I/O has no effect any more, and its goroutines end
// with Run's shutdown time. Another one starts in its slot.
func (p *simProc) crash() {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if p.dead {
		return
	}
	p.dead = true
	p.kill()
	p.stop()
	w.wakeAll()
	w.restart(p)
}

// stop asks the process in slot to stop, and starts the next one beside it.
func (w *simWorld) stop(slot int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.procs[slot]
	if p == nil || p.soft.Err() != nil {
		return
	}
	p.stop()
	p.cut = time.Now().Add(simShutdown)
	w.wakeAll()
	w.restart(p)
}

// restart has another process follow p, once.
func (w *simWorld) restart(p *simProc) {
	if !w.over && !p.followed {
		p.followed = true
		time.AfterFunc(simRestart+w.chance(uint64(p.slot), uint64(time.Since(w.begun))).upTo(time.Second), func() { w.start(p.slot) })
	}
}

// freeze stops a process for a while, as a suspended machine.
func (p *simProc) freeze() {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.thaw = time.Now().Add(simHang + p.w.chance(3, uint64(time.Since(p.w.begun))).upTo(time.Second))
	p.w.wakeAll()
}

// frozen returns how long the process stays frozen from now on. dead is true where
// it never goes on.
func (p *simProc) frozen() (left time.Duration, dead bool) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.thaw.IsZero() { // as nearly always; the clock of a bubble is slow
		return 0, p.dead
	}
	return time.Until(p.thaw), p.dead
}
