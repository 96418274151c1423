package dedupe_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
	"orderworker/dedupe/storetest"
)

// testEnv is a Store under test, its stores, and the helpers of the tests.
type testEnv struct {
	*dedupe.Store
	cache   dedupe.Cache
	journal dedupe.Journal
	cfg     dedupe.Config
	wipe    func() // loses what the cache knows
	t       *testing.T
}

func newEnv(t *testing.T, c dedupe.Cache, j dedupe.Journal, r dedupe.Results, cfg dedupe.Config, wipe func()) testEnv {
	return testEnv{dedupe.New(c, j, r, cfg), c, j, cfg, wipe, t}
}

// eachStore runs test with every combination of stores.
func eachStore(t *testing.T, test func(b testEnv)) {
	for name, open := range combinations {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			test(newEnv(t, s.records, s.journal, nil, dedupe.Config{Lease: long, FinalTTL: long}, s.wipe))
		})
	}
}

func (b testEnv) ctx() context.Context { return b.t.Context() }

// must claims o for a new owner and fails the test if the verdict is another.
func (b testEnv) must(o dedupe.Order, redelivered bool, want dedupe.Verdict) *dedupe.Claim {
	b.t.Helper()
	c, err := b.Claim(b.ctx(), o, b.NewOwner(), redelivered)
	if err != nil {
		b.t.Fatal(err)
	}
	if c.Verdict != want {
		b.t.Fatalf("claim is %q (%+v), want %q", c.Verdict, c, want)
	}
	return c
}

func (b testEnv) ok(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b testEnv) lost(err error) {
	b.t.Helper()
	if !errors.Is(err, dedupe.ErrLost) {
		b.t.Fatalf("error %v, want ErrLost", err)
	}
}

// Intent is the store's, and notes in c what would be in doubt, so that a test needs no more
// than the claim.
func (b testEnv) Intent(ctx context.Context, c *dedupe.Claim, sendBy, over time.Time) error {
	sent, err := b.Store.Intent(ctx, c, sendBy, over)
	if err == nil {
		c.Doubt = sent.Doubt
	}
	return err
}

// park parks the order of c in doubt, of which nothing was learned.
func (b testEnv) park(c *dedupe.Claim) {
	b.t.Helper()
	b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
}

// parkBought parks the order of c, of which the vendor has said that it was bought.
func (b testEnv) parkBought(c *dedupe.Claim) error {
	d := c.Doubt
	d.Bought = true
	return b.Doubt(b.ctx(), c, d, soon)
}

// misused fails the test unless err is a misuse, which is not ErrLost.
func (b testEnv) misused(err error) {
	b.t.Helper()
	if err == nil || errors.Is(err, dedupe.ErrLost) {
		b.t.Fatalf("error %v, want a refusal", err)
	}
}

// dying claims with a lease that ends at once. By the local clock the lease goes on, so
// that only the stores can stop the owner.
func (b testEnv) dying(o dedupe.Order, redelivered bool, want dedupe.Verdict) *dedupe.Claim {
	b.t.Helper()
	dying := newEnv(b.t, b.cache, b.journal, nil, dedupe.Config{Lease: time.Millisecond, FinalTTL: long}, b.wipe)
	c := dying.must(o, redelivered, want)
	storetest.Eventually(b.t, "the lease lapses", func() bool {
		k, err := b.Look(b.ctx(), o.OutTradeNo)
		b.ok(err)
		return k.Cache == nil || k.Cache.Left == 0
	})
	c.SetLease(time.Now(), long)
	return c
}

func (b testEnv) record() dedupe.Record {
	b.t.Helper()
	r, _, err := b.journal.Read(b.ctx(), testOrder.OutTradeNo)
	b.ok(err)
	return r
}

// soon is a delay that is over at the next claim.
const soon = 0

var won = []byte(`{"status":"succeeded"}`)
var failed = []byte(`{"status":"failed"}`)

