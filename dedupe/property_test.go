package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"

	"pgregory.net/rapid"
)

// The model: a few owners work on one order, each in its own goroutine that
// stops before and after every operation of a store. A script of bytes says
// whose turn it is, whether the operation is done, or done later, whether its
// reply arrives, who dies, when Redis is lost or falls back, and all luck. A
// vendor stands by: it knows what was bought, so that the owners' proofs are
// true ones.
const (
	maxPlayers   = 3
	modelLease   = 10 * time.Second
	modelSendFor = time.Second
)

var (
	errDied = errors.New("the owner died")
	errLate = errors.New("the owner gave up waiting; it is done later")
)

type model struct {
	mem     *dedupetest.Memory
	script  []byte
	resend  bool // the policy: send again while in doubt
	players []*player
	late    []func() // operations that are still under way
	healthy bool     // no more faults

	live    int      // sends that may have bought, as far as anybody can know
	bought  bool     // the vendor sold it
	results []string // every final that was handed out
	broken  string   // the first broken promise
}

// roll is all chance there is. A script that is at its end gives 0.
func (m *model) roll(n int) int {
	if len(m.script) == 0 {
		return 0
	}
	b := m.script[0]
	m.script = m.script[1:]
	return int(b) % n
}

func (m *model) breaks(format string, args ...any) {
	if m.broken == "" {
		m.broken = fmt.Sprintf(format, args...)
	}
}

// flying: a request is on its way to the vendor.
func (m *model) flying() bool {
	return slices.ContainsFunc(m.players, func(p *player) bool { return p.at == "send" })
}

// player is one goroutine that claims, and does what a worker does.
type player struct {
	*model
	store *dedupe.Store
	order dedupe.Order
	gate  chan error // what the operation that it waits for comes to
	at    string     // that operation
	dead  bool       // no operation of it is done any more
	ended bool
	saw   dedupe.Verdict
}

// pass waits for the player's turn.
func (p *player) pass(op string) error {
	switch {
	case p.dead:
		return errDied
	case p.healthy:
		return nil
	}
	p.at = op
	err := <-p.gate
	p.at = ""
	return err
}

// stepped gives every player its own way to the shared memory.
type stepped struct {
	*dedupetest.Memory
	p *player
}

func step1(p *player, op string, act func() error) error {
	switch err := p.pass(op); {
	case err == errLate:
		p.late = append(p.late, func() { _ = act() })
		return errNoReply
	case err != nil:
		return err
	}
	if err := act(); err != nil {
		return err
	}
	if err := p.pass(op + " done"); err != nil {
		return errNoReply
	}
	return nil
}

func (s stepped) Claim(ctx context.Context, o dedupe.Order, owner string, lease time.Duration) (e dedupe.Entry, taken bool, err error) {
	err = step1(s.p, "claim", func() error { e, taken, err = s.Memory.Claim(ctx, o, owner, lease); return err })
	return e, taken, err
}

func (s stepped) Renew(ctx context.Context, o dedupe.Order, owner string, rev uint64, lease time.Duration) error {
	return step1(s.p, "renew", func() error { return s.Memory.Renew(ctx, o, owner, rev, lease) })
}

func (s stepped) Park(ctx context.Context, o dedupe.Order, owner string, e dedupe.Entry, delay time.Duration) error {
	return step1(s.p, "park", func() error { return s.Memory.Park(ctx, o, owner, e, delay) })
}

func (s stepped) Remember(ctx context.Context, o dedupe.Order, result []byte, ttl time.Duration) error {
	return step1(s.p, "remember", func() error { return s.Memory.Remember(ctx, o, result, ttl) })
}

func (s stepped) Forget(ctx context.Context, o dedupe.Order, owner string) (d time.Duration, err error) {
	err = step1(s.p, "forget", func() error { d, err = s.Memory.Forget(ctx, o, owner); return err })
	return d, err
}

func (s stepped) Read(ctx context.Context, no string) (r dedupe.Record, rev uint64, err error) {
	err = step1(s.p, "read", func() error { r, rev, err = s.Memory.Read(ctx, no); return err })
	return r, rev, err
}

