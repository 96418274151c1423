package dedupe_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
	"orderworker/dedupe/redisstore"
	"orderworker/dedupe/storetest"
	"orderworker/worker/natsio"
)

// eachJournal runs test with every implementation of dedupe.Journal.
func eachJournal(t *testing.T, test func(t *testing.T, j dedupe.Journal)) {
	t.Run("memory", func(t *testing.T) { test(t, dedupetest.NewMemory()) })
	t.Run("miniredis", func(t *testing.T) { test(t, redisstore.NewJournal(miniRedis(t), testDeployment, time.Hour)) })
	t.Run("redis", func(t *testing.T) { test(t, redisstore.NewJournal(realRedis(t), testDeployment, time.Hour)) })
	t.Run("jetstream", func(t *testing.T) { j, _ := realJournal(t); test(t, j) })
}

func mustWrite(t *testing.T, j dedupe.Journal, no string, r dedupe.Record, rev uint64) uint64 {
	t.Helper()
	next, err := j.Write(t.Context(), no, r, rev)
	if err != nil || next == 0 {
		t.Fatalf("write over %d = %d, %v", rev, next, err)
	}
	return next
}

func TestJournalCompareAndSet(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 123e6, time.UTC)
	intent := dedupe.Record{State: dedupe.StateIntent, Fingerprint: "f1", Owner: "a", Seq: 7, Progress: dedupe.Progress{Attempt: 2, Refusals: 1, Waits: 1},
		SendBy: at.Add(3 * time.Second), Over: at.Add(13 * time.Second), Since: at, EarlierOpen: true, Bought: true, Exists: true, Account: "a"}
	ready := dedupe.Record{State: dedupe.StateReady, Fingerprint: "f1", Owner: "b", Seq: 7, Progress: dedupe.Progress{Attempt: 2, Refusals: 2, Waits: 2}, Due: at}
	final := dedupe.Record{State: dedupe.StateFinal, Fingerprint: "f1", Owner: "c", Seq: 7, Result: []byte(`{"message":"<ok> & é"}`)}
	eachJournal(t, func(t *testing.T, j dedupe.Journal) {
		for _, no := range []string{"630000198311142676", "a.b", "*", ">", "$JS.API", "%2A"} {
			if r, rev, err := j.Read(t.Context(), no); err != nil || rev != 0 || r.State != "" {
				t.Fatalf("read %s of nothing = %+v, %d, %v", no, r, rev, err)
			}
			if _, err := j.Write(t.Context(), no, intent, 99); !errors.Is(err, dedupe.ErrLost) {
				t.Fatalf("write over a revision that is not there: %v", err)
			}
			rev := uint64(0)
			for _, r := range []dedupe.Record{intent, ready, final} {
				before := rev
				rev = mustWrite(t, j, no, r, before)
				if rev <= before {
					t.Errorf("revision %d after %d", rev, before)
				}
				if again := mustWrite(t, j, no, r, before); again != rev { // lost reply
					t.Errorf("repeated, revision %d, want %d", again, rev)
				}
				got, gotRev, err := j.Read(t.Context(), no)
				if err != nil || gotRev != rev || !reflect.DeepEqual(got, r) {
					t.Fatalf("read %+v at %d, %v; want %+v at %d", got, gotRev, err, r, rev)
				}
				other := r
				other.Owner = "z"
				if _, err := j.Write(t.Context(), no, other, before); !errors.Is(err, dedupe.ErrLost) {
					t.Errorf("another's write over an old revision: %v", err)
				}
			}
			if _, err := j.Write(t.Context(), no, intent, 0); !errors.Is(err, dedupe.ErrLost) {
				t.Errorf("a write over 0 where a final stands: %v", err)
			}
		}
	})
}

func TestJournalOneOfManyWins(t *testing.T) {
	eachJournal(t, func(t *testing.T, j dedupe.Journal) {
		for round := range 5 {
			var won atomic.Int32
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					r := dedupe.Record{State: dedupe.StateIntent, Owner: fmt.Sprint("owner", i), Progress: dedupe.Progress{Attempt: 1}}
					switch _, err := j.Write(t.Context(), fmt.Sprint("no", round), r, 0); {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, dedupe.ErrLost):
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := won.Load(); n != 1 {
				t.Fatalf("%d of 8 won, want 1", n)
			}
		}
	})
}

