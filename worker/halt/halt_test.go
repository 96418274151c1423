package halt

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bucket is what a test reads instead of the real one.
type bucket struct {
	mu    sync.Mutex
	state State
	err   error
	slow  time.Duration
	idle  bool // no orders are in flight
	reads int
}

func (b *bucket) set(s State, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.err = s, err
}

func (b *bucket) read(ctx context.Context) (State, error) {
	b.mu.Lock()
	s, err, slow := b.state, b.err, b.slow
	b.reads++
	b.mu.Unlock()
	select {
	case <-time.After(slow):
		return s, err
	case <-ctx.Done():
		return State{}, context.Cause(ctx)
	}
}

// watching runs a Watch of b in a bubble; notes has a word for each notification.
func watching(t *testing.T, b *bucket) (w *Watch, notes *[]string) {
	notes = new([]string)
	busy := func() bool { b.mu.Lock(); defer b.mu.Unlock(); return !b.idle }
	w = NewWatch(b.read, busy, func(s Status) {
		switch {
		case s.Lasts:
			*notes = append(*notes, "paused")
		case s.Err != nil:
			*notes = append(*notes, "unread")
		default:
			*notes = append(*notes, "not paused")
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w, notes
}

func allowed(w *Watch) bool { return w.Allows() == nil }

// A pause is kept within a second of being stored, at every moment at which it can be
// stored, and resuming works as fast.
func TestPauseWithinASecond(t *testing.T) {
	for offset := time.Duration(0); offset < 400*time.Millisecond; offset += 7 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			b := &bucket{}
			w, _ := watching(t, b)
			time.Sleep(time.Second + offset)
			if !allowed(w) {
				t.Fatal("nobody has paused, and nothing may be sent")
			}
			b.set(State{Paused: true, By: "alice", Reason: "r", At: time.Now()}, nil)
			time.Sleep(time.Second)
			if allowed(w) {
				t.Errorf("sends a second after a pause, %v after the last question", offset)
			}
			b.set(State{}, nil)
			time.Sleep(time.Second)
			if !allowed(w) {
				t.Error("does not send a second after it was resumed")
			}
		})
	}
}

// The same where each answer takes long: it is as old as its question.
func TestPauseWithinASecondOfSlowAnswers(t *testing.T) {
	for offset := time.Duration(0); offset < 1300*time.Millisecond; offset += 11 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			b := &bucket{slow: 600 * time.Millisecond}
			w, _ := watching(t, b)
			time.Sleep(2*time.Second + offset)
			b.set(State{Paused: true, By: "alice", Reason: "r", At: time.Now()}, nil)
			time.Sleep(time.Second)
			for range 20 {
				if allowed(w) {
					t.Fatalf("sends a second after a pause, %v after the start", offset)
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

// While the bucket cannot be read nothing is sent: an answer counts for less than a second
// from its question, however long it took, and a late one does not count at all.
func TestNothingIsSentWhileTheBucketCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bucket{err: errors.New("away")}
		w, notes := watching(t, b)
		time.Sleep(time.Minute + time.Second)
		if allowed(w) {
			t.Error("sends although the bucket was never read")
		}
		b.set(State{}, nil)
		time.Sleep(readEvery + 50*time.Millisecond)
		if !allowed(w) {
			t.Error("does not send although it was read")
		}
		b.set(State{}, errors.New("away again"))
		time.Sleep(time.Second)
		if allowed(w) {
			t.Error("sends a second after the bucket was read last")
		}
		if err := w.Allows(); !strings.Contains(err.Error(), "away again") {
			t.Errorf("it does not say why: %v", err)
		}
		b.set(State{}, nil)
		b.mu.Lock()
		b.slow = time.Hour
		b.mu.Unlock()
		time.Sleep(10 * time.Second)
		if allowed(w) {
			t.Error("sends although NATS is silent")
		}
		want := "unread unread not paused unread"
		if got := strings.Join(*notes, " "); got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// While no orders are in flight the bucket is read once a second, nobody is told that it
// cannot be read, and the first order waits for no more than an answer.
func TestIdleReadsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bucket{idle: true, slow: time.Millisecond}
		w, notes := watching(t, b)
		time.Sleep(time.Minute)
		for range 20 {
			time.Sleep(97 * time.Millisecond)
			if s := w.Status(); s.Err != nil || s.Lasts {
				t.Errorf("%+v", s)
			}
		}
		b.mu.Lock()
		reads := b.reads
		b.mu.Unlock()
		if reads < 50 || reads > 66 {
			t.Errorf("%d reads in a minute, want one a second", reads)
		}
		for range 50 {
			time.Sleep(1031 * time.Millisecond)
			begun := time.Now()
			if err := w.Enter(t.Context()); err != nil || time.Since(begun) > 2*time.Millisecond {
				t.Errorf("an order waits for %v: %v", time.Since(begun), err)
			}
		}
		b.set(State{Paused: true, By: "alice", At: time.Now()}, nil)
		time.Sleep(time.Second + 2*time.Millisecond)
		if s := w.Status(); !s.Lasts || w.Enter(t.Context()) == nil {
			t.Errorf("a second after a pause: %+v", s)
		}
		if len(*notes) != 1 { // of the pause; that nobody pauses is no news
			t.Errorf("told %v", *notes)
		}
	})
}

