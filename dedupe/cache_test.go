package dedupe_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
	"orderworker/dedupe/redisstore"
	"orderworker/dedupe/storetest"
)

var (
	testOrder = dedupe.Order{OutTradeNo: "630000198311142676", Fingerprint: "f1", Seq: 7}
	otherF    = dedupe.Order{OutTradeNo: testOrder.OutTradeNo, Fingerprint: "f2", Seq: 8}
)

const long = time.Hour // a lease or delay that no test outlives

// eachCache runs test with every implementation of dedupe.Cache.
func eachCache(t *testing.T, test func(t *testing.T, r dedupe.Cache, wipe func())) {
	t.Run("memory", func(t *testing.T) { m := dedupetest.NewMemory(); test(t, m, m.ForgetAll) })
	t.Run("miniredis", func(t *testing.T) { c := miniRedis(t); test(t, redisstore.NewCache(c, testDeployment), flush(t, c)) })
	t.Run("redis", func(t *testing.T) { c := realRedis(t); test(t, redisstore.NewCache(c, testDeployment), flush(t, c)) })
}

// The outcomes of a claim in the cache.
const (
	holdNew     = "new"     // nothing; it is ours now
	holdParked  = "parked"  // left in good order; it is ours now
	holdLapsed  = "lapsed"  // the lease of an owner who never came back; it is ours now
	holdAgain   = "again"   // it was ours already
	holdBusy    = "busy"    // leased by another
	holdEarly   = "early"   // parked, not due yet
	holdFinal   = "final"   // finished
	holdOther   = "other"   // another fingerprint
	holdForeign = "foreign" // nobody holds it and it is due, but it belongs to another account
)

// claim claims in c and returns the outcome.
func claim(t *testing.T, c dedupe.Cache, o dedupe.Order, owner string, lease time.Duration) (string, dedupe.Entry, error) {
	t.Helper()
	before, taken, err := c.Claim(t.Context(), o, owner, lease)
	switch e := before; {
	case err != nil:
		return "", e, err
	case taken && e.State == "":
		return holdNew, e, nil
	case taken && e.Owner == owner:
		return holdAgain, e, nil
	case taken && e.Owner != "":
		return holdLapsed, e, nil
	case taken:
		return holdParked, e, nil
	case e.Fingerprint != o.Fingerprint:
		return holdOther, e, nil
	case e.State == dedupe.StateFinal:
		return holdFinal, e, nil
	case e.Left > 0 && e.Owner != "":
		return holdBusy, e, nil
	case e.Left > 0:
		return holdEarly, e, nil
	}
	return holdForeign, before, nil
}

func mustHold(t *testing.T, c dedupe.Cache, o dedupe.Order, owner string, lease time.Duration, want string) dedupe.Entry {
	t.Helper()
	got, e, err := claim(t, c, o, owner, lease)
	if err != nil || got != want {
		t.Fatalf("claim by %s = %q, %v; want %q", owner, got, err, want)
	}
	return e
}

func mustLook(t *testing.T, c dedupe.Cache) dedupe.Entry {
	t.Helper()
	e, ok, err := c.Look(t.Context(), testOrder.OutTradeNo)
	if err != nil || !ok {
		t.Fatalf("look: %v, %v", ok, err)
	}
	return e
}

func mustDo(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// untilHold claims until the earlier lease or delay is over.
func untilHold(t *testing.T, r dedupe.Cache, owner string, want string) (e dedupe.Entry) {
	t.Helper()
	storetest.Eventually(t, "claim by "+owner+" finds "+want, func() bool {
		hold, got, err := claim(t, r, testOrder, owner, long)
		if err != nil {
			t.Fatal(err)
		}
		e = got
		return hold == want
	})
	return e
}

func TestCacheClaim(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, _ func()) {
		mustHold(t, r, testOrder, "a", long, holdNew)
		if e := mustLook(t, r); e.State != dedupe.StateClaimed || e.Owner != "a" || e.Fingerprint != "f1" || e.Seq != 7 || e.Left <= 0 || e.Left > long {
			t.Errorf("new entry %+v", e)
		}
		mustHold(t, r, testOrder, "a", long, holdAgain)
		if e := mustHold(t, r, testOrder, "b", long, holdBusy); e.Owner != "a" || e.Left <= 0 || e.Left > long {
			t.Errorf("busy entry %+v", e)
		}
		mustHold(t, r, otherF, "b", long, holdOther)
	})
}