func TestStoreCleanOrder(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.must(testOrder, false, dedupe.Fresh)
		b.must(testOrder, true, dedupe.Busy)
		b.ok(b.Renew(b.ctx(), c))
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(time.Second), time.Now().Add(time.Second)))
		if c.Doubt.Attempt != 1 || c.Doubt.SendBy.Before(time.Now()) || c.Doubt.Since.IsZero() {
			t.Errorf("doubt after the intent: %+v", c.Doubt)
		}
		result, err := b.Finish(b.ctx(), c, []byte(` {"status": "succeeded"} `), true)
		if err != nil || string(result) != string(won) || c.Verdict != dedupe.Final {
			t.Fatalf("finish = %s, %v", result, err)
		}
		b.ok(b.Remember(b.ctx(), c, result))
		for _, o := range []dedupe.Order{testOrder, {OutTradeNo: testOrder.OutTradeNo, Fingerprint: "f1", Seq: 99}} {
			if c := b.must(o, false, dedupe.Done); string(c.Result) != string(won) || c.ResultSeq != 7 {
				t.Errorf("done claim %+v", c)
			}
		}
	})
}

func TestStoreSameOwnerSameVerdict(t *testing.T) {
	eachStore(t, func(b testEnv) {
		owner := b.NewOwner()
		for range 3 {
			for _, redelivered := range []bool{false, true} {
				if c, err := b.Claim(b.ctx(), testOrder, owner, redelivered); err != nil || c.Verdict != dedupe.Fresh {
					t.Fatalf("claim %+v, %v", c, err)
				}
			}
		}
		b.must(testOrder, false, dedupe.Busy)
	})
}

func TestStoreRefusedWaitsAndGoesOn(t *testing.T) {
	eachStore(t, func(b testEnv) {
		for n := 1; n <= 3; n++ {
			want := dedupe.Ready
			if n == 1 {
				want = dedupe.Fresh
			}
			c := b.must(testOrder, n > 1, want)
			if c.Refusals != n-1 || c.Waits != n-1 {
				t.Errorf("claim %d: attempts %d, waits %d", n, c.Refusals, c.Waits)
			}
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			if c.Doubt.Attempt != n {
				t.Errorf("attempt %d, want %d", c.Doubt.Attempt, n)
			}
			b.ok(b.Wait(b.ctx(), c, n, soon))
			if r := b.record(); r.State != dedupe.StateReady || r.Refusals != n || r.Waits != n || r.Attempt != n {
				t.Errorf("journal %+v", r)
			}
		}
		c := b.must(testOrder, true, dedupe.Ready)
		b.ok(b.Wait(b.ctx(), c, c.Refusals, long))
		if c := b.must(testOrder, true, dedupe.Waiting); c.Left <= 0 || c.Left > long {
			t.Errorf("left %v", c.Left)
		}
		// Redis lost: the journal knows how long to wait, and goes on counting.
		b.wipe()
		if c := b.must(testOrder, true, dedupe.Waiting); c.Left <= 0 || c.Left > long {
			t.Errorf("left %v by the journal", c.Left)
		}
		b.must(testOrder, true, dedupe.Waiting)
		k, err := b.Look(b.ctx(), testOrder.OutTradeNo)
		if err != nil || k.Cache.Refusals != 3 || k.Cache.Waits != 4 || k.Journal.Refusals != 3 || k.JournalRev != k.Cache.Rev {
			t.Errorf("known %+v, %v", k, err)
		}
	})
}

