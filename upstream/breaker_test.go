package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errSilent  = &Error{Class: Ambiguous, Code: "503"}
	errRefused = &Error{Class: Refused, Code: "X", Message: "sign error"}
)

// patient is a breaker whose calls a test makes one by one, in a bubble.
type patient struct {
	t *testing.T
	*Breaker
	n       int
	changes []Change
}

func newPatient(t *testing.T) *patient {
	p := &patient{t: t}
	p.Breaker = NewBreaker(func(c Change) { p.changes = append(p.changes, c) })
	return p
}

// call makes n calls, each for a new order, which all end with err.
func (p *patient) call(n int, packageCode string, err error) (blameless int) {
	p.t.Helper()
	for range n {
		p.n++
		pass, held := p.Enter(p.t.Context(), packageCode)
		if held != nil || !pass.Begin() {
			p.t.Fatalf("call %d of %s was not let through: %v", p.n, packageCode, held)
		}
		if pass.End(fmt.Sprint(p.n), err, false) {
			blameless++
		}
	}
	return blameless
}

// soon says whether a call is let through within d, and gives it back.
func (p *patient) soon(d time.Duration, packageCode string) bool {
	p.t.Helper()
	ctx, stop := context.WithTimeout(p.t.Context(), d)
	defer stop()
	pass, err := p.Enter(ctx, packageCode)
	if err != nil {
		return false
	}
	pass.GiveBack()
	return true
}

func (p *patient) want(what string, got, want bool) {
	p.t.Helper()
	if got != want {
		p.t.Errorf("%s: let through %v, want %v; told %+v", what, got, want, p.changes)
	}
}

func TestSilenceHoldsEverythingUntilAProbeIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		p.call(3, "A", nil)
		p.call(lifelessMost-1, "A", &Error{Class: Unreachable})
		p.call(1, "B", nil) // the run is over
		p.call(lifelessMost, "A", &Error{Class: Unreachable})
		begun := time.Now()
		p.want("at once", p.soon(100*time.Millisecond, "B"), false)
		for i, interval := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			p.call(1, "A", &Error{Class: Unreachable}) // waits for its turn
			if took, want := time.Since(begun), interval*time.Second; took < want*79/100 || took > want*121/100 {
				t.Errorf("probe %d came after %v, want %v ± 20%%", i+1, took, want)
			}
			begun = time.Now()
		}
		p.call(1, "A", errRefused)
		p.want("after an answer", p.soon(time.Millisecond, "B"), true)
		if len(p.changes) != 2 || !p.changes[0].Opened || !p.changes[0].Paused || p.changes[1].Opened || p.changes[1].Paused {
			t.Errorf("told %+v, want one opening and one end", p.changes)
		}
	})
}

func TestAmbiguousEndsOfOnePackageCodeHoldThatOneOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		p.call(lifelessMost, "BAD", errSilent)
		p.want("the others", p.soon(time.Millisecond, "A"), true)
		p.want("BAD", p.soon(time.Millisecond, "BAD"), false)
		p.call(1, "A", nil)
		p.want("BAD, though others are sold", p.soon(time.Millisecond, "BAD"), false)
		time.Sleep(1300 * time.Millisecond)
		p.call(1, "BAD", errSilent)
		p.LookedUp(true, nil)
		p.want("BAD, after a lookup found some bought", p.soon(time.Millisecond, "BAD"), true)
		p.call(lifelessMost, "BAD", errSilent)
		p.LookedUp(false, errSilent)
		p.want("the others, after lookups are silent too", p.soon(time.Millisecond, "A"), false)
	})
}

func TestSameRefusalOfManyOrdersIsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		codes := []string{"A", "B"}
		for i := range refusedMost {
			p.want("blameless before the run is long", p.call(1, codes[i%2], errRefused) > 0, false)
		}
		if reason := p.changes[0].Reason; !strings.Contains(reason, "20 orders in a row were refused with code X: sign error") {
			t.Errorf("the reason is %q", reason)
		}
		p.want("another packageCode", p.soon(100*time.Millisecond, "C"), false)
		p.want("blameless", p.call(1, "C", errRefused) == 1, true) // a probe
		p.want("after a probe that was refused", p.soon(time.Second, "C"), false)
		p.call(1, "C", &Error{Class: Throttled})
		p.want("after a probe that was too fast", p.soon(time.Second, "C"), false)
		p.want("blameless", p.call(1, "C", nil) == 1, false)
		p.want("after a success", p.soon(time.Millisecond, "A"), true)
	})
}

func TestRefusalsThatAreNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		for i := range 10 * refusedMost {
			if i%19 == 0 {
				p.call(1, "A", nil)
			} else {
				p.call(1, "A", errRefused)
			}
		}
		for range 5 * refusedMost { // two codes
			p.call(1, "A", errRefused)
			p.call(1, "A", &Error{Class: Refused, Code: "Y"})
		}
		for range 5 * refusedMost { // one order
			pass, err := p.Enter(t.Context(), "A")
			if err != nil || !pass.Begin() {
				t.Fatal(err)
			}
			pass.End("the same", errRefused, false)
		}
		for range 5 * refusedMost { // a code that the settings call final
			pass, err := p.Enter(t.Context(), "A")
			if err != nil || !pass.Begin() {
				t.Fatal(err)
			}
			pass.End(fmt.Sprint(p.n), errRefused, true)
			p.n++
		}
		if len(p.changes) > 0 {
			t.Errorf("told %+v, want nothing", p.changes)
		}
	})
}

func TestOneBadPackageCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		p.call(refusedMost, "BAD", errRefused)
		p.want("BAD", p.soon(time.Millisecond, "BAD"), false)
		_, err := p.Enter(t.Context(), "BAD")
		_, err2 := p.Enter(t.Context(), "BAD")
		first, ok := errors.AsType[*Held](err)
		second, ok2 := errors.AsType[*Held](err2)
		if !ok || !ok2 || first.For < 800*time.Millisecond || second.For != first.For+returnGap {
			t.Errorf("sent away for %v and %v, want about a second, one after the other", err, err2)
		}
		p.call(1, "GOOD", nil)
		p.want("BAD, since others are sold", p.soon(time.Millisecond, "BAD"), true)
		if p.call(10*refusedMost, "BAD", errRefused) > 0 || len(p.changes) != 2 {
			t.Errorf("refusals of BAD count as its own; told %+v", p.changes)
		}
		p.call(refusedMost, "GOOD", errRefused)
		p.want("GOOD, refused too", p.soon(time.Millisecond, "GOOD"), false)
		p.call(1, "OTHER", errRefused)
		p.want("all, since a third is refused", p.soon(time.Millisecond, "OTHER"), false)
	})
}

func TestProbeIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		p.call(lifelessMost, "A", &Error{Class: Unreachable})
		pass, err := p.Enter(t.Context(), "A")
		if err != nil {
			t.Fatal(err)
		}
		p.want("a second probe", p.soon(time.Minute, "A"), false)
		pass.GiveBack()
		pass.GiveBack()
		p.want("the probe that was given back", p.soon(time.Millisecond, "A"), true)
		ctx, stop := context.WithCancelCause(t.Context())
		pass, _ = p.Enter(t.Context(), "A")
		defer pass.GiveBack()
		why := errors.New("shutting down")
		time.AfterFunc(time.Second, func() { stop(why) })
		if _, err := p.Enter(ctx, "A"); !errors.Is(err, why) {
			t.Errorf("Enter: %v, want %v", err, why)
		}
	})
}

func TestWhatWasLetThroughBeforeTheOpeningIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		pass, err := p.Enter(t.Context(), "A") // and waits for its slot
		if err != nil {
			t.Fatal(err)
		}
		p.call(lifelessMost, "B", &Error{Class: Unreachable})
		if pass.Begin() {
			t.Error("an order was sent while all are held back")
		}
	})
}

// 500 orders wait with 64 at a time in a process without a limiter, each in
// doubt asks for lookups, and the vendor is away for 15 s.
func TestOutageIsMetWithFewCalls(t *testing.T) {
	for name, c := range map[string]struct {
		err     *Error
		latency time.Duration
	}{
		"refused": {&Error{Class: Unreachable}, time.Millisecond}, "HTTP 503": {errSilent, 50 * time.Millisecond}, "hangs": {errSilent, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPatient(t)
				start := time.Now()
				var mu sync.Mutex
				calls, sold := 0, 0
				orders := make(chan string, 500)
				for i := range 500 {
					orders <- fmt.Sprint(i)
				}
				call := func() error {
					mu.Lock()
					away := time.Since(start) < 15*time.Second
					if away {
						calls++
					}
					mu.Unlock()
					time.Sleep(c.latency)
					if away {
						return c.err
					}
					return nil
				}
				var wg sync.WaitGroup
				wg.Go(func() { // lookups
					for time.Since(start) < time.Minute {
						time.Sleep(100 * time.Millisecond)
						if p.MayLookUp() {
							p.LookedUp(false, call())
						}
					}
				})
				for range 64 {
					wg.Go(func() {
						for {
							select {
							case no := <-orders:
								pass, err := p.Enter(t.Context(), "P")
								if held, ok := errors.AsType[*Held](err); ok {
									time.AfterFunc(held.For, func() { orders <- no })
									continue
								}
								if !pass.Begin() {
									orders <- no
									continue
								}
								err = call()
								pass.End(no, err, false)
								if err != nil {
									time.AfterFunc(time.Second, func() { orders <- no })
								} else {
									mu.Lock()
									sold++
									mu.Unlock()
								}
							case <-time.After(2 * time.Minute):
								return
							}
						}
					})
				}
				wg.Wait()
				t.Logf("%d calls in an outage of 15s", calls)
				if calls >= 30 || sold != 500 {
					t.Errorf("%d calls in the outage, want under 30; %d orders sold, want 500", calls, sold)
				}
			})
		})
	}
}

// The probes of a packageCode that is held are not counted against the others.
func TestProbesOfOnePackageCodeDoNotBlockTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		p.call(lifelessMost, "BAD", errSilent)
		for range 2 * unprovenMost {
			for {
				pass, err := p.Enter(t.Context(), "BAD")
				if held, ok := errors.AsType[*Held](err); ok {
					time.Sleep(held.For)
					continue
				}
				if !pass.Begin() {
					t.Fatal("a probe may not begin")
				}
				pass.End("N", errSilent, false)
				break
			}
		}
		if len(p.health.holds) == 1 {
			p.want("the others", p.soon(time.Millisecond, "A"), true)
		} else {
			t.Errorf("%d holds, want the one on BAD", len(p.health.holds))
		}
	})
}
