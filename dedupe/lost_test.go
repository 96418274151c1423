package dedupe_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
)

var errNoReply = errors.New("no reply")

// Each store operation of each method fails once, before or after it took effect, and the
// caller repeats the method. The stores must end up in the same state.
func TestStoreRepeatsAfterALostReply(t *testing.T) {
	acts := map[string]struct {
		before func(b testEnv) *dedupe.Claim
		act    func(b testEnv, c *dedupe.Claim) error
		after  dedupe.Verdict // of the next claim
		state  dedupe.State
	}{
		"renew": {func(b testEnv) *dedupe.Claim { return b.must(testOrder, false, dedupe.Fresh) },
			func(b testEnv, c *dedupe.Claim) error { return b.Renew(b.ctx(), c) }, dedupe.Busy, ""},
		"intent": {func(b testEnv) *dedupe.Claim { return b.must(testOrder, false, dedupe.Fresh) },
			func(b testEnv, c *dedupe.Claim) error {
				return b.Intent(b.ctx(), c, time.Now().Add(time.Second), time.Now().Add(time.Second))
			}, dedupe.Busy, dedupe.StateIntent},
		"wait": {(testEnv).sent,
			func(b testEnv, c *dedupe.Claim) error { return b.Wait(b.ctx(), c, 1, soon) }, dedupe.Ready, dedupe.StateReady},
		"doubt": {(testEnv).sent,
			func(b testEnv, c *dedupe.Claim) error { return b.Doubt(b.ctx(), c, c.Doubt, soon) }, dedupe.InDoubt, dedupe.StateIntent},
		"bought": {(testEnv).sent,
			func(b testEnv, c *dedupe.Claim) error {
				d := c.Doubt
				d.Bought = true
				return b.Doubt(b.ctx(), c, d, soon)
			}, dedupe.InDoubt, dedupe.StateIntent},
		"disprove": {(testEnv).inDoubt,
			func(b testEnv, c *dedupe.Claim) error { return b.Disprove(b.ctx(), c) }, dedupe.Busy, dedupe.StateReady},
		"succeeded": {(testEnv).sent,
			func(b testEnv, c *dedupe.Claim) error { _, err := b.Finish(b.ctx(), c, won, true); return err }, dedupe.Busy, dedupe.StateFinal},
		"failed": {(testEnv).sent,
			func(b testEnv, c *dedupe.Claim) error { _, err := b.Finish(b.ctx(), c, failed, false); return err }, dedupe.Busy, dedupe.StateFinal},
		"remember": {(testEnv).sent, func(b testEnv, c *dedupe.Claim) error {
			if _, err := b.Finish(b.ctx(), c, won, true); err != nil {
				return err
			}
			return b.Remember(b.ctx(), c, won)
		}, dedupe.Done, dedupe.StateFinal},
		"release": {func(b testEnv) *dedupe.Claim { return b.must(testOrder, false, dedupe.Fresh) },
			func(b testEnv, c *dedupe.Claim) error { return b.Release(b.ctx(), c) }, dedupe.Ready, ""},
		"release after the intent": {(testEnv).sent,
			func(b testEnv, c *dedupe.Claim) error { return b.Release(b.ctx(), c) }, dedupe.Ready, dedupe.StateReady},
	}
	ops := []string{"renew", "park", "remember", "forget", "read", "write"}
	for name, a := range acts {
		for _, op := range ops {
			for _, op := range []string{op, op + " done"} {
				t.Run(name+"/"+op, func(t *testing.T) {
					m := dedupetest.NewMemory()
					b := newEnv(t, m, m, nil, dedupe.Config{Lease: long, FinalTTL: long}, m.LoseEntries)
					c := a.before(b)
					struck := strikeOnce(m, op)
					err := a.act(b, c)
					if *struck != (err != nil) || err != nil && !errors.Is(err, errNoReply) {
						t.Fatalf("struck %v, error %v", *struck, err)
					}
					if err != nil {
						if err := a.act(b, c); err != nil {
							t.Fatalf("repeated: %v", err)
						}
					}
					m.SetFault(nil)
					if r := b.record(); r.State != a.state {
						t.Errorf("journal %+v, want %q", r, a.state)
					}
					if got := b.must(testOrder, true, a.after); got.Verdict == dedupe.Ready && got.Waits != c.Waits && got.Waits != 1 {
						t.Errorf("waits %d", got.Waits)
					}
				})
			}
		}
	}
}

func (b testEnv) sent() *dedupe.Claim {
	c := b.must(testOrder, false, dedupe.Fresh)
	b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
	return c
}

func (b testEnv) inDoubt() *dedupe.Claim {
	c := b.sent()
	b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
	return b.must(testOrder, true, dedupe.InDoubt)
}