func TestCacheLeaseLapses(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, _ func()) {
		mustHold(t, r, testOrder, "a", time.Millisecond, holdNew)
		storetest.Eventually(t, "the lease is over", func() bool { return mustLook(t, r).Left == 0 })
		mustHold(t, r, otherF, "c", long, holdOther)
		if e := mustLook(t, r); e.Owner != "a" {
			t.Errorf("taken with another fingerprint: %+v", e)
		}
		if e := untilHold(t, r, "b", holdLapsed); e.State != dedupe.StateClaimed || e.Owner != "a" {
			t.Errorf("entry %+v", e)
		}
		mustDo(t, r.Renew(t.Context(), testOrder, "a", 0, long), dedupe.ErrLost)
		mustDo(t, r.Park(t.Context(), testOrder, "a", dedupe.Entry{State: dedupe.StateReady, Rev: 99}, 0), dedupe.ErrLost)
		if e, ok, err := r.Look(t.Context(), testOrder.OutTradeNo); err != nil || !ok || e.Owner != "b" || e.State != dedupe.StateClaimed || e.Rev != 0 {
			t.Errorf("a stale owner wrote: %+v, %v, %v", e, ok, err)
		}
		mustDo(t, r.Renew(t.Context(), testOrder, "b", 12, long), nil)
		if e, _, _ := r.Look(t.Context(), testOrder.OutTradeNo); e.Rev != 12 {
			t.Errorf("renew noted revision %d, want 12", e.Rev)
		}
	})
}

func TestCacheOwnExpiredLeaseIsRenewed(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, _ func()) {
		mustHold(t, r, testOrder, "a", time.Millisecond, holdNew)
		storetest.Eventually(t, "the lease lapses", func() bool {
			e, _, err := r.Look(t.Context(), testOrder.OutTradeNo)
			return err == nil && e.Left == 0
		})
		mustDo(t, r.Renew(t.Context(), testOrder, "a", 0, long), nil)
		mustHold(t, r, testOrder, "b", long, holdBusy)
	})
}

func TestCachePark(t *testing.T) {
	since := time.Date(2026, 11, 23, 10, 0, 0, 5e6, time.UTC)
	doubt := &dedupe.Doubt{Attempt: 3, SendBy: since.Add(time.Second), Over: since.Add(time.Minute), Since: since, Bought: true, Exists: true, Asked: 4, Missing: true, Noticed: true}
	for name, parked := range map[string]dedupe.Entry{
		"ready":   {State: dedupe.StateReady, Progress: dedupe.Progress{Attempt: 2, Refusals: 1, Waits: 2}, Rev: 1<<53 + 1},
		"doubt":   {State: dedupe.StateInDoubt, Progress: dedupe.Progress{Attempt: 3, Refusals: 1, Waits: 1}, Rev: 5, Doubt: doubt},
		"claimed": {State: dedupe.StateClaimed},
	} {
		t.Run(name, func(t *testing.T) {
			eachCache(t, func(t *testing.T, r dedupe.Cache, _ func()) {
				mustHold(t, r, testOrder, "a", long, holdNew)
				mustDo(t, r.Park(t.Context(), testOrder, "a", parked, long), nil)
				if e := mustHold(t, r, testOrder, "b", long, holdEarly); e.Left <= 0 || e.Left > long {
					t.Errorf("early entry %+v", e)
				}
				mustDo(t, r.Renew(t.Context(), testOrder, "a", 0, long), dedupe.ErrLost)
				mustDo(t, r.Park(t.Context(), testOrder, "b", dedupe.Entry{State: dedupe.StateReady}, 0), dedupe.ErrLost)
				mustDo(t, r.Park(t.Context(), testOrder, "a", parked, time.Millisecond), nil) // repeated
				e := untilHold(t, r, "c", holdParked)
				want := parked
				want.Fingerprint, want.Seq, want.Owner, want.Left = "f1", 7, "", 0
				if !reflect.DeepEqual(e, want) {
					t.Errorf("found %+v, parked %+v", e, want)
				}
				if now := mustLook(t, r); now.Owner != "c" || now.Left <= 0 || now.State != parked.State {
					t.Errorf("after the claim %+v", now)
				}
				mustDo(t, r.Park(t.Context(), testOrder, "a", parked, 0), dedupe.ErrLost) // too late to repeat
			})
		})
	}
}