func (s stepped) Write(ctx context.Context, no string, r dedupe.Record, rev uint64) (next uint64, err error) {
	err = step1(s.p, "write", func() error { next, err = s.Memory.Write(ctx, no, r, rev); return err })
	return next, err
}

// run is one delivery.
func (p *player) run() {
	defer func() { p.ended = true }()
	ctx := context.Background()
	owner, redelivered := p.store.NewOwner(), p.healthy || p.roll(2) == 1
	var c *dedupe.Claim
	if p.twice(func() (err error) { c, err = p.store.Claim(ctx, p.order, owner, redelivered); return err }) != nil {
		return
	}
	p.saw = c.Verdict
	switch c.Verdict {
	case dedupe.Final:
		p.publish(c)
		return
	case dedupe.Done:
		p.result(c.Result)
		return
	case dedupe.InDoubt:
		if !p.settle(c) {
			return
		}
	case dedupe.Fresh, dedupe.Ready:
		if p.roll(8) == 1 {
			p.finish(c, failed, false) // expired
			return
		}
	default:
		return
	}
	switch p.roll(8) {
	case 1:
		_ = p.twice(func() error { return p.store.Release(ctx, c) })
		return
	case 2:
		_ = p.twice(func() error { return p.store.Renew(ctx, c) })
	}
	sendBy := time.Now().Add(modelSendFor)
	var sent *dedupe.Sent
	err := p.twice(func() (err error) { sent, err = p.store.Intent(ctx, c, sendBy, sendBy); return err })
	if err != nil || !time.Now().Before(sendBy) { // woke up too late
		if p.roll(2) == 1 {
			_ = p.twice(func() error { return p.store.Release(ctx, c) })
		}
		return
	}
	p.send(c, sent)
}

// send is the granted attempt. It is live until it is known to have failed.
func (p *player) send(c *dedupe.Claim, sent *dedupe.Sent) {
	ctx := context.Background()
	if open := p.resend && c.Verdict == dedupe.InDoubt; !open && (p.live > 0 || p.bought) {
		p.breaks("attempt %d (%s) may be sent while %d are live, bought: %v", sent.Doubt.Attempt, c.Verdict, p.live, p.bought)
	}
	p.live++
	err := p.pass("send") // others go on meanwhile
	outcome := p.roll(5)
	if err != nil { // no answer, and perhaps no owner
		outcome = 3
	}
	switch outcome {
	case 0: // bought
		p.bought = true
		p.finish(c, won, true)
	case 1: // bought, number unknown
		p.bought = true
		d := sent.Doubt
		d.Bought = true
		_ = p.twice(func() error { return p.store.Doubt(ctx, c, d, 0) })
	case 2: // refused
		p.live--
		switch {
		case c.Verdict == dedupe.InDoubt:
			_ = p.twice(func() error { return p.store.Doubt(ctx, c, sent.Doubt, 0) })
		case c.Refusals == 1:
			p.finish(c, failed, false)
		default:
			_ = p.twice(func() error { return p.store.Wait(ctx, c, c.Refusals+1, time.Second) })
		}
	default: // ambiguous
		if p.roll(2) == 1 {
			p.bought = true
		}
		_ = p.twice(func() error { return p.store.Doubt(ctx, c, sent.Doubt, 0) })
	}
}

// settle looks the order up. It reports whether the claim may send: it is
// proved not bought, or the policy is to resend.
func (p *player) settle(c *dedupe.Claim) bool {
	ctx := context.Background()
	if p.pass("lookup") != nil {
		return false
	}
	over := !p.flying() && time.Now().After(c.Doubt.SendBy)
	switch {
	case p.bought && (p.healthy || p.roll(2) == 1):
		p.finish(c, won, true)
		return false
	case p.resend && over && !c.Doubt.Bought && p.roll(2) == 1:
		return true
	case p.bought || c.Doubt.Bought || !over:
		_ = p.twice(func() error { return p.store.Doubt(ctx, c, c.Doubt, 0) })
		return false
	}
	p.live = 0 // that is the truth: nothing is under way, nothing was bought
	return p.twice(func() error { return p.store.Disprove(ctx, c) }) == nil
}