// A reading is worth nothing after a suspension, in which only the wall clock goes on.
func TestReadingAfterASuspension(t *testing.T) {
	now := time.Now()
	r := &reading{asked: now.Add(-100 * time.Millisecond)}
	if !r.fresh(now) {
		t.Error("a new reading is not fresh")
	}
	if fresh(time.Millisecond, time.Hour) || fresh(time.Hour, time.Millisecond) || !fresh(time.Millisecond, -time.Hour) {
		t.Error("one of the two clocks does not count")
	}
	wall := &reading{asked: now.Round(0).Add(-time.Hour)}
	if wall.fresh(now) {
		t.Error("a reading of an hour ago is fresh")
	}
}

// A request that was allowed may be written until a second after the question.
func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bucket{slow: 50 * time.Millisecond}
		w, _ := watching(t, b)
		if _, err := w.Until(); err == nil {
			t.Error("allowed before the first answer")
		}
		time.Sleep(60 * time.Millisecond) // the question was 60 ms ago
		if until, err := w.Until(); err != nil || time.Until(until) != 940*time.Millisecond {
			t.Errorf("until %v from now, %v", time.Until(until), err)
		}
	})
}

// Enter waits for the first answer, hands back an order that is paused at once, and gives
// up a bucket that does not answer.
func TestEnter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bucket{slow: 300 * time.Millisecond}
		w, _ := watching(t, b)
		begun := time.Now()
		if err := w.Enter(t.Context()); err != nil || time.Since(begun) != 300*time.Millisecond {
			t.Errorf("the first answer: %v after %v", err, time.Since(begun))
		}
		b.set(State{Paused: true, Until: time.Now().Add(time.Hour), At: time.Now(), By: "alice", Reason: "why"}, nil)
		time.Sleep(time.Second)
		begun = time.Now()
		err := w.Enter(t.Context())
		e, ok := errors.AsType[*Error](err)
		if !ok || e.For != MaxReturn || time.Since(begun) != 0 || !strings.Contains(e.Why, "alice: why") {
			t.Errorf("paused: %v after %v", err, time.Since(begun))
		}
		b.set(State{}, errors.New("away"))
		time.Sleep(2 * time.Hour) // the pause has ended by itself, and nobody knows what came after it
		begun = time.Now()
		err = w.Enter(t.Context())
		if e, ok := errors.AsType[*Error](err); !ok || e.For != retryUnread || time.Since(begun) != patience {
			t.Errorf("unread: %v after %v", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the order expires: %v", err)
		}
	})
}

// A pause ends by itself, is told of each minute, and a change of it is told of.
func TestPauseEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bucket{}
		w, notes := watching(t, b)
		time.Sleep(time.Second)
		b.set(State{Paused: true, At: time.Now(), Until: time.Now().Add(150 * time.Second)}, nil)
		time.Sleep(149 * time.Second)
		if allowed(w) {
			t.Error("sends before the pause is over")
		}
		time.Sleep(2 * time.Second)
		if !allowed(w) {
			t.Error("does not send although the pause is over")
		}
		if got, want := strings.Join(*notes, " "), "paused paused paused not paused"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

func TestDecode(t *testing.T) {
	at := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	for _, s := range []State{{}, {Paused: true, Reason: "r", By: "b", At: at, Until: at}, {By: "x", At: at}} {
		data, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(data); err != nil || got != s {
			t.Errorf("%s: %+v, %v", data, got, err)
		}
	}
	for _, bad := range []string{"", "x", "null", "true", "[]", "{}", `{"Reason":"r"}`, `{"paused":"yes"}`, `{"paused":null}`} {
		if s, err := Decode([]byte(bad)); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%q: %+v, %v", bad, s, err)
		}
	}
	if s, err := Decode([]byte(`{"paused":true,"new":1}`)); err != nil || !s.Paused {
		t.Errorf("an unknown field: %+v, %v", s, err)
	}
}
