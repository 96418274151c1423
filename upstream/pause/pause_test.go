package pause

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// enter returns a permit, which must be valid.
func enter(t *testing.T, p *Pause) *Permit {
	t.Helper()
	permit, err := p.Enter(t.Context())
	if err != nil || !permit.Valid() {
		t.Fatalf("Enter: %v", err)
	}
	return permit
}

func TestPauseNotifiesOfBeginAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []Status
		p := New(func(s Status) { told = append(told, s) })
		other := enter(t, p)
		enter(t, p).End("A", errForbidden, nil)
		if other.Valid() {
			t.Error("a permit from before the pause is still valid")
		}
		other.GiveBack()
		if _, err := p.Enter(t.Context()); err == nil || func() bool { _, ok := errors.AsType[*Error](err); return !ok }() {
			t.Errorf("Enter: %v, want an *Error", err)
		}
		time.Sleep(59 * time.Second)
		p.Remind(time.Now())
		time.Sleep(time.Second)
		p.Remind(time.Now())
		p.Remind(time.Now())
		<-p.Due()
		if no, due := p.Probe(); !due || no != "A" {
			t.Errorf("Probe: %q, %v, want A", no, due)
		}
		p.LookedUp(nil)
		enter(t, p).End("B", nil, nil)
		if len(told) != 3 || !told[0].Paused || !told[1].Paused || told[2].Paused {
			t.Fatalf("told %+v, want the begin, a reminder and the end", told)
		}
		if s := told[0]; s.Cause != "account" || s.Why == "" || s.Code != "502" || s.Message != "ip" || !s.NextProbe.After(s.Since) {
			t.Errorf("told %+v", s)
		}
		if told[2].Why != "an order was sold" {
			t.Errorf("it ended because %q", told[2].Why)
		}
		if told[2].Probes != 2 {
			t.Errorf("%d probes, want a lookup and an order", told[2].Probes)
		}
	})
}

// While a lookup finds out whether the account works, no call begins. The refusals that
// come meanwhile share its result.
func TestRefusalsShareOneLookup(t *testing.T) {
	for name, c := range map[string]struct {
		lookup error
		want   bool // they count
		goesOn bool
	}{
		"it works":   {nil, true, true},
		"it fails":   {errTimeout, false, true},
		"it refuses": {errUnlisted, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(func(Status) {})
				one, two, three := enter(t, p), enter(t, p), enter(t, p)
				lookups := 0
				lookUp := func() error {
					lookups++
					time.Sleep(time.Second)
					return c.lookup
				}
				var all sync.WaitGroup
				for _, permit := range []*Permit{one, two} {
					all.Go(func() {
						if got := permit.End("A", errUnlisted, lookUp); got != c.want {
							t.Errorf("the refusal counts: %v, want %v", got, c.want)
						}
					})
				}
				synctest.Wait()
				if three.Valid() {
					t.Error("a call may begin though it is not known whether the account works")
				}
				begun := time.Now()
				permit, err := p.Enter(t.Context())
				if goesOn := err == nil; goesOn != c.goesOn || time.Since(begun) != time.Second {
					t.Errorf("Enter: %v after %v", err, time.Since(begun))
				}
				if permit != nil {
					permit.GiveBack()
				}
				all.Wait()
				if lookups != 1 {
					t.Errorf("%d lookups, want one", lookups)
				}
			})
		})
	}
}

func TestEnterWaitsForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(func(Status) {})
		var permits []*Permit
		for range maxUnanswered {
			permits = append(permits, enter(t, p))
		}
		gone, cancel := context.WithCancel(t.Context())
		entered := make(chan error, 2)
		for _, ctx := range []context.Context{gone, t.Context()} {
			go func() {
				_, err := p.Enter(ctx)
				entered <- err
			}()
			synctest.Wait()
		}
		cancel()
		if err := <-entered; !errors.Is(err, context.Canceled) {
			t.Errorf("Enter: %v, want context.Canceled", err)
		}
		select {
		case err := <-entered:
			t.Fatalf("Enter returned %v before there was an answer", err)
		default:
		}
		permits[0].End("A", nil, nil)
		if err := <-entered; err != nil {
			t.Errorf("Enter: %v", err)
		}
	})
}

// A changed secret is probed at once, whatever the interval has grown to.
func TestProbeNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(func(Status) {})
		p.ProbeNow()
		if _, due := p.Probe(); due {
			t.Error("a probe is due without a pause")
		}
		enter(t, p).End("A", errForbidden, nil)
		begun := time.Now()
		p.ProbeNow()
		<-p.Due()
		if _, due := p.Probe(); !due || time.Since(begun) != 0 {
			t.Errorf("due: %v after %v, want at once", due, time.Since(begun))
		}
	})
}
