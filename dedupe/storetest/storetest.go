// Package storetest starts the real servers that tests run against: a
// nats-server in this process and a redis-server beside it. Each ends with its
// test.
package storetest

import (
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
)

const startTimeout = 20 * time.Second

// notShort skips a test that needs a server in go test -short.
func notShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: it needs a server, and -short is set")
	}
}

// NATS starts a nats-server with JetStream on a free port of loopback. Its
// files lie in the test's own directory; change sets other options first. With
// -short the test is skipped.
func NATS(t testing.TB, change ...func(*server.Options)) *server.Server {
	t.Helper()
	notShort(t)
	o := &server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}
	for _, c := range change {
		c(o)
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("start nats-server: %v", err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(startTimeout) {
		t.Fatal("nats-server does not become ready")
	}
	return s
}

// Connect connects to s.
func Connect(t testing.TB, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatalf("connect to nats-server: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// RedisServer is a redis-server process.
type RedisServer struct {
	Addr string // host:port on loopback
	Dir  string // its files
	cmd  *exec.Cmd
	args []string
}

// Redis starts an empty redis-server on a free port of loopback that keeps
// nothing on disk; args come last on its command line. Where the program is
// missing the test is skipped, but in CI it fails. With -short it is skipped.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	notShort(t)
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("redis-server is missing, and CI is set: %v", err)
		}
		t.Skip("NOT TESTED: redis-server is missing; `make test` installs it")
	}
	s := &RedisServer{Dir: t.TempDir(), Addr: FreeAddr(t)}
	_, port, _ := net.SplitHostPort(s.Addr)
	s.args = append([]string{"--bind", "127.0.0.1", "--port", port, "--dir", s.Dir, "--save", "", "--daemonize", "no",
		"--logfile", s.log()}, args...)
	s.Start(t)
	t.Cleanup(func() { s.Kill(t) })
	return s
}

func (s *RedisServer) log() string { return filepath.Join(s.Dir, "log") }

// Start starts the process, again after Kill, and waits until it takes
// connections. It reads that in the log: an answer on the port could be
// another server's, where two tests in two processes chose the same one.
func (s *RedisServer) Start(t testing.TB) {
	t.Helper()
	before, _ := os.ReadFile(s.log()) // none before the first start
	s.cmd = exec.Command("redis-server", s.args...)
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	Eventually(t, "redis-server is ready", func() bool {
		log, _ := os.ReadFile(s.log())
		log = log[min(len(before), len(log)):]
		if bytes.Contains(log, []byte("Failed listening")) {
			t.Fatalf("redis-server: %s is taken:\n%s", s.Addr, log)
		}
		return bytes.Contains(log, []byte("Ready to accept connections"))
	})
}

// Kill ends the process at once, as a crash does.
func (s *RedisServer) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have gone
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Client returns a client as the worker has it: nothing is sent twice.
func (s *RedisServer) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Eventually polls until ok holds, and fails the test if it does not within
// a generous time.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", startTimeout, what)
		}
		time.Sleep(5 * time.Millisecond) // between two polls of a state, under the deadline
	}
}

// takenPorts are those that FreeAddr gave out.
var takenPorts sync.Map

// FreeAddr is a host:port on loopback that a server can be started on, and
// again after it was ended. The port lies below those that the system gives to
// connections, one of which could else take it while the server is away: a
// client that dials it can even be connected to itself. So does the one 10,000
// above it, where a node of a Redis Cluster listens to the others.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.IntN(10_000)
		if _, taken := takenPorts.LoadOrStore(port, true); taken {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
