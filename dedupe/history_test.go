package dedupe_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
)

// published is a results stream; a nil event cannot be read.
type published map[string]*dedupe.FinalEvent

var errResultsAway = errors.New("the results stream is away")

func (p published) Final(_ context.Context, outTradeNo string) (dedupe.FinalEvent, bool, error) {
	switch f, ok := p[outTradeNo]; {
	case !ok:
		return dedupe.FinalEvent{}, false, nil
	case f == nil:
		return dedupe.FinalEvent{}, false, errResultsAway
	default:
		return *f, true, nil
	}
}

func (p published) Used(context.Context) (bool, error) { return len(p) > 0, nil }

// withResults returns b with a results stream.
func (b testEnv) withResults(p published) testEnv {
	b.Store = dedupe.New(b.cache, b.journal, p, b.cfg)
	return b
}

// An order of which only the final event is left is finished: it is neither in doubt nor
// sent again, and the claim remembers it in the cache.
func TestStoreFinalEventIsRead(t *testing.T) {
	eachStore(t, func(b testEnv) {
		no := testOrder.OutTradeNo
		b = b.withResults(published{no: {Result: failed, Seq: 5, Fingerprint: "f1"}})
		b.must(otherF, true, dedupe.Conflict) // by the event alone
		if k, err := b.Look(b.ctx(), no); err != nil || k.Cache != nil {
			t.Errorf("a conflict left %+v, %v", k.Cache, err)
		}
		c := b.must(testOrder, true, dedupe.Done)
		if string(c.Result) != string(failed) || c.ResultSeq != 5 || c.First != 5 {
			t.Errorf("claim %+v", c)
		}
		if k, err := b.Look(b.ctx(), no); err != nil || k.Cache == nil || k.Cache.State != dedupe.StateFinal || k.Cache.Seq != 5 {
			t.Errorf("remembered %+v, %v", k.Cache, err)
		}
		b = b.withResults(nil)
		b.must(testOrder, false, dedupe.Done)
		b.must(otherF, false, dedupe.Conflict)
	})
}

// An event without Order-Seq counts as the event of the claimed request.
func TestStoreFinalEventOfAnOldRelease(t *testing.T) {
	m := dedupetest.NewMemory()
	b := newEnv(t, m, m, published{testOrder.OutTradeNo: {Result: won}}, dedupe.Config{Lease: long}, m.LoseEntries)
	if c := b.must(testOrder, true, dedupe.Done); c.ResultSeq != testOrder.Seq {
		t.Errorf("result of request %d", c.ResultSeq)
	}
}

// The event is read before an order counts as in doubt, also for another account. If the
// results cannot be read, the claim fails.
func TestStoreFinalEventBeforeDoubt(t *testing.T) {
	for o, without := range map[dedupe.Order]dedupe.Verdict{ofA: dedupe.InDoubt, ofB: dedupe.Foreign} {
		m := dedupetest.NewMemory()
		events := published{}
		b := newEnv(t, m, m, events, dedupe.Config{Lease: long}, m.LoseEntries)
		b.park(b.sentBy(ofA))
		m.ForgetJournal()
		if c := b.must(o, true, without); without == dedupe.InDoubt {
			b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		}
		owner := b.NewOwner()
		events[o.OutTradeNo] = nil
		if c, err := b.Claim(b.ctx(), o, owner, true); !errors.Is(err, errResultsAway) {
			t.Errorf("claim %+v, %v", c, err)
		}
		events[o.OutTradeNo] = &dedupe.FinalEvent{Result: won}
		if c, err := b.Claim(b.ctx(), o, owner, true); err != nil || c.Verdict != dedupe.Done || string(c.Result) != string(won) {
			t.Errorf("claim %+v, %v", c, err)
		}
	}
}

