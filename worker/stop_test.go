package worker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"orderworker/upstream/pause"
)

// stopping is a source whose first pull stops the worker.
type stopping struct {
	stop  context.CancelFunc
	pulls int
}

func (s *stopping) Pull(context.Context, int, func(*Delivery)) error {
	s.pulls++
	s.stop()
	return nil
}
func (s *stopping) AckWait() time.Duration                   { return time.Minute }
func (s *stopping) Pending(context.Context) (Backlog, error) { return Backlog{}, nil }

// A stop must not begin another pull. Once it did every other time, when the select found
// both a free slot and the stop, and then took seconds.
func TestNoPullAfterTheStop(t *testing.T) {
	for range 50 {
		soft, stop := context.WithCancel(t.Context())
		s := &stopping{stop: stop}
		w := &Worker{concurrency: 4, source: s, halts: noHalts{}, logger: zerolog.Nop(), pause: pause.New(func(pause.Status) {})}
		var orders sync.WaitGroup
		w.pull(soft, &orders, nil)
		orders.Wait()
		if s.pulls != 1 {
			t.Fatalf("%d pulls, want none after the stop", s.pulls)
		}
	}
}

func TestDelayCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		soft, end := context.WithCancelCause(t.Context())
		later, stop := delayCancel(soft, 2*time.Second)
		defer stop()
		began, why := time.Now(), errors.New("SIGTERM")
		time.AfterFunc(time.Second, func() { end(why) })
		<-later.Done()
		if d := time.Since(began); d != 3*time.Second || context.Cause(later) != why {
			t.Errorf("ended after %v with %v, want 3s and the cause of soft", d, context.Cause(later))
		}
		again, stopAgain := delayCancel(soft, time.Hour)
		stopAgain() // no goroutine is left: synctest would fail otherwise
		if again.Err() == nil {
			t.Error("not ended by stop")
		}
	})
}
