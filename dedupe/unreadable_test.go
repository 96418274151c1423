package dedupe_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
	"orderworker/dedupe/redisstore"

	"github.com/redis/go-redis/v9"
)

// A success is written over an unreadable journal record, and nothing else of the claim
// is.
func TestSuccessReplacesUnreadableRecord(t *testing.T) {
	j, js := realJournal(t)
	m := dedupetest.NewMemory()
	b := newEnv(t, m, j, nil, dedupe.Config{Lease: long, FinalTTL: long}, m.LoseEntries)
	c := b.sentBy(testOrder)
	if _, err := js.Publish(t.Context(), testSubject+"."+dedupe.SubjectToken(testOrder.OutTradeNo), []byte(`{"stream":"ORDERS","seq":5}`)); err != nil {
		t.Fatal(err)
	}
	_, failure := b.Finish(b.ctx(), c, failed, false)
	for act, err := range map[string]error{"failed": failure, "wait": b.Wait(b.ctx(), c, 1, soon)} {
		if !errors.Is(err, dedupe.ErrBroken) || errors.Is(err, dedupe.ErrLost) {
			t.Errorf("%s: %v, want ErrBroken", act, err)
		}
	}
	m.ForgetAll()
	if _, err := b.Claim(b.ctx(), testOrder, b.NewOwner(), true); !errors.Is(err, dedupe.ErrBroken) {
		t.Errorf("claim: %v, want ErrBroken", err)
	}
	for range 2 {
		if got, err := b.Finish(b.ctx(), c, won, true); err != nil || string(got) != string(won) {
			t.Fatalf("finish = %s, %v", got, err)
		}
	}
	if r := b.record(); r.State != dedupe.StateFinal {
		t.Errorf("journal %+v", r)
	}
}

// Bought and Exists are written over an unreadable record too.
func TestSoldReplacesUnreadableRecord(t *testing.T) {
	for name, d := range map[string]dedupe.Doubt{"bought": {Bought: true}, "exists": {Exists: true}} {
		t.Run(name, func(t *testing.T) {
			j, js := realJournal(t)
			m := dedupetest.NewMemory()
			b := newEnv(t, m, j, nil, dedupe.Config{Lease: long, FinalTTL: long}, m.LoseEntries)
			c := b.sentBy(testOrder)
			if _, err := js.Publish(t.Context(), testSubject+"."+dedupe.SubjectToken(testOrder.OutTradeNo), []byte("?")); err != nil {
				t.Fatal(err)
			}
			c.Doubt.Bought, c.Doubt.Exists = d.Bought, d.Exists
			b.park(c)
			b.wipe()
			if c := b.must(testOrder, true, dedupe.InDoubt); c.Doubt.Bought != d.Bought || c.Doubt.Exists != d.Exists || c.Doubt.Attempt != 1 {
				t.Errorf("doubt %+v", c.Doubt)
			}
		})
	}
}

// anothers returns the reply of another claim to every script.
type anothers struct {
	redis.UniversalClient
	reply []any
}

func (s anothers) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	return redis.NewCmdResult(s.reply, nil)
}

// A reply for another claim is an error.
func TestRedisReplyOfAnotherClaim(t *testing.T) {
	full := []any{"z", int64(0), "claimed", "f1", "z", "", "", "", "", "", "", "", "", "", "", "", testKey}
	for _, reply := range [][]any{{"z", "", "0"}, {"", "", "0"}, full} {
		e, taken, err := redisstore.NewCache(anothers{reply: reply}, testDeployment).Claim(t.Context(), testOrder, "a", long)
		if err == nil || taken || !strings.Contains(err.Error(), "the reply is for") {
			t.Errorf("%v: %+v, %v, %v", reply, e, taken, err)
		}
	}
}

// A reply about another order is an error, and nothing is deleted.
func TestRedisReplyAboutAnotherOrder(t *testing.T) {
	for _, by := range []string{"a", ""} {
		reply := []any{by, int64(1), "claimed", "f1", "a", "", "", "", "", "", "", "", "", "", "", "", "ORDERS:order:other"}
		r := redisstore.NewCache(anothers{reply: reply}, testDeployment)
		_, taken, claim := r.Claim(t.Context(), testOrder, "a", long)
		_, found, look := r.Look(t.Context(), testOrder.OutTradeNo)
		for _, err := range []error{claim, look} {
			if err == nil || taken || !strings.Contains(err.Error(), "about ORDERS:order:other") {
				t.Errorf("%q: %v, %v, %v", by, taken, found, err)
			}
		}
	}
}
