package dedupe_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
)

// TestCancel: an order is cancelled over ready or nothing, and over nothing else.
func TestCancel(t *testing.T) {
	now := time.Now()
	order := dedupe.Order{OutTradeNo: "A", Fingerprint: "f", Seq: 7, Stored: now.Add(-time.Minute)}
	result := []byte(`{"status":"failed","reason":"cancelled"}`)
	for name, c := range map[string]struct {
		make func(*testing.T, *dedupe.Store, *dedupetest.Memory)
		with func(*dedupe.Cancellation)
		want string // of the refusal; "": it is cancelled
	}{
		"nothing is known": {},
		"claimed, unsent":  {make: func(t *testing.T, s *dedupe.Store, _ *dedupetest.Memory) { claimOf(t, s, order) }},
		"ready": {make: func(t *testing.T, s *dedupe.Store, _ *dedupetest.Memory) {
			c := claimOf(t, s, order)
			intend(t, s, c, now.Add(time.Hour))
			ok(t, s.Wait(t.Context(), c, 3, time.Hour))
		}},
		"an intent": {make: func(t *testing.T, s *dedupe.Store, _ *dedupetest.Memory) {
			intend(t, s, claimOf(t, s, order), now.Add(time.Hour))
		}, want: "may be under way"},
		"in doubt": {make: func(t *testing.T, s *dedupe.Store, _ *dedupetest.Memory) {
			c := claimOf(t, s, order)
			ok(t, s.Doubt(t.Context(), c, intend(t, s, c, now).Doubt, time.Hour))
		}, want: "may be under way"},
		"in doubt, and only Redis knows": {make: func(t *testing.T, s *dedupe.Store, m *dedupetest.Memory) {
			c := claimOf(t, s, order)
			ok(t, s.Doubt(t.Context(), c, intend(t, s, c, now).Doubt, time.Hour))
			m.ForgetJournal()
		}, want: "may be under way"},
		"final": {make: func(t *testing.T, s *dedupe.Store, _ *dedupetest.Memory) {
			_, err := s.Finish(t.Context(), claimOf(t, s, order), []byte(`{"status":"succeeded"}`), true)
			ok(t, err)
		}, want: "final result"},
		"other content": {make: func(t *testing.T, s *dedupe.Store, _ *dedupetest.Memory) { claimOf(t, s, order) },
			with: func(c *dedupe.Cancellation) { c.Request.Fingerprint = "g" }, want: "other content"},
		"a journal made anew":    {make: func(t *testing.T, _ *dedupe.Store, m *dedupetest.Memory) { m.SetJournalCreated(now) }, want: "made anew"},
		"older than the journal": {with: func(c *dedupe.Cancellation) { c.Request.Stored = now.Add(-25 * time.Hour) }, want: "older than the journal remembers"},
		"changed since":          {with: func(c *dedupe.Cancellation) { c.Seen = 99 }, want: "another owner has written"},
	} {
		t.Run(name, func(t *testing.T) {
			m := dedupetest.NewMemory()
			s := dedupe.New(m, m, nil, dedupe.Config{Lease: time.Minute, FinalTTL: 720 * time.Hour, JournalTTL: 24 * time.Hour})
			if c.make != nil {
				c.make(t, s, m)
			}
			known, err := s.Look(t.Context(), "A")
			ok(t, err)
			cancel := dedupe.Cancellation{Request: order, Seen: known.JournalRev, Result: result}
			if c.with != nil {
				c.with(&cancel)
			}
			err = s.Cancel(t.Context(), cancel)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, dedupe.ErrNotCancellable) && !errors.Is(err, dedupe.ErrLost) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			ok(t, err)
			m.ForgetAll()
			next, err := s.Claim(t.Context(), order, s.NewOwner(), true)
			ok(t, err)
			if next.Verdict != dedupe.Final || string(next.Result) != string(result) || next.ResultSeq != 7 {
				t.Errorf("the next claim finds %s %s of request %d", next.Verdict, next.Result, next.ResultSeq)
			}
		})
	}
}

