package main

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// killWorker kills one of the workers, which starts again at once.
func killWorker(w *world, n int) {
	w.pass(50*time.Millisecond, 1500*time.Millisecond)
	p := w.workers[w.random.IntN(len(w.workers))]
	p.kill()
	p.start()
}

// freezeWorker suspends a worker and resumes it: for longer than its lease, and every
// other time for longer than "not found" takes to become proof.
func freezeWorker(w *world, n int) {
	w.pass(300*time.Millisecond, time.Second)
	p := w.workers[w.random.IntN(len(w.workers))]
	p.signal(syscall.SIGSTOP)
	if n%2 == 0 {
		w.pass(1200*time.Millisecond, 2*time.Second)
	} else {
		w.pass(3*time.Second, 5*time.Second)
	}
	p.signal(syscall.SIGCONT)
}

// flushRedis empties Redis while it runs, and then publishes every order again.
func flushRedis(w *world, n int) {
	w.until("what was published again is stored", func() bool { return w.publisher.left() == 0 })
	w.pass(500*time.Millisecond, 2*time.Second)
	w.flush()
	again := make([]request, len(w.orders))
	for i, o := range w.orders {
		o.again = true
		again[i] = o
	}
	w.publisher.enqueue(again...)
}

func (w *world) flush() {
	w.t.Helper()
	if err := w.rdb.FlushAll(w.t.Context()).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// restartRedis kills the server and starts it again, with its append-only file or empty.
func restartRedis(w *world, n int) {
	w.pass(500*time.Millisecond, 2*time.Second)
	w.redis.kill()
	if n%2 == 1 {
		if err := os.RemoveAll(filepath.Join(w.dir, "redis", "appendonlydir")); err != nil {
			w.t.Fatal(err)
		}
	}
	if n%4 >= 2 {
		w.pass(100*time.Millisecond, 2*time.Second)
	}
	w.redis.start()
	w.redisAnswers()
}

// anyFault makes a random one of all faults, before the earlier ones have healed.
func anyFault(w *world, n int) {
	faults := []func(*world, int){
		killWorker, loseWorkerAndRedis, freezeWorker, restartRedis, deleteConsumer, restartNATS, hostilePublisher, foreignMessages,
		breakLink(natsLink), breakLink(redisLink), breakLink(vendorLink),
	}
	faults[w.random.IntN(len(faults))](w, w.random.IntN(100))
}

// loseWorkerAndRedis kills a worker and empties Redis while it is dead: only
// the journal knows what it sent.
func loseWorkerAndRedis(w *world, n int) {
	w.pass(50*time.Millisecond, 1500*time.Millisecond)
	p := w.workers[w.random.IntN(len(w.workers))]
	p.kill()
	w.flush()
	p.start()
}

// loseQuota makes the faults after which more could be sent than the account's rate
// allows: Redis loses the slots, and workers die or freeze while they have a slot.
func loseQuota(w *world, n int) {
	switch n % 4 {
	case 0:
		w.pass(500*time.Millisecond, 2*time.Second)
		w.flush()
	case 1:
		freezeWorker(w, n/4)
	case 2:
		restartRedis(w, n/4)
	case 3:
		killWorker(w, n)
	}
}