func TestJournalUnreadable(t *testing.T) {
	if _, err := dedupe.DecodeRecord([]byte(`{"state":"sent"}`)); err == nil {
		t.Error("an unknown state was read as something")
	}
	if _, err := dedupe.DecodeRecord([]byte(`{`)); err == nil {
		t.Error("half a record was read as something")
	}
	if _, err := dedupetest.NewMemory().Write(t.Context(), "x", dedupe.Record{Result: []byte("{")}, 0); err == nil {
		t.Error("a broken result was written")
	}
}

func TestRedisJournalExpiry(t *testing.T) {
	c := realRedis(t)
	j := redisstore.NewJournal(c, testDeployment, time.Hour)
	rev := mustWrite(t, j, "x", dedupe.Record{State: dedupe.StateIntent, Owner: "a"}, 0)
	if ttl := c.PTTL(t.Context(), "ORDERS:journal:x").Val(); ttl <= time.Hour || ttl > 2*time.Hour {
		t.Errorf("an intent expires in %v", ttl)
	}
	rev = mustWrite(t, j, "x", dedupe.Record{State: dedupe.StateIntent, Owner: "a", Parked: time.Now()}, rev)
	if ttl := c.PTTL(t.Context(), "ORDERS:journal:x").Val(); ttl != -1 {
		t.Errorf("an intent in doubt expires in %v", ttl)
	}
	mustWrite(t, j, "x", dedupe.Record{State: dedupe.StateFinal, Owner: "a"}, rev)
	if ttl := c.PTTL(t.Context(), "ORDERS:journal:x").Val(); ttl <= 0 {
		t.Errorf("a final does not expire: %v", ttl)
	}
	c.Del(t.Context(), "ORDERS:journal:x") // it has expired
	if again := mustWrite(t, j, "x", dedupe.Record{State: dedupe.StateIntent, Owner: "b"}, 0); again <= rev {
		t.Errorf("revision %d was used before (%d)", again, rev)
	}
}