func (p *player) finish(c *dedupe.Claim, result []byte, succeeded bool) {
	result = fmt.Appendf(nil, `{"is":%s,"by":%q}`, result, c.Owner) // no two are alike
	err := p.twice(func() error { _, err := p.store.Finish(context.Background(), c, result, succeeded); return err })
	if err == nil {
		p.publish(c)
	}
}

func (p *player) publish(c *dedupe.Claim) {
	p.result(c.Result)
	_ = p.twice(func() error { return p.store.Remember(context.Background(), c, c.Result) })
}

// twice repeats an act whose outcome is unknown.
func (p *player) twice(act func() error) error {
	err := act()
	if errors.Is(err, errNoReply) {
		err = act()
	}
	return err
}

// result checks that everybody is told the same.
func (m *model) result(r []byte) {
	m.results = append(m.results, string(r))
	if m.results[0] != string(r) {
		m.breaks("the result was %s, then %s", m.results[0], r)
	}
}

// enter lets another delivery begin; one in eight is of a conflicting order.
func (m *model) enter(o dedupe.Order) *player {
	p := &player{model: m, order: o, gate: make(chan error)}
	p.store = dedupe.New(stepped{m.mem, p}, stepped{m.mem, p}, nil, dedupe.Config{Lease: modelLease, FinalTTL: time.Hour})
	go p.run()
	synctest.Wait()
	return p
}

// step does what the next byte of the script says.
func (m *model) step() {
	m.players = slices.DeleteFunc(m.players, func(p *player) bool { return p.ended })
	move := m.roll(16)
	switch {
	case move == 0:
		if n := m.roll(8); n == 0 {
			m.mem.ForgetAll()
		} else {
			m.mem.LoseWrites(n)
		}
	case move == 1:
		time.Sleep(modelSendFor + time.Millisecond)
	case move == 2:
		time.Sleep(modelLease)
	case move == 3 && len(m.late) > 0:
		i := m.roll(len(m.late))
		act := m.late[i]
		m.late = slices.Delete(m.late, i, i+1)
		act()
	case len(m.players) == 0, move <= 5 && len(m.players) < maxPlayers:
		o := testOrder
		if m.roll(8) == 1 {
			o = otherF
		}
		m.players = append(m.players, m.enter(o))
	default:
		p := m.players[m.roll(len(m.players))]
		var fate error
		switch move {
		case 6:
			fate = errNoReply
		case 7:
			fate = errLate
		case 8:
			p.dead = true
			fate = errDied
		}
		p.gate <- fate
		synctest.Wait()
	}
}

// TestStoreProperties: whatever is lost, and whoever dies, no order is sent
// while an earlier send may have bought, no final ever changes or lies, and in
// the end there is one.
func TestStoreProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(rapid.Byte(), 50, 600).Draw(rt, "script")
		m := &model{mem: dedupetest.NewMemory(), script: script}
		synctest.Test(t, func(*testing.T) { m.play() })
		if m.broken != "" {
			rt.Fatal(m.broken)
		}
	})
}

func (m *model) play() {
	m.resend = m.roll(4) == 1
	for len(m.script) > 0 && m.broken == "" {
		m.step()
	}
	for _, p := range m.players { // all die
		if !p.ended {
			p.dead = true
			p.gate <- errDied
			synctest.Wait()
		}
	}
	for _, act := range m.late {
		act()
	}
	m.players, m.late, m.healthy = nil, nil, true
	var saw [2]dedupe.Verdict
	for range 20 {
		for i, o := range []dedupe.Order{testOrder, otherF} {
			time.Sleep(modelLease)
			saw[i] = m.enter(o).saw
		}
		if saw == [2]dedupe.Verdict{dedupe.Done, dedupe.Conflict} || saw == [2]dedupe.Verdict{dedupe.Conflict, dedupe.Done} {
			break
		}
	}
	switch {
	case m.broken != "":
	case saw[0] != dedupe.Done && saw[1] != dedupe.Done:
		m.breaks("no result in the end: %q", saw)
	case m.bought != strings.Contains(m.results[0], "succeeded"):
		m.breaks("the result is %s, bought: %v", m.results[0], m.bought)
	}
}
