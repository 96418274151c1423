package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// simFault is what goes wrong at one point.
type simFault uint8

const (
	fine        simFault = iota
	failBefore           // an error, and nothing happened
	failAfter            // it happened, the reply got lost
	crashBefore          // the process dies, and nothing happened
	crashAfter           // it happened, and the process dies
	hang                 // nothing moves for longer than a lease, then it happens
	freeze               // the same, but the whole process stands still
	stray                // an error, and it happens later all the same
	forget               // Redis has lost everything by then
	rollBack             // Redis has lost all that came after an order was parked
	loseOne              // Redis has lost its last write: a replica that lagged has taken over
	loseTwo              // its last two; and so on
	simFaults            // how many there are in the table of pairs
)

func (f simFault) String() string {
	if f >= loseOne {
		return fmt.Sprintf("lose %d writes", f-rollBack)
	}
	return [...]string{"", "fail before", "fail after", "crash before", "crash after", "hang", "freeze", "stray", "forget", "roll back"}[f]
}

// simOp is an operation of a worker on the world.
type simOp uint8

const (
	opWorld   simOp = iota // not an operation: what happens by itself
	opPull                 // a delivery
	opClaim                // Redis
	opPark                 // Redis
	opNoted                // Redis: remember
	opForget               // Redis
	opRenew                // Redis
	opRead                 // journal
	opIntent               // journal
	opReady                // journal
	opFinal                // journal
	opSlot                 // quota
	opConnect              // vendor
	opPlace                // vendor
	opAskSlot              // quota
	opSold                 // results stream: a control number
	opEnded                // results stream: the final event of an order
	opLookup               // vendor
	opEvent                // results stream
	opBury                 // dead letters
	opAck                  // orders stream
	opNak                  // orders stream
	opAlive                // orders stream: in progress
	simOps                 // how many there are
)

func (op simOp) String() string {
	return [...]string{"world", "pull", "claim", "park", "remember", "forget", "renew", "read", "intent", "ready", "final",
		"slot", "connect", "place", "lookup slot", "control", "ended", "lookup", "publish", "bury", "ack", "nak", "in progress"}[op]
}

// beat says that the operation belongs to the heartbeat, which a worker sends
// for all its orders at the same moment, in no order.
func (op simOp) beat() bool { return op == opRenew || op == opAlive }

// simPoint names one moment of an order's life: the n-th time that a slot does
// op for it, counted from 0. Nothing in it depends on other orders, nor on
// which goroutine runs first.
type simPoint struct {
	order, slot int
	op          simOp
	n           int
	at          time.Duration // since the world began; not part of the name
}

func (pt simPoint) name() simPoint { pt.at = 0; return pt }

var (
	errNotDone = errors.New("simulated: nothing happened")
	errNoReply = errors.New("simulated: the reply got lost")
	errDead    = errors.New("simulated: the process is dead")
)