// TestRecordLifetime: what ends an order expires, and what waits for the end of one does
// not. An intent outlives the final that would have followed it, and every call.
func TestRecordLifetime(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		record dedupe.Record
		ttl    time.Duration
		want   time.Duration
	}{
		"final":                 {dedupe.Record{State: dedupe.StateFinal}, 24 * time.Hour, 24 * time.Hour},
		"intent":                {dedupe.Record{State: dedupe.StateIntent}, 24 * time.Hour, 25 * time.Hour},
		"intent, the least TTL": {dedupe.Record{State: dedupe.StateIntent}, time.Second, time.Hour + time.Second},
		"intent in doubt":       {dedupe.Record{State: dedupe.StateIntent, Parked: now}, 24 * time.Hour, 0},
		"final of an operator":  {dedupe.Record{State: dedupe.StateFinal, Owner: "operator-1"}, 24 * time.Hour, 0},
		"ready":                 {dedupe.Record{State: dedupe.StateReady}, 24 * time.Hour, 0},
		"final, for ever":       {dedupe.Record{State: dedupe.StateFinal}, 0, 0},
		"intent, for ever":      {dedupe.Record{State: dedupe.StateIntent}, 0, 0},
	} {
		if got := c.record.Lifetime(c.ttl); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestJetStreamFinalExpiresIntentStays(t *testing.T) {
	_, js := realJournal(t)
	j := natsio.NewJetStreamJournal(js, testStream, testSubject, time.Millisecond) // rounded up to 1s
	mustWrite(t, j, "open", dedupe.Record{State: dedupe.StateIntent, Owner: "a"}, 0)
	rev := mustWrite(t, j, "done", dedupe.Record{State: dedupe.StateIntent, Owner: "a"}, 0)
	mustWrite(t, j, "done", dedupe.Record{State: dedupe.StateFinal, Owner: "a"}, rev)
	storetest.Eventually(t, "the final expires", func() bool {
		r, _, err := j.Read(t.Context(), "done")
		if err == nil && r.State == dedupe.StateIntent {
			t.Fatal("the intent came back")
		}
		return err == nil && r.State == ""
	})
	if r, _, err := j.Read(t.Context(), "open"); err != nil || r.State != dedupe.StateIntent {
		t.Errorf("the open intent: %+v, %v", r, err)
	}
	mustWrite(t, j, "done", dedupe.Record{State: dedupe.StateIntent, Owner: "b"}, 0)
}

// A stream with delete markers writes one when a final expires: there is no record to
// read, but the next write has to replace the marker's revision.
func TestJetStreamDeleteMarker(t *testing.T) {
	js := natsServer(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{testSubject + ".>"},
		MaxMsgsPerSubject: 1, AllowMsgTTL: true, SubjectDeleteMarkerTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	j := natsio.NewJetStreamJournal(js, testStream, testSubject, time.Second)
	first := mustWrite(t, j, "x", dedupe.Record{State: dedupe.StateFinal, Owner: "a"}, 0)
	var rev uint64
	storetest.Eventually(t, "the marker stands", func() bool {
		var r dedupe.Record
		var err error
		if r, rev, err = j.Read(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		return r.State == "" && rev > first
	})
	if _, err := j.Write(t.Context(), "x", dedupe.Record{State: dedupe.StateIntent, Owner: "b"}, 0); !errors.Is(err, dedupe.ErrLost) {
		t.Errorf("a write over 0 where a marker stands: %v", err)
	}
	mustWrite(t, j, "x", dedupe.Record{State: dedupe.StateIntent, Owner: "b"}, rev)
}

// Records are read from the leader even if the stream allows Direct Get.
func TestJetStreamReadsFromTheLeader(t *testing.T) {
	js := natsServer(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: testStream, Subjects: []string{testSubject + ".*"},
		MaxMsgsPerSubject: 1, AllowMsgTTL: true, AllowDirect: true})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 10)
	sub, err := js.Conn().Subscribe("$JS.API.>", func(m *nats.Msg) { asked <- m.Subject })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := js.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	j := natsio.NewJetStreamJournal(js, testStream, testSubject, time.Hour)
	if _, _, err := j.Read(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if got := <-asked; got != "$JS.API.STREAM.MSG.GET."+testStream {
		t.Errorf("asked %s", got)
	}
}

func TestJetStreamErrors(t *testing.T) {
	js := natsServer(t)
	ctx := t.Context()
	j := natsio.NewJetStreamJournal(js, testStream, testSubject, time.Hour)
	_, _, read := j.Read(ctx, "x")
	_, write := j.Write(ctx, "x", dedupe.Record{State: dedupe.StateReady}, 0) // no stream: nobody answers
	for op, err := range map[string]error{"read": read, "write": write} {
		if err == nil || errors.Is(err, dedupe.ErrLost) {
			t.Errorf("%s without a stream: %v", op, err)
		}
	}
	// A TTL where the stream takes none is refused by name.
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: testStream, Subjects: []string{testSubject + ".*"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Write(ctx, "x", dedupe.Record{State: dedupe.StateFinal}, 0); err == nil || errors.Is(err, dedupe.ErrLost) {
		t.Errorf("a final into a stream without TTLs: %v", err)
	}
	// Another stream's subject is not our journal.
	other := natsio.NewJetStreamJournal(js, "OTHER", testSubject, time.Hour)
	if _, err := other.Write(ctx, "x", dedupe.Record{State: dedupe.StateIntent}, 0); err == nil || errors.Is(err, dedupe.ErrLost) {
		t.Errorf("a write into another stream: %v", err)
	}
	if _, _, err := j.Read(ctx, "x"); err != nil {
		t.Error(err)
	}
}

// If the reply to a publish is lost, the record is read back and recognized.
func TestJetStreamLostReply(t *testing.T) {
	_, js := realJournal(t)
	lossy := &lossyPublisher{JetStream: js}
	j := natsio.NewJetStreamJournal(lossy, testStream, testSubject, time.Hour)
	intent := dedupe.Record{State: dedupe.StateIntent, Owner: "a", Progress: dedupe.Progress{Attempt: 1}}

	lossy.after = nats.ErrTimeout
	rev := mustWrite(t, j, "x", intent, 0)

	lossy.after, lossy.before = nil, nats.ErrTimeout // never arrived
	if _, err := j.Write(t.Context(), "x", dedupe.Record{State: dedupe.StateReady, Owner: "a"}, rev); !errors.Is(err, nats.ErrTimeout) || errors.Is(err, dedupe.ErrLost) {
		t.Errorf("an unknown write: %v", err)
	}
	if _, err := j.Write(t.Context(), "x", dedupe.Record{State: dedupe.StateReady, Owner: "b"}, 0); !errors.Is(err, dedupe.ErrLost) {
		t.Errorf("an unknown write over an old revision: %v", err)
	}

	// A cluster refuses while our own message, whose reply was lost, is still
	// under way: it is tried again, not given up as another's.
	inflight := &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequenceConstant}
	lossy.before, lossy.times = inflight, 3
	mustWrite(t, j, "x", dedupe.Record{State: dedupe.StateReady, Owner: "a"}, rev)
	lossy.before, lossy.times = inflight, 1000
	if _, err := j.Write(t.Context(), "y", intent, 0); !errors.Is(err, inflight) || errors.Is(err, dedupe.ErrLost) {
		t.Errorf("a write that stays under way: %v", err)
	}
}