func TestStoreInDoubtIsSettledByTheLookup(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.must(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(time.Hour), time.Now().Add(time.Hour)))
		d := c.Doubt
		d.Asked, d.Noticed = 2, true
		c.Refusals, c.Waits = 4, 5
		b.ok(b.Doubt(b.ctx(), c, d, long))
		b.must(testOrder, true, dedupe.Waiting)
		b.wipe()
		c = b.must(testOrder, true, dedupe.InDoubt) // even though sendBy is still to come
		if c.Doubt.Attempt != 1 || !c.Doubt.SendBy.Equal(d.SendBy) || !c.Doubt.Since.Equal(d.Since) || c.Doubt.Asked != 0 {
			t.Errorf("doubt from the journal %+v, was %+v", c.Doubt, d)
		}
		c.Refusals, c.Waits = 4, 5
		b.ok(b.Doubt(b.ctx(), c, d, soon))
		c = b.must(testOrder, true, dedupe.InDoubt)
		if c.Doubt != d || c.Refusals != 4 || c.Waits != 5 {
			t.Errorf("claim %+v, want doubt %+v", c, d)
		}
		_, err := b.Finish(b.ctx(), c, failed, false)
		b.misused(err)
		b.misused(b.Wait(b.ctx(), c, 1, soon))
		b.ok(b.Disprove(b.ctx(), c))
		if c.Verdict != dedupe.Ready || c.Doubt != (dedupe.Doubt{}) || c.Refusals != 4 {
			t.Errorf("after the proof %+v", c)
		}
		b.must(testOrder, true, dedupe.Busy)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		if c.Doubt.Attempt != 2 {
			t.Errorf("attempt %d, want 2", c.Doubt.Attempt)
		}
		_, err = b.Finish(b.ctx(), c, failed, false)
		b.ok(err)
	})
}

func TestStoreResendKeepsTheOldDoubt(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.must(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		d := c.Doubt
		d.Missing, d.Asked, d.Noticed = true, 3, true
		b.ok(b.Doubt(b.ctx(), c, d, soon))
		c = b.must(testOrder, true, dedupe.InDoubt)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		if r := b.record(); !r.EarlierOpen || r.Attempt != 2 || !r.Since.Equal(d.Since) {
			t.Errorf("journal %+v", r)
		}
		b.misused(b.Disprove(b.ctx(), c)) // no lookup has asked for attempt 2
		b.misused(b.Wait(b.ctx(), c, 1, soon))
		_, err := b.Finish(b.ctx(), c, failed, false)
		b.misused(err)
		// The owner dies: Missing was about attempt 1 and proves nothing now.
		dead := newEnv(t, b.cache, b.journal, nil, dedupe.Config{Lease: time.Millisecond}, b.wipe)
		b.ok(dead.Renew(b.ctx(), c))
		storetest.Eventually(t, "the lease lapses", func() bool {
			c, err = b.Claim(b.ctx(), testOrder, b.NewOwner(), true)
			b.ok(err)
			return c.Verdict != dedupe.Busy
		})
		if want := (dedupe.Doubt{Attempt: 2, SendBy: c.Doubt.SendBy, Over: c.Doubt.Over, Since: d.Since, Noticed: true}); c.Verdict != dedupe.InDoubt || c.Doubt != want {
			t.Errorf("doubt %+v, want %+v", c.Doubt, want)
		}
	})
}

func TestStoreBoughtSurvives(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.dying(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		second := b.must(testOrder, true, dedupe.InDoubt) // takes the first for dead, and resends
		b.ok(b.Intent(b.ctx(), second, time.Now().Add(time.Minute), time.Now().Add(time.Minute)))
		d := c.Doubt
		d.Bought = true
		b.lost(b.Doubt(b.ctx(), c, d, soon)) // not its order any more, but a fact
		r := b.record()
		if r.State != dedupe.StateIntent || !r.Bought || r.Attempt != 2 || r.SendBy.Before(time.Now()) {
			t.Errorf("journal %+v", r)
		}
		b.ok(b.parkBought(second)) // over the first's fact
		b.wipe()
		c = b.must(testOrder, true, dedupe.InDoubt)
		if !c.Doubt.Bought {
			t.Errorf("doubt %+v", c.Doubt)
		}
		b.misused(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.misused(b.Disprove(b.ctx(), c))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		c = b.must(testOrder, true, dedupe.InDoubt)
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		c2 := b.must(testOrder, true, dedupe.Busy)
		b.misused(b.Renew(b.ctx(), c2))
		second.ForgetBought()
		b.lost(b.parkBought(second)) // a final never changes
		if r := b.record(); r.State != dedupe.StateFinal {
			t.Errorf("journal %+v", r)
		}
	})
}