// The journal was lost and recreated while a worker was sending: the order is in doubt.
// An order that was parked unsent, or is younger than the journal, is not.
func TestStoreJournalRecreated(t *testing.T) {
	for name, c := range map[string]struct {
		lose bool
		life func(b testEnv, c *dedupe.Claim)
		want dedupe.Verdict
	}{
		"sending": {true, func(b testEnv, c *dedupe.Claim) { b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now())); b.dieQuietly(c) }, dedupe.InDoubt},
		"superseded": {true, func(b testEnv, c *dedupe.Claim) {
			b.wipe()
			again := b.must(c.Order, false, dedupe.Fresh)
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			b.lost(b.Intent(b.ctx(), again, time.Now(), time.Now()))
		}, dedupe.InDoubt},
		"claimed":              {true, func(b testEnv, c *dedupe.Claim) { b.dieQuietly(c) }, dedupe.InDoubt},
		"the journal is whole": {false, func(b testEnv, c *dedupe.Claim) { b.dieQuietly(c) }, dedupe.Fresh},
		"released":             {true, func(b testEnv, c *dedupe.Claim) { b.ok(b.Release(b.ctx(), c)) }, dedupe.Ready},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := dedupetest.NewMemory()
				b := newEnv(t, m, m, nil, dedupe.Config{Lease: long}, m.LoseEntries)
				o := testOrder
				o.Stored = time.Now()
				time.Sleep(time.Second)
				c.life(b, b.must(o, false, dedupe.Fresh))
				if c.lose {
					m.ForgetJournal()
				}
				younger := o
				younger.OutTradeNo, younger.Stored = "younger", time.Now()
				b.dieQuietly(b.must(younger, false, dedupe.Fresh))
				b.must(younger, true, dedupe.Fresh)
				got := b.must(o, true, c.want)
				if got.Verdict == dedupe.InDoubt && got.Doubt.SendBy.Before(time.Now().Add(-time.Second)) {
					t.Errorf("doubt %+v", got.Doubt)
				}
				m.SetFault(func(op string) error {
					if op == "created" {
						return errNoReply
					}
					return nil
				})
				b.dieQuietly(got)
				if c, err := b.Claim(b.ctx(), o, b.NewOwner(), true); err == nil && c.Verdict == dedupe.Fresh {
					t.Error("fresh, though nobody knows how old the journal is")
				}
			})
		})
	}
}

// dieQuietly ends the lease of c in a synctest bubble.
func (b testEnv) dieQuietly(c *dedupe.Claim) {
	b.t.Helper()
	b.ok(b.cache.Renew(b.ctx(), c.StoredOrder(), c.Owner, 0, time.Millisecond))
	time.Sleep(2 * time.Millisecond)
}

// Created of a real journal becomes later when its stream is recreated.
func TestJetStreamCreated(t *testing.T) {
	j, js := realJournal(t)
	before, err := j.Created(t.Context())
	if err != nil || time.Since(before) > time.Minute || before.IsZero() {
		t.Fatalf("created %v, %v", before, err)
	}
	if err := js.DeleteStream(t.Context(), testStream); err != nil {
		t.Fatal(err)
	}
	if at, err := j.Created(t.Context()); err == nil {
		t.Errorf("a journal that is gone was created %v", at)
	}
	makeJournal(t, js)
	if again, err := j.Created(t.Context()); err != nil || !again.After(before) {
		t.Errorf("made anew at %v, %v; before %v", again, err, before)
	}
}

