package natsio

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker/halt"
)

// TestControl: the operator's word is written over the one that was seen, deployments do
// not share it, and the bucket is one of nats.go.
func TestControl(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	ctx := t.Context()
	c := NewControl(js, "ORDERS")
	if _, _, err := c.Read(ctx); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("without a bucket: %v", err)
	}
	for range 2 {
		if err := c.Ensure(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	if s, rev, err := c.Read(ctx); err != nil || rev != 0 || s != (halt.State{}) {
		t.Errorf("nothing was said: %+v %d %v", s, rev, err)
	}
	at := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	alice := halt.State{Paused: true, By: "alice", Reason: "r", At: at, Until: at.Add(time.Hour)}
	if err := c.Write(ctx, alice, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(ctx, halt.State{By: "bob"}, 0); !errors.Is(err, ErrChanged) {
		t.Errorf("the second of two operators: %v", err)
	}
	s, rev, err := c.Read(ctx)
	if err != nil || s != alice {
		t.Errorf("%+v %v", s, err)
	}
	if other, _, err := NewControl(js, "OTHER").Read(ctx); err != nil || other.Paused {
		t.Errorf("another deployment: %+v %v", other, err)
	}
	if err := c.Write(ctx, halt.State{By: "bob", At: at}, rev); err != nil {
		t.Fatal(err)
	}

	kv, err := js.KeyValue(ctx, "ORDER_CONTROL")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(ctx, "ORDERS")
	if err != nil || string(entry.Value()) != `{"paused":false,"by":"bob","at":"2026-11-26T03:00:00Z"}` {
		t.Errorf("%s %v", entry.Value(), err)
	}
	words, err := c.History(ctx)
	if err != nil || len(words) != 2 || words[0].State != alice || words[1].By != "bob" {
		t.Errorf("history %+v %v", words, err)
	}
	if _, err := kv.Put(ctx, "ORDERS", []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(ctx); !errors.Is(err, halt.ErrUnreadable) {
		t.Errorf("nonsense: %v", err)
	}
	if err := kv.Delete(ctx, "ORDERS"); err != nil {
		t.Fatal(err)
	}
	if s, _, err := c.Read(ctx); err != nil || s.Paused {
		t.Errorf("a deleted key: %+v %v", s, err)
	}
	for i := range 2 * controlHistory {
		_, rev, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(ctx, halt.State{By: fmt.Sprint(i)}, rev); err != nil {
			t.Fatalf("word %d: %v", i, err)
		}
	}
	if words, err := c.History(ctx); err != nil || len(words) != controlHistory {
		t.Errorf("%d words are kept, %v", len(words), err)
	}
}

// TestLostWordIsToldOf: to who knew the word, a bucket that was lost and made anew does not
// say "not paused".
func TestLostWordIsToldOf(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	ctx := t.Context()
	halted := func(who string, j *JetStream, want error) {
		t.Helper()
		if _, err := j.Halt(ctx); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", who, err, want)
		}
	}
	anew := func() {
		t.Helper()
		if err := js.DeleteStream(ctx, ControlStream); err != nil {
			t.Fatal(err)
		}
		if err := NewControl(js, names.Orders).Ensure(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	before := open(t, js)
	halted("nobody has paused", before, nil)
	anew()
	halted("nobody had paused", before, nil)

	operator := NewControl(js, names.Orders)
	if err := operator.Write(ctx, halt.State{Paused: true, By: "alice"}, 0); err != nil {
		t.Fatal(err)
	}
	halted("paused", before, nil)
	anew()
	halted("it knew the word", before, ErrWordLost)
	halted("it never knew it", open(t, js), nil)
	if err := operator.Write(ctx, halt.State{By: "bob"}, 0); err != nil {
		t.Fatal(err)
	}
	halted("resumed", before, nil)
}