// TestCancelAgainstAWorker: of an intent and a cancellation that are written at the same
// time, one wins, and the other changes nothing.
func TestCancelAgainstAWorker(t *testing.T) {
	order := dedupe.Order{OutTradeNo: "A", Fingerprint: "f", Seq: 7, Stored: time.Now()}
	m := dedupetest.NewMemory()
	s := dedupe.New(m, m, nil, dedupe.Config{Lease: time.Minute, FinalTTL: time.Hour, JournalTTL: time.Hour})
	c := claimOf(t, s, order)
	ok(t, s.Cancel(t.Context(), dedupe.Cancellation{Request: order, Result: []byte(`{}`)}))
	if _, err := s.Intent(t.Context(), c, time.Now().Add(time.Second), time.Now().Add(time.Second)); !errors.Is(err, dedupe.ErrLost) {
		t.Errorf("an intent over a cancelled order: %v", err)
	}
}

// TestRulingsWaitForAWorker: an order that was cancelled or settled while it waited is not
// sent, however long no worker runs after that.
func TestRulingsWaitForAWorker(t *testing.T) {
	for name, rule := range map[string]func(*testing.T, *dedupe.Store, dedupe.Order){
		"cancelled": func(t *testing.T, s *dedupe.Store, o dedupe.Order) {
			known, err := s.Look(t.Context(), "A")
			ok(t, err)
			ok(t, s.Cancel(t.Context(), dedupe.Cancellation{Request: o, Seen: known.JournalRev, Result: []byte(`{"status":"failed"}`)}))
		},
		"settled": func(t *testing.T, s *dedupe.Store, o dedupe.Order) {
			c := claimOf(t, s, o)
			ok(t, s.Doubt(t.Context(), c, intend(t, s, c, time.Now()).Doubt, time.Second))
			time.Sleep(time.Minute)
			known, err := s.Look(t.Context(), "A")
			ok(t, err)
			ok(t, s.Settle(t.Context(), "A", dedupe.Ruling{Seen: known.JournalRev, Result: []byte(`{"status":"succeeded"}`)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const ttl = time.Hour
				m := dedupetest.NewMemory()
				m.SetLifetime(func(r dedupe.Record) time.Duration { return r.Lifetime(ttl) })
				s := dedupe.New(m, m, nil, dedupe.Config{Lease: time.Minute, FinalTTL: 720 * time.Hour, JournalTTL: ttl})
				o := dedupe.Order{OutTradeNo: "A", Fingerprint: "f", Seq: 7, Stored: time.Now()}
				ok(t, s.Wait(t.Context(), claimOf(t, s, o), 1, time.Second))
				time.Sleep(2 * time.Second)
				rule(t, s, o)
				time.Sleep(10 * ttl)
				c := claimOf(t, s, o)
				if c.Verdict == dedupe.Final {
					return
				}
				if _, err := s.Intent(t.Context(), c, time.Now(), time.Now()); !errors.Is(err, dedupe.ErrLost) {
					t.Errorf("a worker finds it %s, and may send it: %v", c.Verdict, err)
				}
			})
		})
	}
}

func claimOf(t *testing.T, s *dedupe.Store, o dedupe.Order) *dedupe.Claim {
	t.Helper()
	c, err := s.Claim(t.Context(), o, s.NewOwner(), false)
	ok(t, err)
	return c
}

// intend writes an intent, whose request may leave until at.
func intend(t *testing.T, s *dedupe.Store, c *dedupe.Claim, at time.Time) *dedupe.Sent {
	t.Helper()
	sent, err := s.Intent(t.Context(), c, at, at)
	ok(t, err)
	return sent
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEndings(t *testing.T) {
	var p dedupe.Progress
	for i := range 25 {
		before := p
		p.Note(dedupe.Ending{At: time.UnixMilli(int64(i)), Attempt: i, Class: "refused"})
		if len(before.Endings) > 0 && before.Endings[len(before.Endings)-1].Attempt != i-1 {
			t.Fatal("an older record was changed")
		}
	}
	if n := len(p.Endings); n != 10 || p.Endings[0].Attempt != 15 || p.Endings[9].Attempt != 24 {
		t.Errorf("%d endings: %+v", n, p.Endings)
	}
	old := dedupe.Progress{}
	old.Note(dedupe.Ending{At: time.UnixMilli(3), Class: "account"})
	k := dedupe.Known{Cache: &dedupe.Entry{Progress: old}, Journal: &dedupe.Record{Progress: p}}
	if got := k.Endings(); len(got) != 10 {
		t.Errorf("the older of the two: %+v", got)
	}
	k = dedupe.Known{Cache: &dedupe.Entry{Progress: p}, Journal: &dedupe.Record{Progress: old}}
	if got := k.Endings(); len(got) != 10 {
		t.Errorf("the older of the two: %+v", got)
	}
}
