package dedupe_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
	"orderworker/dedupe/redisstore"
)

// asked counts the reads of the journal and the results.
type asked struct {
	dedupe.Journal
	published
	n int
}

func (a *asked) Read(ctx context.Context, outTradeNo string) (dedupe.Record, uint64, error) {
	a.n++
	return a.Journal.Read(ctx, outTradeNo)
}

func (a *asked) Final(ctx context.Context, outTradeNo string) (dedupe.FinalEvent, bool, error) {
	a.n++
	return a.published.Final(ctx, outTradeNo)
}

func (a *asked) Used(ctx context.Context) (bool, error) {
	used, err := a.Journal.Used(ctx)
	return used || len(a.published) > 0, err
}

// The cache is lost, and the journal record of a bought order has expired: only its
// event is left. The birth mark makes the claim of a seemingly new order read it.
func TestStoreRedisLost(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (dedupe.Cache, func()){
		"memory": func(*testing.T) (dedupe.Cache, func()) { m := dedupetest.NewMemory(); return m, m.ForgetAll },
		"miniredis": func(t *testing.T) (dedupe.Cache, func()) {
			c := miniRedis(t)
			return redisstore.NewCache(c, testDeployment), flush(t, c)
		},
		"redis": func(t *testing.T) (dedupe.Cache, func()) {
			c := realRedis(t)
			return redisstore.NewCache(c, testDeployment), flush(t, c)
		},
		"in cluster": func(t *testing.T) (dedupe.Cache, func()) {
			c := realRedis(t)
			return redisstore.NewCache(struct{ redis.UniversalClient }{c}, testDeployment), flushOrders(t, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			records, lose := open(t)
			m := dedupetest.NewMemory()
			a := &asked{Journal: m, published: published{}}
			b := newEnv(t, records, a, a, dedupe.Config{Lease: long, FinalTTL: long, JournalTTL: long}, lose)
			numbered := func(no string) dedupe.Order { o := testOrder; o.OutTradeNo = no; return o }
			c := b.must(testOrder, false, dedupe.Fresh)
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			_, err := b.Finish(b.ctx(), c, won, true)
			b.ok(err)
			a.published[testOrder.OutTradeNo] = &dedupe.FinalEvent{Result: won, Seq: testOrder.Seq}
			b.ok(b.Remember(b.ctx(), c, won))
			a.n = 0
			b.must(numbered("second"), false, dedupe.Fresh)
			if clean := name != "in cluster"; clean && a.n != 0 || !clean && a.n != 2 {
				t.Errorf("a clean order asked %d times", a.n)
			}
			m.ForgetJournal()
			m.SetJournalCreated(time.Time{})
			b.wipe()
			again := testOrder
			again.Seq = 1000
			if c := b.must(again, false, dedupe.Done); string(c.Result) != string(won) || c.ResultSeq != testOrder.Seq {
				t.Errorf("claim %+v", c)
			}
			b.must(again, false, dedupe.Done)
			a.n = 0
			b.must(numbered("third"), false, dedupe.Fresh)
			if a.n != 2 && name != "in cluster" {
				t.Errorf("after the loss a new order asked %d times, want 2", a.n)
			}
			// Another process finds the same.
			b.Store = dedupe.New(records, a, a, b.cfg)
			a.published["fourth"] = &dedupe.FinalEvent{Result: failed, Seq: 3}
			b.must(numbered("fourth"), false, dedupe.Done)
		})
	}
}

// A loss counts only for FinalTTL, after which the cache would have dropped the final
// anyway. Without a FinalTTL it counts for ever.
func TestStoreRedisLostLongAgo(t *testing.T) {
	for ttl, want := range map[time.Duration]int{time.Hour: 0, 0: 1} {
		synctest.Test(t, func(t *testing.T) {
			m := dedupetest.NewMemory()
			a := &asked{Journal: m}
			b := newEnv(t, m, a, nil, dedupe.Config{Lease: time.Minute, FinalTTL: ttl}, m.ForgetAll)
			b.sentBy(testOrder)
			b.wipe()
			claim := func(no string) int {
				a.n = 0
				o := testOrder
				o.OutTradeNo = no
				b.must(o, false, dedupe.Fresh)
				return a.n
			}
			if n := claim("1"); n != 1 {
				t.Errorf("after the loss: asked %d times", n)
			}
			time.Sleep(time.Hour)
			if n := claim("2"); n != 1 {
				t.Errorf("an hour later, clocks may differ: asked %d times", n)
			}
			time.Sleep(dedupe.ClockSkew + time.Second)
			if n := claim("3"); n != want {
				t.Errorf("later: asked %d times, want %d", n, want)
			}
		})
	}
}

// A claim fails if it cannot find out whether the cache has lost anything.
func TestStoreCacheLostAndJournalUnavailable(t *testing.T) {
	for _, op := range []string{"used", "used done", "complete", "complete done"} {
		m := dedupetest.NewMemory()
		b := newEnv(t, m, m, nil, dedupe.Config{Lease: long}, m.ForgetAll)
		strikeOnce(m, op)
		owner := b.NewOwner()
		if c, err := b.Claim(b.ctx(), testOrder, owner, false); !errors.Is(err, errNoReply) {
			t.Errorf("%s: %+v, %v", op, c, err)
		}
		if c, err := b.Claim(b.ctx(), testOrder, owner, false); err != nil || c.Verdict != dedupe.Fresh {
			t.Errorf("%s, again: %+v, %v", op, c, err)
		}
	}
}

// The birth mark is written once, and Complete changes it only if it is still the same.
func TestCacheBirthMark(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, wipe func()) {
		n := 0
		born := func() time.Time {
			n++
			o := testOrder
			o.OutTradeNo += string(rune('a' + n))
			return mustHold(t, r, o, "a", long, holdNew).Born
		}
		first := born()
		if d := time.Since(first); d < -dedupe.ClockSkew || d > time.Minute {
			t.Fatalf("born %v ago", d)
		}
		if again := born(); !again.Equal(first) {
			t.Errorf("born at %v, then at %v", first, again)
		}
		wipe()
		time.Sleep(time.Millisecond)
		second := born()
		mustDo(t, r.Complete(t.Context(), first), nil)
		if at := born(); !at.Equal(second) || at.Equal(first) {
			t.Errorf("after a loss born at %v, first %v, second %v", at, first, second)
		}
		mustDo(t, r.Complete(t.Context(), second), nil)
		mustDo(t, r.Complete(t.Context(), second), nil)
		if at := born(); !at.IsZero() {
			t.Errorf("complete, born at %v", at)
		}
		wipe()
		if at := born(); at.IsZero() {
			t.Error("lost, and not noticed")
		}
	})
}

// An unreadable birth mark counts as a loss.
func TestRedisBirthMarkUnreadable(t *testing.T) {
	c := realRedis(t)
	r := redisstore.NewCache(c, testDeployment)
	mark := redisstore.OrderKey(testDeployment, "")
	for name, spoil := range map[string]func() error{
		"of another type": func() error { return c.Set(t.Context(), mark, "0", 0).Err() },
		"not a number":    func() error { return c.HSet(t.Context(), mark, "born", "x").Err() },
		"empty":           func() error { return c.HSet(t.Context(), mark, "born", "").Err() },
	} {
		flush(t, c)()
		mustDo(t, spoil(), nil)
		if e := mustHold(t, r, testOrder, "a", long, holdNew); time.Since(e.Born) > time.Minute {
			t.Errorf("%s: born at %v", name, e.Born)
		}
	}
}
