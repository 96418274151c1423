package dedupe_test

import (
	"context"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/dedupetest"
	"orderworker/dedupe/redisstore"
	"orderworker/dedupe/storetest"
	"orderworker/worker/natsio"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
)

const (
	testStream  = "ORDER_JOURNAL"
	testSubject = "orders.journal"

	testDeployment = "ORDERS"
	testKey        = "ORDERS:order:630000198311142676" // of testOrder
)

// realRedis starts a redis-server for this test.
func realRedis(t testing.TB) redis.UniversalClient { return storetest.Redis(t).Client(t) }

// notedRedis returns a client of s with the worker's options, including NoteServer.
func notedRedis(t testing.TB, s *storetest.RedisServer) redis.UniversalClient {
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, ContextTimeoutEnabled: true,
		OnConnect: func(ctx context.Context, conn *redis.Conn) error {
			return redisstore.NoteServer(ctx, conn, testDeployment)
		}})
	t.Cleanup(func() { client.Close() })
	return client
}

func miniRedis(t testing.TB) redis.UniversalClient {
	client := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr(), MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	return client
}

// natsServer starts a nats-server in this process, and connects.
func natsServer(t testing.TB) jetstream.JetStream {
	t.Helper()
	return storetest.JetStream(t, storetest.NATS(t))
}

func realJournal(t testing.TB) (dedupe.Journal, jetstream.JetStream) {
	t.Helper()
	js := natsServer(t)
	makeJournal(t, js)
	return natsio.NewJetStreamJournal(js, testStream, testSubject, time.Hour), js
}

// makeJournal creates the journal's stream as package natsio does.
func makeJournal(t testing.TB, js jetstream.JetStream) {
	t.Helper()
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{
		Name: testStream, Subjects: []string{testSubject + ".*"}, Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1, AllowMsgTTL: true,
	}); err != nil {
		t.Fatal(err)
	}
}

// stores is one combination of stores. wipe loses the cache entries and keeps the birth
// mark, as when a replica takes over that has received only the mark.
type stores struct {
	records dedupe.Cache
	journal dedupe.Journal
	wipe    func()
}

// combinations has every pair of stores that can be deployed, and the one in memory.
var combinations = map[string]func(t testing.TB) stores{
	"memory": func(testing.TB) stores {
		m := dedupetest.NewMemory()
		return stores{m, m, m.LoseEntries}
	},
	"miniredis and memory": func(t testing.TB) stores {
		c := miniRedis(t)
		return stores{redisstore.NewCache(c, testDeployment), dedupetest.NewMemory(), flushOrders(t, c)}
	},
	"miniredis, journal in it": func(t testing.TB) stores {
		c := miniRedis(t)
		return stores{redisstore.NewCache(c, testDeployment), redisstore.NewJournal(c, testDeployment, time.Hour), flushOrders(t, c)}
	},
	"redis, journal in it": func(t testing.TB) stores {
		c := notedRedis(t, storetest.Redis(t))
		return stores{redisstore.NewCache(c, testDeployment), redisstore.NewJournal(c, testDeployment, time.Hour), flushOrders(t, c)}
	},
	"redis and jetstream": func(t testing.TB) stores {
		c := notedRedis(t, storetest.Redis(t))
		j, _ := realJournal(t)
		return stores{redisstore.NewCache(c, testDeployment), j, flushOrders(t, c)}
	},
}

func flush(t testing.TB, c redis.UniversalClient) func() {
	return func() {
		if err := c.FlushDB(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// flushOrders deletes the cache entries, but neither the birth mark nor the journal.
func flushOrders(t testing.TB, c redis.UniversalClient) func() {
	return func() {
		for _, key := range c.Keys(context.Background(), "ORDERS:order:*").Val() {
			if key == redisstore.OrderKey(testDeployment, "") {
				continue
			}
			if err := c.Del(context.Background(), key).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