func TestStoreDiedAfterEachStep(t *testing.T) {
	steps := map[string]struct {
		do   func(b testEnv, c *dedupe.Claim)
		want dedupe.Verdict
	}{
		"claim":  {func(testEnv, *dedupe.Claim) {}, dedupe.Fresh},
		"intent": {func(b testEnv, c *dedupe.Claim) { b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now())) }, dedupe.InDoubt},
		"final": {func(b testEnv, c *dedupe.Claim) {
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			_, err := b.Finish(b.ctx(), c, won, true)
			b.ok(err)
		}, dedupe.Final},
		"failed unsent": {func(b testEnv, c *dedupe.Claim) {
			_, err := b.Finish(b.ctx(), c, failed, false)
			b.ok(err)
		}, dedupe.Final},
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			eachStore(t, func(b testEnv) {
				for _, wiped := range []bool{false, true} {
					o := testOrder
					o.OutTradeNo += fmt.Sprint(wiped)
					step.do(b, b.dying(o, false, dedupe.Fresh))
					if wiped {
						b.wipe()
					}
					c := b.must(o, true, step.want)
					if c.Verdict == dedupe.Final && (c.Result == nil || c.ResultSeq != 7) {
						t.Errorf("final claim %+v", c)
					}
					b.must(o, true, dedupe.Busy)
				}
			})
		})
	}
}

// The cache and the stream take an order for new, but the journal has an intent.
func TestStoreFreshByMistake(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.must(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.wipe()
		again := b.must(testOrder, false, dedupe.Fresh)
		b.lost(b.Intent(b.ctx(), again, time.Now(), time.Now()))
		again = b.must(testOrder, false, dedupe.InDoubt) // although not redelivered
		b.lost(b.Wait(b.ctx(), c, 1, soon) /* Redis: not ours any more */)
		b.lost(b.Disprove(b.ctx(), again) /* the first has written */)
		b.must(testOrder, false, dedupe.Ready)
		b.wipe()
		expired := b.must(testOrder, false, dedupe.Fresh)
		_, err := b.Finish(b.ctx(), expired, failed, false)
		b.lost(err)
		b.ok(b.Release(b.ctx(), b.must(testOrder, false, dedupe.Ready)))
	})
}

func TestStoreStaleOwner(t *testing.T) {
	eachStore(t, func(b testEnv) {
		stale := b.dying(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), stale, time.Now(), time.Now()))
		c := b.must(testOrder, true, dedupe.InDoubt)
		b.lost(b.Renew(b.ctx(), stale))
		stale.SetLease(time.Now().Add(-time.Hour), time.Minute)
		b.lost(b.Doubt(b.ctx(), stale, stale.Doubt, soon)) // which leaves the journal to c
		stale.SetLease(time.Now(), long)
		b.must(testOrder, true, dedupe.Busy)
		b.ok(b.Disprove(b.ctx(), c))
		stale.Verdict = dedupe.Fresh
		b.lost(b.Wait(b.ctx(), stale, 1, soon))
		_, err := b.Finish(b.ctx(), stale, failed, false)
		b.lost(err)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.lost(b.Release(b.ctx(), stale))
		// But that the first did buy is a fact, whatever the lookup said.
		if got, err := b.Finish(b.ctx(), stale, won, true); err != nil || string(got) != string(won) {
			t.Fatalf("finish = %s, %v", got, err)
		}
		_, err = b.Finish(b.ctx(), c, failed, false)
		b.lost(err)
		if got, err := b.Finish(b.ctx(), c, []byte(`{"other":1}`), true); err != nil || string(got) != string(won) {
			t.Errorf("the final changed: %s, %v", got, err)
		}
		b.lost(b.Wait(b.ctx(), &dedupe.Claim{Order: testOrder, Owner: "x", Verdict: dedupe.Ready}, 1, soon))
	})
}

