package worker

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"orderworker/dedupe"
)

func TestUnavailableStoreIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	s := &unavailable{logger: zerolog.New(&log)}
	lines := func(want int, when string) {
		t.Helper()
		if n := strings.Count(log.String(), "\n"); n != want {
			t.Errorf("%s: %d lines, want %d:\n%s", when, n, want, &log)
		}
	}
	down := errors.New("down")
	s.enter("claim", down)
	s.enter("claim", down)
	s.enter("claim", down)
	lines(1, "three wait")
	s.leave("claim", true)
	s.leave("claim", true)
	lines(1, "one waits still")
	s.leave("claim", false)
	lines(1, "the last gave up: nobody knows")
	s.enter("claim", down)
	lines(1, "it is the same trouble")
	s.enter("publish", down)
	lines(2, "another, which an old one must not hide")
	s.leave("claim", true)
	lines(3, "over")
	s.enter("claim", down)
	lines(4, "again")
	if text := log.String(); strings.Count(text, "store unavailable") != 3 || strings.Count(text, "available again") != 1 {
		t.Errorf("got\n%s", text)
	}
}

// A lost lease is reported once, however long its order stays in flight.
func TestLostLeaseIsNotRenewed(t *testing.T) {
	h := &task{claim: &dedupe.Claim{Verdict: dedupe.Fresh}}
	w := &inFlight{orders: make(map[*task]flight), numbers: make(map[string]struct{})}
	w.add(h)
	w.setClaim(h)
	o := w.snapshot()[0]
	if !w.dropClaim(o) || w.snapshot()[0].claim != nil {
		t.Error("not lost")
	}
	w.remove(h)
	if w.dropClaim(o) || len(w.snapshot()) != 0 {
		t.Error("an order that is over came back")
	}
}

// Only claims that own their order are renewed: that another cannot be renewed would say
// nothing about the store.
func TestOnlyOwnedClaimsAreRenewed(t *testing.T) {
	for verdict, owned := range map[dedupe.Verdict]bool{
		dedupe.Fresh: true, dedupe.Ready: true, dedupe.InDoubt: true, dedupe.Final: true,
		dedupe.Busy: false, dedupe.Foreign: false, dedupe.Waiting: false, dedupe.Done: false, dedupe.Conflict: false,
	} {
		h := &task{claim: &dedupe.Claim{Verdict: dedupe.Fresh}}
		w := &Worker{ackWait: time.Second, inFlight: &inFlight{orders: make(map[*task]flight)}}
		w.inFlight.setClaim(h)
		h.claim = &dedupe.Claim{Verdict: verdict}
		w.inFlight.setClaim(h)
		if got := w.inFlight.snapshot()[0].claim != nil; got != owned {
			t.Errorf("%s: to be renewed %v, want %v", verdict, got, owned)
		}
		if !owned {
			if asked, err := w.renew(t.Context(), w.inFlight.snapshot()); asked || err != nil {
				t.Errorf("%s: asked %v, error %v, want neither", verdict, asked, err)
			}
		}
	}
}
