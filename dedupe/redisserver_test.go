package dedupe_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
	"orderworker/dedupe/redisstore"
	"orderworker/dedupe/storetest"
)

// Redis restarts from a snapshot that has the birth mark and is older than a purchase, and
// the journal record has expired: only the event is left. The order is not sent again,
// whether the snapshot has no entry or one that was parked unsent.
func TestStoreRedisBackFromASnapshot(t *testing.T) {
	for name, parked := range map[string]bool{"new": false, "parked unsent": true} {
		t.Run(name, func(t *testing.T) {
			server := storetest.Redis(t)
			client := notedRedis(t, server)
			m := dedupetest.NewMemory()
			a := &asked{Journal: m, published: published{}}
			b := newEnv(t, redisstore.NewCache(client, testDeployment), a, a, dedupe.Config{Lease: long, FinalTTL: long, JournalTTL: long}, nil)
			other := testOrder
			other.OutTradeNo = "other" // with it the mark is written, and complete
			b.must(other, false, dedupe.Fresh)
			verdict := dedupe.Fresh
			if parked {
				b.ok(b.Release(b.ctx(), b.must(testOrder, false, dedupe.Fresh)))
				verdict = dedupe.Ready
			}
			mustDo(t, client.Save(t.Context()).Err(), nil)
			c := b.must(testOrder, false, verdict)
			b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
			_, err := b.Finish(b.ctx(), c, won, true)
			b.ok(err)
			a.published[testOrder.OutTradeNo] = &dedupe.FinalEvent{Result: won, Seq: testOrder.Seq}
			b.ok(b.Remember(b.ctx(), c, won))
			server.Kill(t)
			server.Start(t)
			m.ForgetJournal()
			m.SetJournalCreated(time.Time{})
			again := testOrder
			again.Seq = 1000
			b.Store = dedupe.New(redisstore.NewCache(notedRedis(t, server), testDeployment), a, a, b.cfg)
			if c := b.must(again, false, dedupe.Done); string(c.Result) != string(won) || c.ResultSeq != testOrder.Seq {
				t.Errorf("claim %+v", c)
			}
		})
	}
}

// A connection restarts the mark if the server process is another or hides its run_id. A
// missing mark is not written.
func TestNoteServer(t *testing.T) {
	server := storetest.Redis(t)
	plain, mark := server.Client(t), redisstore.OrderKey(testDeployment, "")
	note := func(c redis.UniversalClient) string {
		t.Helper()
		conn := c.(*redis.Client).Conn()
		defer conn.Close()
		mustDo(t, redisstore.NoteServer(t.Context(), conn, testDeployment), nil)
		return plain.HGet(t.Context(), mark, "born").Val()
	}
	if born := note(plain); born != "" {
		t.Errorf("no mark, born %q", born)
	}
	mustDo(t, plain.HSet(t.Context(), mark, "born", "0").Err(), nil)
	if born := note(plain); born != "0" {
		t.Errorf("the same process, born %q", born)
	}
	mustDo(t, plain.HSet(t.Context(), mark, "run", "another").Err(), nil)
	first := note(plain)
	if micros, err := strconv.ParseInt(first, 10, 64); err != nil || time.Since(time.UnixMicro(micros)).Abs() > time.Minute {
		t.Errorf("another process, born %q", first)
	}
	if born := note(plain); born != first {
		t.Errorf("the same process, born %q, then %q", first, born)
	}
	mustDo(t, plain.Do(t.Context(), "acl", "setuser", "mute", "on", ">pw", "~*", "+@all", "-info").Err(), nil)
	mute := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "mute", Password: "pw", MaxRetries: -1})
	defer mute.Close()
	if born := note(mute); born == first {
		t.Errorf("a server that tells nothing, born still %q", born)
	}
	mustDo(t, plain.Set(t.Context(), mark, "x", 0).Err(), nil)
	note(plain)
}

// A connection on which NoteServer fails is not used.
func TestNoteServerFails(t *testing.T) {
	server := storetest.Redis(t)
	mustDo(t, server.Client(t).Do(t.Context(), "acl", "setuser", "scriptless", "on", ">pw", "~*", "+@all", "-@scripting").Err(), nil)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "scriptless", Password: "pw", MaxRetries: -1,
		OnConnect: func(ctx context.Context, conn *redis.Conn) error {
			return redisstore.NoteServer(ctx, conn, testDeployment)
		}})
	defer client.Close()
	if err := client.Ping(t.Context()).Err(); err == nil || !redis.IsPermissionError(err) {
		t.Errorf("ping: %v", err)
	}
}