func TestStoreConflict(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.must(testOrder, false, dedupe.Fresh)
		b.must(otherF, false, dedupe.Busy) // Redis knows, the journal does not yet
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.must(otherF, false, dedupe.Conflict)
		b.wipe()
		b.must(otherF, true, dedupe.Conflict) // by the journal
		b.must(testOrder, true, dedupe.InDoubt)
		b.must(otherF, true, dedupe.Conflict)
		b.wipe()

		// The wrong one is there first.
		wrong := b.must(otherF, false, dedupe.Fresh)
		if busy := b.must(testOrder, true, dedupe.Busy); busy.Left <= 0 || busy.Left > dedupe.ClaimPause {
			t.Errorf("left %v", busy.Left)
		}
		b.lost(b.Intent(b.ctx(), wrong, time.Now(), time.Now()))
		c = b.must(testOrder, true, dedupe.InDoubt) // Redis was wrong, and is forgotten
		b.must(otherF, true, dedupe.Conflict)
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		b.ok(b.Remember(b.ctx(), c, won))
		b.must(otherF, true, dedupe.Conflict)
		b.must(testOrder, true, dedupe.Done)

		// Redis remembers the wrong one as final.
		b.wipe()
		b.ok(b.cache.Remember(b.ctx(), otherF, failed, long))
		if c := b.must(testOrder, false, dedupe.Final); string(c.Result) != string(won) {
			t.Errorf("result %s", c.Result)
		}
	})
}