// point passes one point: it waits as long as the operation takes to get
// there, and says what goes wrong. An error means that it never got there.
func (p *simProc) point(ctx context.Context, o *simOrder, op simOp, note string) (simPoint, simFault, error) {
	w := p.w
	if left, dead := p.frozen(); left > 0 || dead {
		left += w.latency(simPoint{o.index, p.slot, op, 0, 0}) // not all goes on at the same moment
		if err := p.pause(ctx, max(left, 0)); err != nil {
			return simPoint{}, fine, err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return simPoint{}, fine, err
	}
	w.mu.Lock()
	if op.beat() && !p.cut.IsZero() && !time.Now().Before(p.cut) {
		w.mu.Unlock()
		return simPoint{}, fine, errDead // whether it gives one more at that moment is chance
	}
	pt, f := w.begin(o, p.slot, op, note)
	w.mu.Unlock()
	if err := p.arrive(ctx, pt); err != nil {
		return pt, f, err
	}
	switch f {
	case crashBefore:
		return pt, f, p.die(ctx, o, pt)
	case failBefore:
		return pt, f, errNotDone
	case freeze:
		p.freeze()
		return pt, f, p.arrive(ctx, pt)
	}
	w.lose(o, pt, f)
	return pt, f, nil
}

// begin counts an operation and decides on its fault. The caller holds the
// mutex.
func (w *simWorld) begin(o *simOrder, slot int, op simOp, note string) (simPoint, simFault) {
	pt := simPoint{o.index, slot, op, o.seen[slot][op], time.Since(w.begun)}
	o.seen[slot][op]++
	f := fine
	if w.fault != nil && !w.over {
		f = w.fault(pt)
	}
	if f != fine {
		w.injected++
	}
	o.log = append(o.log, simEvent{pt.at, note, int32(pt.n), int8(slot), op, f, true})
	return pt, f
}

// simIO runs one operation on the world, with what goes wrong at its point.
func simIO[T any](p *simProc, ctx context.Context, o *simOrder, op simOp, note string, do func() (T, error)) (T, error) {
	var none T
	pt, f, err := p.point(ctx, o, op, note)
	if err != nil {
		return none, err
	}
	switch f {
	case hang:
		if err := p.pause(ctx, simHang); err != nil {
			return none, err
		}
	case stray:
		p.w.later(simLate, func() { _, _ = do() })
		return none, errNoReply
	}
	v, err := do()
	switch f {
	case failAfter:
		return none, errNoReply
	case crashAfter:
		return none, p.die(ctx, o, pt)
	}
	return v, err
}

// die crashes the process, in the middle of an operation that never returns
// before its caller is cut off.
func (p *simProc) die(ctx context.Context, o *simOrder, pt simPoint) error {
	p.crash()
	if p.w.crashed != nil {
		p.w.crashed(p.w, o, pt)
	}
	return p.pause(ctx, 0)
}

// pause waits for d, and for as long as the process is frozen; for ever, that
// is until ctx ends, where it is dead.
func (p *simProc) pause(ctx context.Context, d time.Duration) error {
	if d >= simSettle {
		p.w.count(1)
		defer p.w.count(-1)
	}
	for {
		switch {
		case d <= 0:
		case d < simShort:
			time.Sleep(d)
		default:
			p.w.wait(ctx, d, nil)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var dead bool
		if d, dead = p.frozen(); dead {
			<-ctx.Done()
			return errDead
		}
		if d <= 0 {
			return context.Cause(ctx)
		}
	}
}

// wait ends after d, with ctx, or when woken. Its timer is used again by the next.
func (w *simWorld) wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	w.mu.Lock()
	var t *time.Timer
	if n := len(w.timers) - 1; n >= 0 {
		t, w.timers = w.timers[n], w.timers[:n]
		t.Reset(d)
	} else {
		t = time.NewTimer(d)
	}
	w.mu.Unlock()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t.Stop()
	w.timers = append(w.timers, t)
}

// arrive takes an operation to where it has its effect. What a frozen process
// had under way does not all arrive at the moment of its thaw.
func (p *simProc) arrive(ctx context.Context, pt simPoint) error {
	d := p.w.latency(pt)
	for {
		begun := time.Now()
		if err := p.pause(ctx, d); err != nil || time.Since(begun) == d {
			return err
		}
	}
}

// later calls do after d, also where a process has died by then.
func (w *simWorld) later(d time.Duration, do func()) {
	w.count(1)
	time.AfterFunc(d, func() {
		do()
		w.count(-1)
	})
}

// count keeps the number of things that are under way, short ones apart.
func (w *simWorld) count(by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.underway += by
}

// latency is how long an operation takes to have its effect. It differs from
// point to point, so that no two things happen at the same moment and a seed
// replays whatever the Go scheduler does.
func (w *simWorld) latency(pt simPoint) time.Duration {
	switch {
	case pt.op.beat():
		return 0
	case pt.op == opPlace || pt.op == opLookup:
		return 20*time.Millisecond + w.chance(1, pt.hash()).upTo(200*time.Millisecond)
	default:
		return 100*time.Microsecond + w.chance(1, pt.hash()).upTo(3*time.Millisecond)
	}
}

func (pt simPoint) hash() uint64 {
	return uint64(pt.order)<<40 | uint64(pt.slot)<<36 | uint64(pt.op)<<28 | uint64(pt.n)
}

// simChance is a random number that depends on nothing but the seed and on what
// it is for.
type simChance uint64

func (w *simWorld) chance(what, which uint64) simChance { return newChance(w.seed, what, which) }

func newChance(seed, what, which uint64) simChance {
	x := seed*0x9e3779b97f4a7c15 ^ what*0xbf58476d1ce4e5b9 ^ which
	for range 2 { // splitmix64
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return simChance(x)
}

// upTo is a time from 0 to most, most itself excluded.
func (c simChance) upTo(most time.Duration) time.Duration { return time.Duration(c.of(int(most))) }

// of is a number from 0 to n-1.
func (c simChance) of(n int) int { return int(uint64(c) >> 1 % uint64(n)) }

// simProcessOf cuts an owner into its process and the number of its delivery.
func simProcessOf(owner string) (process, delivery string) {
	process, delivery, _ = strings.Cut(owner, "-")
	return process, delivery
}