// An order request that is older than the journal's TTL is in doubt, unless the cache
// shows that it was never sent.
func TestStoreOldAndNeverSent(t *testing.T) {
	ttl := time.Hour
	for name, c := range map[string]struct {
		life func(b testEnv, m *dedupetest.Memory, o dedupe.Order)
		want dedupe.Verdict
	}{
		"released": {func(b testEnv, _ *dedupetest.Memory, o dedupe.Order) {
			b.ok(b.Release(b.ctx(), b.must(o, false, dedupe.Fresh)))
		}, dedupe.Ready},
		"released again": {func(b testEnv, _ *dedupetest.Memory, o dedupe.Order) {
			b.ok(b.Release(b.ctx(), b.must(o, false, dedupe.Fresh)))
			b.ok(b.Release(b.ctx(), b.must(o, true, dedupe.Ready)))
		}, dedupe.Ready},
		"redelivered": {func(b testEnv, _ *dedupetest.Memory, o dedupe.Order) {
			b.ok(b.Release(b.ctx(), b.must(o, true, dedupe.Fresh)))
		}, dedupe.Ready},
		"ready": {func(b testEnv, _ *dedupetest.Memory, o dedupe.Order) {
			b.ok(b.Wait(b.ctx(), b.must(o, false, dedupe.Fresh), 0, soon))
			b.wipe()
		}, dedupe.Ready},
		"released, wiped": {func(b testEnv, _ *dedupetest.Memory, o dedupe.Order) {
			b.ok(b.Release(b.ctx(), b.must(o, false, dedupe.Fresh)))
			b.wipe()
		}, dedupe.InDoubt},
		"died":       {func(b testEnv, _ *dedupetest.Memory, o dedupe.Order) { b.must(o, false, dedupe.Fresh) }, dedupe.InDoubt},
		"never seen": {func(testEnv, *dedupetest.Memory, dedupe.Order) {}, dedupe.InDoubt},
		"another's is gone": {func(b testEnv, m *dedupetest.Memory, o dedupe.Order) {
			b.sentBy(o)
			b.wipe()
			b.lost(b.Intent(b.ctx(), b.must(o, false, dedupe.Fresh), time.Now(), time.Now())) // a duplicate
			m.ForgetJournal()                                                                 // the record expires
		}, dedupe.InDoubt},
		"another's was there": {func(b testEnv, m *dedupetest.Memory, o dedupe.Order) {
			b.sentBy(o)
			b.wipe()
			b.ok(b.Release(b.ctx(), b.must(o, false, dedupe.Fresh))) // a duplicate
			m.ForgetJournal()
		}, dedupe.InDoubt},
	} {
		for _, redelivered := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := dedupetest.NewMemory()
				b := newEnv(t, m, m, nil, dedupe.Config{Lease: time.Minute, FinalTTL: long, JournalTTL: ttl}, m.LoseEntries)
				o := testOrder
				o.Stored = time.Now()
				c.life(b, m, o)
				time.Sleep(ttl)
				m.SetJournalCreated(time.Time{})
				got, err := b.Claim(b.ctx(), o, b.NewOwner(), redelivered)
				if err != nil || got.Verdict != c.want {
					t.Errorf("%s (redelivered %v): %q, %v; want %q", name, redelivered, got.Verdict, err, c.want)
				}
			})
		}
	}
}

// A Fresh claim for which the journal was not read is lost once its order request is
// older than the journal's TTL.
func TestStoreFreshClaimTooOld(t *testing.T) {
	for name, write := range map[string]func(b testEnv, c *dedupe.Claim) error{
		"intent": func(b testEnv, c *dedupe.Claim) error { return b.Intent(b.ctx(), c, time.Now(), time.Now()) },
		"wait":   func(b testEnv, c *dedupe.Claim) error { return b.Wait(b.ctx(), c, 0, soon) },
		"failed": func(b testEnv, c *dedupe.Claim) error { _, err := b.Finish(b.ctx(), c, failed, false); return err },
	} {
		for _, asked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := dedupetest.NewMemory()
					b := newEnv(t, m, m, nil, dedupe.Config{Lease: 3 * long, FinalTTL: long, JournalTTL: long}, m.LoseEntries)
					o := testOrder
					o.Stored = time.Now()
					c := b.must(o, asked, dedupe.Fresh)
					time.Sleep(long)
					if asked { // when it was young there was nothing, and it has been ours since
						b.ok(write(b, c))
						return
					}
					b.lost(write(b, c))
					b.must(o, true, dedupe.InDoubt)
				})
			})
		}
	}
}