// While the journal has no record, a claim of the later of two requests does not make the
// earlier one a conflict: the later one may have been rejected long ago.
func TestStoreConflictOfTheEarlier(t *testing.T) {
	eachStore(t, func(b testEnv) {
		late := b.must(otherF, false, dedupe.Fresh)
		b.must(testOrder, true, dedupe.Busy) // it may yet write its intent
		b.wipe()
		b.dying(otherF, true, dedupe.Fresh)
		c := b.must(testOrder, true, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.lost(b.Intent(b.ctx(), late, time.Now(), time.Now()))
		b.must(otherF, true, dedupe.Conflict)

		// Notes are more than a claim: the journal was lost, or its final is over.
		for _, e := range []dedupe.Entry{{State: dedupe.StateInDoubt}, {State: dedupe.StateReady, Rev: 5}, {State: dedupe.StateClaimed, Rev: 5}, {State: dedupe.StateClaimed, Progress: dedupe.Progress{Attempt: 1}}} {
			b.wipe()
			fresh := testOrder
			fresh.OutTradeNo += string(e.State) + strconv.FormatUint(e.Rev, 10)
			other := fresh
			other.Fingerprint, other.Seq = otherF.Fingerprint, otherF.Seq
			b.ok(b.cache.Park(b.ctx(), other, "gone", e, soon))
			b.must(fresh, true, dedupe.Conflict)
		}
		b.wipe()
		fresh := testOrder
		b.ok(b.Remember(b.ctx(), &dedupe.Claim{Order: dedupe.Order{OutTradeNo: "final", Fingerprint: "f2", Seq: 8}, First: 8}, failed))
		fresh.OutTradeNo = "final"
		b.must(fresh, true, dedupe.Conflict)
	})
}

func TestStoreRelease(t *testing.T) {
	eachStore(t, func(b testEnv) {
		b.ok(b.Release(b.ctx(), b.must(testOrder, false, dedupe.Fresh)))
		c := b.must(testOrder, false, dedupe.Ready)                     // the journal was asked
		b.ok(b.Release(b.ctx(), b.must(testOrder, false, dedupe.Busy))) // holds nothing, gives nothing
		b.must(testOrder, false, dedupe.Busy)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.misused(b.Intent(b.ctx(), c, time.Now(), time.Now())) // one per claim
		b.ok(b.Release(b.ctx(), c))                             // nothing was sent: no doubt
		c = b.must(testOrder, true, dedupe.Ready)
		if c.Waits != 0 {
			t.Errorf("waits %d", c.Waits)
		}
		b.ok(b.Release(b.ctx(), c))
		c = b.must(testOrder, true, dedupe.Ready)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		if c.Doubt.Attempt != 2 {
			t.Errorf("attempt %d, want 2", c.Doubt.Attempt)
		}
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		b.ok(b.Release(b.ctx(), b.must(testOrder, true, dedupe.InDoubt)))
		c = b.must(testOrder, true, dedupe.InDoubt)
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		b.ok(b.Release(b.ctx(), c)) // could not publish
		c = b.must(testOrder, false, dedupe.Final)
		b.misused(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.misused(b.Doubt(b.ctx(), c, dedupe.Doubt{}, soon))
		if got, err := b.Finish(b.ctx(), c, failed, false); err != nil || string(got) != string(won) {
			t.Errorf("finish = %s, %v", got, err)
		}
	})
}

// The cache has a revision that the journal no longer has: a final expired unpublished, or
// the journal was lost. The order is in doubt.
func TestStoreJournalLost(t *testing.T) {
	for name, life := range map[string]func(b testEnv, c *dedupe.Claim){
		"parked in doubt": func(b testEnv, c *dedupe.Claim) {
			c.Doubt.Asked = 3
			b.park(c)
		},
		"died in doubt": func(b testEnv, c *dedupe.Claim) {
			c.Doubt.Asked, c.Doubt.Missing = 3, true
			b.park(c)
			b.dying(testOrder, true, dedupe.InDoubt)
		},
		"died after the heartbeat": func(b testEnv, c *dedupe.Claim) {
			_, err := b.Finish(b.ctx(), c, won, true)
			b.ok(err)
			b.ok(newEnv(t, b.cache, b.journal, nil, dedupe.Config{Lease: time.Nanosecond}, b.wipe).Renew(b.ctx(), c))
		},
		"gave up publishing": func(b testEnv, c *dedupe.Claim) {
			_, err := b.Finish(b.ctx(), c, won, true)
			b.ok(err)
			b.ok(b.Release(b.ctx(), c))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := dedupetest.NewMemory()
			b := newEnv(t, m, m, nil, dedupe.Config{Lease: long, FinalTTL: long}, m.LoseEntries)
			life(b, b.sent())
			m.ForgetJournal()
			storetest.Eventually(t, "the lease lapses", func() bool {
				e, _, err := m.Look(b.ctx(), testOrder.OutTradeNo)
				return err == nil && e.Left == 0
			})
			if c := b.must(testOrder, true, dedupe.InDoubt); c.Doubt.SendBy.IsZero() || c.Doubt.Since.IsZero() || c.Doubt.Missing {
				t.Errorf("doubt %+v", c.Doubt)
			}
		})
	}
}

func TestStoreSettle(t *testing.T) {
	eachStore(t, func(b testEnv) {
		no := testOrder.OutTradeNo
		notInDoubt := func(result []byte) {
			t.Helper()
			if err := b.settle(no, result); !errors.Is(err, dedupe.ErrNotInDoubt) {
				t.Fatalf("settle: %v, want ErrNotInDoubt", err)
			}
		}
		notInDoubt(won)
		c := b.must(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Now().Add(-time.Second)))
		notInDoubt(won) // at work
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		c = b.must(testOrder, true, dedupe.InDoubt)
		b.ok(b.settle(no, nil))
		b.lost(b.Disprove(b.ctx(), c)) // the operator was faster
		c = b.must(testOrder, true, dedupe.Ready)
		notInDoubt(nil)
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(time.Hour), time.Now().Add(time.Hour)))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		notInDoubt(won) // may still leave
		c = b.must(testOrder, true, dedupe.InDoubt)
		b.ok(b.Disprove(b.ctx(), c))
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Now().Add(-time.Second)))
		d := c.Doubt
		d.Bought = true
		b.ok(b.Doubt(b.ctx(), c, d, soon))
		notInDoubt(nil) // the vendor said it was bought
		if err := b.settle(no, []byte("{")); err == nil {
			t.Error("half a result was written")
		}
		b.ok(b.settle(no, won))
		if c := b.must(testOrder, true, dedupe.Final); string(c.Result) != string(won) {
			t.Errorf("result %s", c.Result)
		}
	})
}

