package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
)

// A stream without a leader answers nothing, like one that is missing. Submit goes on when
// it answers again, however many tries that takes.
func TestSubmitOutlastsAnElection(t *testing.T) {
	t.Parallel()
	nc := storetest.Connect(t, storetest.NATS(t))
	c, err := New(nc, Config{})
	if err != nil {
		t.Fatal(err)
	}
	unanswered, made := 0, false
	n, err := c.SubmitAll(t.Context(), func(yield func(Request, error) bool) { yield(asked, nil) }, func(p Progress) {
		if errors.Is(p.Waiting, ErrNoStream) {
			unanswered++
		}
		if unanswered < 4 || made {
			return
		}
		made = true
		if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.request"}}); err != nil {
			t.Error(err)
		}
	})
	if n != 1 || err != nil || unanswered < 4 {
		t.Errorf("%d stored after %d tries without an answer: %v", n, unanswered, err)
	}
}

// After StreamTimeout Submit gives up. It says that the stream is missing only if nothing was
// stored in it.
func TestSubmitGivesUp(t *testing.T) {
	t.Parallel()
	nc := storetest.Connect(t, storetest.NATS(t))
	c, err := New(nc, Config{StreamTimeout: 50 * time.Millisecond, Window: 1})
	if err != nil {
		t.Fatal(err)
	}
	submit := func(between func()) (int, error) {
		return c.SubmitAll(t.Context(), func(yield func(Request, error) bool) {
			first, second := asked, asked
			second.OutTradeNo = "B"
			if yield(first, nil) {
				between()
				yield(second, nil)
			}
		}, nil)
	}
	if n, err := submit(func() {}); n != 0 || !errors.Is(err, ErrNoStream) || !strings.Contains(err.Error(), "for 50ms: stream ORDERS is missing") {
		t.Errorf("without a stream: %d stored, %v", n, err)
	}
	if _, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.request"}}); err != nil {
		t.Fatal(err)
	}
	n, err := submit(func() {
		if err := c.js.DeleteStream(t.Context(), "ORDERS"); err != nil {
			t.Error(err)
		}
	})
	if n != 1 || !errors.Is(err, ErrNoStream) || strings.Contains(err.Error(), "missing") {
		t.Errorf("a stream that was there: %d stored, %v", n, err)
	}
}

// Only silence without a break counts: an answer, and a lost connection, begin it anew.
func TestSilenceBeginsAnew(t *testing.T) {
	nc := storetest.Connect(t, storetest.NATS(t))
	c, err := New(nc, Config{StreamTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s := submission{c: c, silent: time.Now().Add(-2 * time.Minute)}
	full := &jetstream.APIError{Code: 503, ErrorCode: 10077}
	if waiting, fatal := s.classify(fmt.Errorf("publish: %w", full)); !errors.Is(waiting, ErrFull) || fatal != nil {
		t.Fatal(waiting, fatal)
	}
	for _, silence := range []error{nats.ErrNoResponders, context.DeadlineExceeded} {
		if waiting, fatal := s.classify(silence); waiting == nil || fatal != nil {
			t.Errorf("%v: %v, %v", silence, waiting, fatal)
		}
		s.silent = time.Now().Add(-2 * time.Minute)
		if waiting, fatal := s.classify(silence); waiting != nil || !errors.Is(fatal, ErrNoStream) {
			t.Errorf("%v after 2 minutes: %v, %v", silence, waiting, fatal)
		}
		s.silent = time.Time{}
	}
}