func TestCacheRememberNeverChangesAFinal(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, _ func()) {
		mustHold(t, r, testOrder, "a", long, holdNew)
		result := []byte(`{"status":"succeeded"}`)
		mustDo(t, r.Remember(t.Context(), testOrder, result, long), nil)
		mustDo(t, r.Remember(t.Context(), testOrder, []byte(`{}`), long), nil)
		mustDo(t, r.Remember(t.Context(), otherF, []byte(`{}`), long), nil)
		for _, owner := range []string{"a", "b"} {
			if e := mustHold(t, r, testOrder, owner, long, holdFinal); string(e.Result) != string(result) || e.Seq != 7 || e.State != dedupe.StateFinal || e.Owner != "" {
				t.Errorf("final entry %+v", e)
			}
		}
		mustHold(t, r, otherF, "b", long, holdOther)
		mustDo(t, r.Renew(t.Context(), testOrder, "a", 0, long), dedupe.ErrLost)
		mustDo(t, r.Park(t.Context(), testOrder, "a", dedupe.Entry{State: dedupe.StateReady}, 0), dedupe.ErrLost)
	})
}

func TestCacheFinalsExpireOthersDoNot(t *testing.T) {
	ctx := context.Background()
	c := realRedis(t)
	r := redisstore.NewCache(c, testDeployment)
	mustHold(t, r, testOrder, "a", long, holdNew)
	if ttl := c.PTTL(ctx, testKey).Val(); ttl != -1 {
		t.Errorf("a claimed order expires in %v", ttl)
	}
	mustDo(t, r.Park(ctx, testOrder, "a", dedupe.Entry{State: dedupe.StateInDoubt}, 0), nil)
	if ttl := c.PTTL(ctx, testKey).Val(); ttl != -1 {
		t.Errorf("an order in doubt expires in %v", ttl)
	}
	mustDo(t, r.Remember(ctx, testOrder, nil, long), nil)
	if ttl := c.PTTL(ctx, testKey).Val(); ttl <= long-time.Minute || ttl > long {
		t.Errorf("a final expires in %v, want %v", ttl, long)
	}
	t.Run("memory", func(t *testing.T) {
		m, now := dedupetest.NewMemory(), time.Now()
		r := dedupe.Cache(m)
		m.SetClock(func() time.Time { return now })
		mustDo(t, r.Remember(t.Context(), testOrder, nil, long), nil)
		mustHold(t, r, testOrder, "a", long, holdFinal)
		now = now.Add(long)
		mustHold(t, r, testOrder, "a", long, holdNew)
	})
}

func TestCacheForget(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, wipe func()) {
		forget := func(o dedupe.Order, owner string, wantLeft bool) {
			t.Helper()
			left, err := r.Forget(t.Context(), o, owner)
			if err != nil || (left > 0) != wantLeft {
				t.Fatalf("forget = %v, %v; want left %v", left, err, wantLeft)
			}
		}
		forget(testOrder, "a", false) // nothing there
		mustHold(t, r, testOrder, "a", long, holdNew)
		forget(testOrder, "b", true) // leased
		forget(otherF, "b", true)
		mustHold(t, r, testOrder, "b", long, holdBusy)
		forget(testOrder, "a", false) // our own
		mustHold(t, r, testOrder, "b", long, holdNew)
		mustDo(t, r.Park(t.Context(), testOrder, "b", dedupe.Entry{State: dedupe.StateReady}, long), nil)
		forget(testOrder, "a", false) // nobody's, and right
		mustHold(t, r, testOrder, "c", long, holdEarly)
		forget(otherF, "a", false) // nobody's, and wrong
		mustHold(t, r, otherF, "c", long, holdNew)
		wipe()
		mustDo(t, r.Remember(t.Context(), testOrder, nil, long), nil)
		forget(testOrder, "a", false)
		mustHold(t, r, testOrder, "c", long, holdFinal)
	})
}

func TestCacheWiped(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, wipe func()) {
		mustHold(t, r, testOrder, "a", long, holdNew)
		wipe()
		if _, ok, err := r.Look(t.Context(), testOrder.OutTradeNo); ok || err != nil {
			t.Fatalf("look after the wipe: %v, %v", ok, err)
		}
		mustDo(t, r.Renew(t.Context(), testOrder, "a", 3, long), nil) // recreated
		if e := mustHold(t, r, testOrder, "b", long, holdBusy); e.Rev != 3 {
			t.Errorf("entry %+v, want revision 3", e)
		}
		wipe()
		mustDo(t, r.Park(t.Context(), testOrder, "a", dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{Attempt: 1}}, 0), nil)
		if e := untilHold(t, r, "b", holdParked); e.State != dedupe.StateInDoubt || e.Doubt == nil || e.Doubt.Attempt != 1 {
			t.Errorf("entry %+v", e)
		}
	})
}

