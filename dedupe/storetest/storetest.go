// Package storetest starts real servers for tests: nats-server in this process, and
// redis-server as a child process. A server ends with its test.
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
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
)

const startTimeout = time.Minute

// notShort skips the test if -short is set.
func notShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: it needs a server, and -short is set")
	}
}

// NATS starts a nats-server with JetStream on a free loopback port, with its files in a
// temporary directory of the test. change may set other options. With -short the test
// is skipped.
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

// Connect returns a connection to s that is closed when the test ends.
func Connect(t testing.TB, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatalf("connect to nats-server: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// JetStream returns the client of a connection of its own to s.
func JetStream(t testing.TB, s *server.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(Connect(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// RedisServer is a redis-server process.
type RedisServer struct {
	Addr string // host:port on loopback
	Dir  string // working directory, with its files and its log
	cmd  *exec.Cmd
	args []string
}

// Redis starts an empty redis-server on a free loopback port, without persistence. args
// are appended to its command line. If the program is missing, the test is skipped, or
// fails if CI is set. With -short the test is skipped.
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

// Start starts the process, also again after Kill, and waits until it accepts
// connections. It waits for the line in the log: a reply on the port could come from
// another server, if two test processes have chosen the same port.
func (s *RedisServer) Start(t testing.TB) {
	t.Helper()
	before, _ := os.ReadFile(s.log()) // there is none before the first start
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

// Kill kills the process, like a crash.
func (s *RedisServer) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended already
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Client returns a client with the worker's options: it repeats no command.
func (s *RedisServer) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Eventually polls until ok returns true. It fails the test after startTimeout. What takes
// long is asked more and more seldom: many tests wait at once, and each look costs time
// of the processor that the servers need.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for wait := 5 * time.Millisecond; !ok(); wait = min(wait*5/4, 100*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", startTimeout, what)
		}
		time.Sleep(wait)
	}
}

// takenPorts has the ports that FreeAddr has returned.
var takenPorts sync.Map

// FreeAddr returns a loopback host:port on which a server can be started and restarted.
// The port is below the ephemeral range: otherwise an outgoing connection could take it
// while the server is down, or a client that dials it could connect to itself. The port
// 10,000 above it is below that range too; there a node of a Redis Cluster listens for
// the other nodes.
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
