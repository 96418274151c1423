package dedupe_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
)

// lostReplies is a journal that stores the first record, loses the reply, and counts the
// revisions.
type lostReplies struct {
	dedupe.Journal
	writes int
}

func (l *lostReplies) Write(ctx context.Context, outTradeNo string, r dedupe.Record, rev uint64) (uint64, error) {
	l.writes++
	next, err := l.Journal.Write(ctx, outTradeNo, r, rev)
	if l.writes == 1 && err == nil {
		return 0, errors.New("the reply was lost")
	}
	return next, err
}

// An intent that is repeated after a lost reply is the same record: a worker that was
// suspended in between must not make its old intent look new.
func TestStoreIntentIsTheSameRecordAgain(t *testing.T) {
	m := dedupetest.NewMemory()
	journal := &lostReplies{Journal: m}
	s := dedupe.New(m, journal, nil, dedupe.Config{Lease: time.Minute})
	c, err := s.Claim(t.Context(), dedupe.Order{OutTradeNo: "A", Fingerprint: "f", Seq: 1, Stored: time.Now()}, s.NewOwner(), false)
	if err != nil {
		t.Fatal(err)
	}
	sendBy := time.Now().Add(time.Second)
	if _, err := s.Intent(t.Context(), c, sendBy, sendBy); err == nil {
		t.Fatal("the reply was not lost")
	}
	first, rev, err := m.Read(t.Context(), "A")
	if err != nil || first.State != dedupe.StateIntent {
		t.Fatalf("%+v, %v", first, err)
	}
	for !dedupe.FloorMillis(time.Now()).After(first.Since) { // the clock goes on
	}
	if _, err := s.Intent(t.Context(), c, sendBy, sendBy); err != nil {
		t.Fatal(err)
	}
	if again, now, err := m.Read(t.Context(), "A"); err != nil || now != rev || !again.Since.Equal(first.Since) {
		t.Errorf("revision %d since %v, %v; before %d since %v", now, again.Since, err, rev, first.Since)
	}
}

// An intent whose reply was lost is not written again where another worker has parked it in
// doubt: the record of a doubt must not expire.
func TestStoreParkedIntentIsNotWrittenAgain(t *testing.T) {
	m := dedupetest.NewMemory()
	s := dedupe.New(m, &lostReplies{Journal: m}, nil, dedupe.Config{Lease: time.Minute, JournalTTL: time.Hour})
	order := dedupe.Order{OutTradeNo: "A", Fingerprint: "f", Seq: 1, Stored: time.Now()}
	slow, err := s.Claim(t.Context(), order, s.NewOwner(), false)
	if err != nil {
		t.Fatal(err)
	}
	sendBy := time.Now().Add(time.Second)
	if _, err := s.Intent(t.Context(), slow, sendBy, sendBy); err == nil {
		t.Fatal("the reply was not lost")
	}
	m.ForgetAll()
	other, err := s.Claim(t.Context(), order, s.NewOwner(), true)
	if err != nil || other.Verdict != dedupe.InDoubt {
		t.Fatalf("%+v, %v", other, err)
	}
	if err := s.Doubt(t.Context(), other, other.Doubt, time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Intent(t.Context(), slow, sendBy, sendBy); !errors.Is(err, dedupe.ErrLost) {
		t.Errorf("the intent was written again: %v", err)
	}
	if r, _, err := m.Read(t.Context(), "A"); err != nil || r.Parked.IsZero() {
		t.Errorf("%+v, %v", r, err)
	}
}