func TestStoreSettleWithoutJournal(t *testing.T) {
	m := dedupetest.NewMemory()
	b := newEnv(t, m, m, nil, dedupe.Config{Lease: long}, m.LoseEntries)
	c := b.must(testOrder, false, dedupe.Fresh)
	b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Now().Add(-time.Second)))
	b.ok(b.Doubt(b.ctx(), c, c.Doubt, long))
	m.ForgetJournal()
	b.ok(b.settle(testOrder.OutTradeNo, won))
	if r := b.record(); r.State != dedupe.StateFinal || r.Fingerprint != "f1" || r.Seq != 7 {
		t.Errorf("journal %+v", r)
	}
}

func TestStoreMisuse(t *testing.T) {
	m := dedupetest.NewMemory()
	b := newEnv(t, m, m, nil, dedupe.Config{Lease: long}, m.LoseEntries)
	for _, c := range []*dedupe.Claim{{Order: testOrder, Verdict: dedupe.Busy}, {Order: testOrder, Verdict: dedupe.Done}, {Order: testOrder, Verdict: dedupe.Conflict}} {
		_, err := b.Finish(b.ctx(), c, won, true)
		b.misused(err)
		b.misused(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.misused(b.Wait(b.ctx(), c, 0, 0))
		b.misused(b.Disprove(b.ctx(), c))
		b.misused(b.Doubt(b.ctx(), c, dedupe.Doubt{}, 0))
		b.misused(b.Renew(b.ctx(), c))
	}
	if _, err := b.Claim(b.ctx(), testOrder, "", false); err == nil {
		t.Error("a claim without an owner")
	}
	c := b.must(testOrder, false, dedupe.Fresh)
	if _, err := b.Finish(b.ctx(), c, []byte("{"), true); err == nil || !strings.Contains(err.Error(), testOrder.OutTradeNo) {
		t.Errorf("half a result: %v", err)
	}
	b.ok(b.Release(b.ctx(), c))
	if _, err := b.Look(b.ctx(), "unknown"); err != nil {
		t.Error(err)
	}
	m.SetFault(func(op string) error {
		if op == "look" {
			return errors.New("down")
		}
		return nil
	})
	if k, err := b.Look(b.ctx(), testOrder.OutTradeNo); err == nil || k.Cache != nil {
		t.Errorf("look without Redis: %+v, %v", k, err)
	}
	if err := b.settle(testOrder.OutTradeNo, nil); err == nil || errors.Is(err, dedupe.ErrNotInDoubt) {
		t.Errorf("settle without Redis: %v", err)
	}
	ctx, stop := context.WithCancel(b.ctx())
	stop()
	if _, err := b.Claim(ctx, testOrder, "a", false); !errors.Is(err, context.Canceled) {
		t.Errorf("claim under a cancelled context: %v", err)
	}
}

// Renew runs beside the other methods; this is for the race detector.
func TestStoreRenewBeside(t *testing.T) {
	eachStore(t, func(b testEnv) {
		c := b.must(testOrder, false, dedupe.Fresh)
		var beat sync.WaitGroup
		for range 4 {
			beat.Go(func() { _ = b.Renew(b.ctx(), c) })
		}
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		b.ok(b.Remember(b.ctx(), c, won))
		beat.Wait()
		b.must(testOrder, true, dedupe.Done)
	})
}

func BenchmarkClaim(b *testing.B) {
	for name, open := range combinations {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			st := dedupe.New(s.records, s.journal, nil, dedupe.Config{Lease: long, FinalTTL: long})
			for i := 0; b.Loop(); i++ {
				o := dedupe.Order{OutTradeNo: fmt.Sprint(i), Fingerprint: "f1", Seq: uint64(i)}
				if c, err := st.Claim(b.Context(), o, st.NewOwner(), false); err != nil || c.Verdict != dedupe.Fresh {
					b.Fatalf("%+v, %v", c, err)
				}
			}
		})
	}
}
