package dedupe_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
)

// leaseEnv returns an environment with a lease of a minute, for a synctest bubble.
func leaseEnv(t *testing.T) (testEnv, *dedupetest.Memory) {
	m := dedupetest.NewMemory()
	return newEnv(t, m, m, nil, dedupe.Config{Lease: time.Minute, FinalTTL: time.Hour, JournalTTL: time.Hour}, m.LoseEntries), m
}

// Worker B is suspended after its claim; A buys and publishes, and everything that the
// stores know of that expires. B's compare-and-set on revision 0 would succeed.
func TestStoreSuspendedWhileAnotherBought(t *testing.T) {
	for name, write := range map[string]func(b testEnv, c *dedupe.Claim) error{
		"intent": func(b testEnv, c *dedupe.Claim) error { return b.Intent(b.ctx(), c, time.Now(), time.Now()) },
		"wait":   func(b testEnv, c *dedupe.Claim) error { return b.Wait(b.ctx(), c, 0, soon) },
		"failed": func(b testEnv, c *dedupe.Claim) error { _, err := b.Finish(b.ctx(), c, failed, false); return err },
	} {
		for _, released := range []bool{false, true} { // Fresh, and Ready with nothing in the journal
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, m := leaseEnv(t)
					suspended := b.must(testOrder, true, dedupe.Fresh)
					if released {
						b.ok(b.Release(b.ctx(), suspended))
						suspended = b.must(testOrder, true, dedupe.Ready)
					}
					time.Sleep(time.Minute)
					m.ForgetAll()
					a := b.must(testOrder, true, dedupe.Fresh)
					b.ok(b.Intent(b.ctx(), a, time.Now(), time.Now()))
					_, err := b.Finish(b.ctx(), a, won, true)
					b.ok(err)
					b.ok(b.Remember(b.ctx(), a, won))
					time.Sleep(2 * time.Hour)
					m.ForgetJournal()
					b.lost(write(b, suspended))
					if r := b.record(); r.State != "" {
						t.Errorf("%s is written over nothing: %+v", name, r)
					}
				})
			})
		}
	}
}

// The lease counts from the time of the request, and each successful renewal extends it.
func TestStoreLeaseByLocalClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, m := leaseEnv(t)
		slow := func(what string, d time.Duration, err error) {
			m.SetFault(func(op string) error {
				if op != what {
					return nil
				}
				time.Sleep(d)
				return err
			})
		}
		slow("claim done", time.Minute, nil)
		c := b.must(testOrder, false, dedupe.Fresh)
		b.lost(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		m.SetFault(nil)
		if r := b.record(); r.State != "" {
			t.Errorf("journal %+v", r)
		}

		c = b.must(testOrder, false, dedupe.Fresh)
		time.Sleep(40 * time.Second)
		b.ok(b.Renew(b.ctx(), c))
		time.Sleep(40 * time.Second)
		slow("renew done", 0, errNoReply)
		if err := b.Renew(b.ctx(), c); !errors.Is(err, errNoReply) {
			t.Fatal(err)
		}
		m.SetFault(nil)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		time.Sleep(40 * time.Second)
		_, err := b.Finish(b.ctx(), c, failed, false) // over its own intent
		b.lost(err)
		if r := b.record(); r.State != dedupe.StateIntent {
			t.Errorf("journal %+v", r)
		}
		b.ok(b.Renew(b.ctx(), c)) // no other owner has claimed the order
		_, err = b.Finish(b.ctx(), c, failed, false)
		b.ok(err)
	})
}

// Intent after the end of the lease writes nothing.
func TestStoreIntentAfterTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := leaseEnv(t)
		b.ok(b.Wait(b.ctx(), b.must(testOrder, false, dedupe.Fresh), 1, 0))
		c := b.must(testOrder, false, dedupe.Ready)
		time.Sleep(time.Minute)
		b.lost(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		if r := b.record(); r.State != dedupe.StateReady {
			t.Errorf("journal %+v", r)
		}
	})
}

// A success is written after the end of the lease too.
func TestStoreSuccessAfterTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := leaseEnv(t)
		c := b.must(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		time.Sleep(time.Hour)
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
	})
}

// The machine is suspended between the check of the lease and the write: the intent is
// journalled, and Intent returns ErrLost, so nothing is sent.
func TestStoreSuspendedDuringIntent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, m := leaseEnv(t)
		c := b.must(testOrder, false, dedupe.Fresh)
		m.SetFault(func(op string) error {
			if op == "write" {
				time.Sleep(time.Minute)
			}
			return nil
		})
		b.lost(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		m.SetFault(nil)
		b.must(testOrder, false, dedupe.InDoubt)
	})
}
