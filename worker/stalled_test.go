package worker

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestStalledSaysItOnce(t *testing.T) {
	var log bytes.Buffer
	s := &stalled{logger: zerolog.New(&log)}
	lines := func(want int, when string) {
		t.Helper()
		if n := strings.Count(log.String(), "\n"); n != want {
			t.Errorf("%s: %d lines, want %d:\n%s", when, n, want, &log)
		}
	}
	down := errors.New("down")
	s.enter("claim", down)
	s.enter("publish", down)
	s.enter("claim", down)
	lines(1, "three wait")
	s.leave(true)
	s.leave(true)
	lines(1, "one waits still")
	s.leave(false)
	lines(1, "the last gave up: nobody knows")
	s.enter("claim", down)
	lines(1, "it is the same trouble")
	s.leave(true)
	lines(2, "over")
	s.enter("claim", down)
	lines(3, "again")
	if text := log.String(); strings.Count(text, "does not answer") != 2 || strings.Count(text, "answer again") != 1 {
		t.Errorf("got\n%s", text)
	}
}

// A lease that is lost is lost once, however long its order goes on.
func TestLostLeaseIsNotRenewed(t *testing.T) {
	h := &handling{d: &Delivery{}}
	w := &working{orders: make(map[*handling]inProgress), numbers: make(map[string]struct{})}
	w.add(h)
	w.claimed(h, nil)
	o := w.snapshot()[0]
	if !w.lose(o) || w.snapshot()[0].claim != nil {
		t.Error("not lost")
	}
	w.remove(h)
	if w.lose(o) || len(w.snapshot()) != 0 {
		t.Error("an order that is over came back")
	}
}