// strikeOnce makes the next op fail; the function it returns reports whether it did.
func strikeOnce(m *dedupetest.Memory, op string) *bool {
	struck := new(bool)
	m.SetFault(func(got string) error {
		if *struck || got != op {
			return nil
		}
		*struck = true
		return errNoReply
	})
	return struck
}

// A claim that is repeated by the same owner after a lost reply has the same verdict.
func TestStoreClaimAfterALostReply(t *testing.T) {
	states := map[dedupe.Verdict]func(b testEnv){
		dedupe.Fresh: func(testEnv) {},
		dedupe.Ready: func(b testEnv) { b.ok(b.Wait(b.ctx(), b.sent(), 1, soon)) },
		dedupe.InDoubt: func(b testEnv) {
			c := b.sent()
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		},
		dedupe.Waiting: func(b testEnv) { b.ok(b.Wait(b.ctx(), b.sent(), 1, long)); b.wipe() }, // by the journal
		dedupe.Busy:    func(b testEnv) { b.sent() },
		dedupe.Final: func(b testEnv) {
			c := b.sent()
			_, err := b.Finish(b.ctx(), c, won, true)
			b.ok(err)
			b.wipe()
		},
		dedupe.Done: func(b testEnv) {
			c := b.sent()
			_, err := b.Finish(b.ctx(), c, won, true)
			b.ok(err)
			b.ok(b.Remember(b.ctx(), c, won))
		},
		dedupe.Conflict: func(b testEnv) {
			c := b.must(otherF, false, dedupe.Fresh)
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			b.wipe()
		},
	}
	for want, prepare := range states {
		for _, op := range []string{"claim", "claim done", "read", "read done", "park", "park done", "forget", "forget done"} {
			t.Run(string(want)+"/"+op, func(t *testing.T) {
				m := dedupetest.NewMemory()
				b := newEnv(t, m, m, nil, dedupe.Config{Lease: long, FinalTTL: long}, m.LoseEntries)
				prepare(b)
				strikeOnce(m, op)
				owner := b.NewOwner()
				c, err := b.Claim(b.ctx(), testOrder, owner, true)
				if err != nil {
					if !errors.Is(err, errNoReply) {
						t.Fatal(err)
					}
					c, err = b.Claim(b.ctx(), testOrder, owner, true)
				}
				if err != nil || c.Verdict != want {
					t.Fatalf("claim %+v, %v; want %q", c, err, want)
				}
			})
		}
	}
}

// An intent that is stored after its owner has given up makes the order in doubt; it never
// leads to a second send.
func TestStoreIntentUnknownThenReleased(t *testing.T) {
	for _, op := range []string{"write", "write done"} {
		m := dedupetest.NewMemory()
		b := newEnv(t, m, m, nil, dedupe.Config{Lease: long}, m.LoseEntries)
		c := b.must(testOrder, false, dedupe.Fresh)
		strikeOnce(m, op)
		if err := b.Intent(b.ctx(), c, time.Now(), time.Now()); !errors.Is(err, errNoReply) {
			t.Fatal(err)
		}
		b.ok(b.Release(b.ctx(), c)) // takes it back, whether it is there or not
		b.must(testOrder, true, dedupe.Ready)
	}
}

// A worker bought, journalled the final and died, and no worker ran until the final had
// expired. The cache knows only of the claim: the order is in doubt.
func TestFinalThatExpiredUnpublishedLeavesDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := dedupetest.NewMemory()
		s := dedupe.New(m, m, nil, dedupe.Config{Lease: time.Minute, FinalTTL: 720 * time.Hour, JournalTTL: 24 * time.Hour})
		o := dedupe.Order{OutTradeNo: "A", Fingerprint: "f", Seq: 1, Stored: time.Now()}
		c, err := s.Claim(t.Context(), o, s.NewOwner(), false)
		if err != nil || c.Verdict != dedupe.Fresh {
			t.Fatalf("claim: %+v, %v", c, err)
		}
		if _, err := s.Intent(t.Context(), c, time.Now().Add(time.Second), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Finish(t.Context(), c, []byte(`{}`), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour) // of the bubble
		m.ForgetJournal()          // the final's TTL is over
		for _, redis := range []string{"alive", "wiped"} {
			if redis == "wiped" {
				m.ForgetAll()
			}
			c, err = s.Claim(t.Context(), o, s.NewOwner(), true)
			if err != nil || c.Verdict != dedupe.InDoubt {
				t.Errorf("redelivered, with Redis %s: verdict %q, %v; want in doubt: it may have been bought", redis, c.Verdict, err)
			}
		}
		other := dedupe.Order{OutTradeNo: "B", Fingerprint: "f", Seq: 2, Stored: time.Now()}
		if c, err = s.Claim(t.Context(), other, s.NewOwner(), true); err != nil || c.Verdict != dedupe.Fresh {
			t.Errorf("a young request: verdict %q, %v; want fresh", c.Verdict, err)
		}
	})
}
