package dedupe

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
)

const (
	testStream  = "ORDER_JOURNAL"
	testSubject = "orders.journal"
)

// missing skips, or fails where everything has to be there.
func missing(t testing.TB, what string, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing: %v", what, err)
	}
	t.Skipf("NOT TESTED: %s is missing: %v", what, err)
}

// realRedis starts a redis-server of this test's own.
func realRedis(t testing.TB) redis.UniversalClient {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		missing(t, "redis-server", err)
	}
	dir, err := os.MkdirTemp("/tmp", "rd") // t.TempDir is too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(bin, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	until(t, "redis-server answers", func() bool { return client.Ping(context.Background()).Err() == nil })
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
	s, err := server.NewServer(&server.Options{JetStream: true, StoreDir: t.TempDir(), Port: -1, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("nats-server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func realJournal(t testing.TB) (Journal, jetstream.JetStream) {
	t.Helper()
	js := natsServer(t)
	if err := EnsureJournal(context.Background(), js, testStream, testSubject, 1); err != nil {
		t.Fatal(err)
	}
	return NewJetStreamJournal(js, testStream, testSubject, time.Hour), js
}

// stores is one combination under test. wipe loses what Redis holds.
type stores struct {
	records Records
	journal Journal
	wipe    func()
}

// combinations names a way to make every pair of stores that can be deployed,
// and the one for tests.
var combinations = map[string]func(t testing.TB) stores{
	"memory": func(testing.TB) stores {
		m := NewMemory()
		return stores{m, m, m.ForgetAll}
	},
	"miniredis and memory": func(t testing.TB) stores {
		c := miniRedis(t)
		return stores{NewRedis(c), NewMemory(), flush(t, c)}
	},
	"miniredis, journal in it": func(t testing.TB) stores {
		c := miniRedis(t)
		return stores{NewRedis(c), NewRedisJournal(c, time.Hour), flushOrders(t, c)}
	},
	"redis, journal in it": func(t testing.TB) stores {
		c := realRedis(t)
		return stores{NewRedis(c), NewRedisJournal(c, time.Hour), flushOrders(t, c)}
	},
	"redis and jetstream": func(t testing.TB) stores {
		c := realRedis(t)
		j, _ := realJournal(t)
		return stores{NewRedis(c), j, flush(t, c)}
	},
}

func flush(t testing.TB, c redis.UniversalClient) func() {
	return func() {
		if err := c.FlushDB(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// flushOrders loses the records, but not the journal beside them.
func flushOrders(t testing.TB, c redis.UniversalClient) func() {
	return func() {
		for _, key := range c.Keys(context.Background(), "order:*").Val() {
			if err := c.Del(context.Background(), key).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// until polls a state of real servers, under a deadline.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