func TestCacheOddNumbers(t *testing.T) {
	eachCache(t, func(t *testing.T, r dedupe.Cache, _ func()) {
		for _, no := range []string{"*", "a>b", "{x}", "%", `"'\`, "x:y"} {
			o := dedupe.Order{OutTradeNo: no, Fingerprint: "f", Seq: 1}
			mustHold(t, r, o, "a", long, holdNew)
			mustHold(t, r, o, "b", long, holdBusy)
		}
	})
}

func TestRedisUnreadableIsReplaced(t *testing.T) {
	c := realRedis(t)
	r := redisstore.NewCache(c, testDeployment)
	for field, value := range map[string]string{"rev": "x", "attempts": "-1", "doubt": "{", "fingerprint": ""} {
		mustHold(t, r, testOrder, "a", long, holdNew)
		c.HSet(t.Context(), testKey, field, value, "seq", "x")
		if _, _, err := r.Look(t.Context(), testOrder.OutTradeNo); err == nil {
			t.Errorf("%s = %q was read as something", field, value)
		}
		if hold, _, err := claim(t, r, testOrder, "b", long); hold != holdBusy || err != nil {
			t.Errorf("%s = %q, and its owner at work: %q, %v", field, value, hold, err)
		}
		if e := mustHold(t, r, testOrder, "a", long, holdNew); e.Replaced == "" || e.Refusals != 0 {
			t.Errorf("%s = %q: %+v", field, value, e)
		}
		flush(t, c)()
	}
	// A key of another type, at each operation.
	for op, do := range map[string]func() error{
		"claim": func() error {
			if e := mustHold(t, r, testOrder, "a", long, holdNew); e.Replaced == "" {
				t.Errorf("entry %+v", e)
			}
			return nil
		},
		"renew":    func() error { return r.Renew(t.Context(), testOrder, "a", 0, long) },
		"park":     func() error { return r.Park(t.Context(), testOrder, "a", dedupe.Entry{State: dedupe.StateReady}, 0) },
		"remember": func() error { return r.Remember(t.Context(), testOrder, won, long) },
	} {
		c.Set(t.Context(), testKey, "x", 0)
		if _, _, err := r.Look(t.Context(), testOrder.OutTradeNo); err == nil {
			t.Error("a key of another type was read as something")
		}
		if err := do(); err != nil {
			t.Errorf("%s over a key of another type: %v", op, err)
		}
		if _, ok, err := r.Look(t.Context(), testOrder.OutTradeNo); !ok || err != nil {
			t.Errorf("%s over a key of another type left %v, %v", op, ok, err)
		}
	}
	flush(t, c)()
	c.Set(t.Context(), testKey, "x", 0)
	j, _ := realJournal(t)
	b := newEnv(t, r, j, nil, dedupe.Config{Lease: long}, nil)
	mustWrite(t, j, testOrder.OutTradeNo, dedupe.Record{State: dedupe.StateIntent, Owner: "dead", Fingerprint: "f1", Progress: dedupe.Progress{Attempt: 1}}, 0)
	if c := b.must(testOrder, false, dedupe.InDoubt); c.Replaced == "" { // the journal decides
		t.Errorf("claim %+v", c)
	}
}

func TestRedisDownIsAnError(t *testing.T) {
	c := miniRedis(t)
	r, j := redisstore.NewCache(c, testDeployment), redisstore.NewJournal(c, testDeployment, long)
	c.Close()
	ctx := t.Context()
	_, _, claim := r.Claim(ctx, testOrder, "a", long)
	_, forget := r.Forget(ctx, testOrder, "a")
	_, _, look := r.Look(ctx, testOrder.OutTradeNo)
	_, _, read := j.Read(ctx, testOrder.OutTradeNo)
	_, write := j.Write(ctx, testOrder.OutTradeNo, dedupe.Record{State: dedupe.StateReady}, 0)
	for op, err := range map[string]error{
		"claim": claim, "forget": forget, "look": look, "read": read, "write": write,
		"renew":    r.Renew(ctx, testOrder, "a", 0, long),
		"park":     r.Park(ctx, testOrder, "a", dedupe.Entry{}, 0),
		"remember": r.Remember(ctx, testOrder, nil, 0),
	} {
		if err == nil || errors.Is(err, dedupe.ErrLost) {
			t.Errorf("%s over a closed client: %v", op, err)
		}
	}
}
