// Package storetest starts the real servers that tests run against: a
// nats-server in this process and a redis-server beside it. Each ends with its
// test.
package storetest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
)

const startTimeout = 20 * time.Second

// NATS starts a nats-server with JetStream on a free port of loopback. Its
// files lie in the test's own directory; change sets other options first.
func NATS(t testing.TB, change ...func(*server.Options)) *server.Server {
	t.Helper()
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
// missing the test is skipped, but in CI it fails.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("redis-server is missing, and CI is set: %v", err)
		}
		t.Skip("NOT TESTED: redis-server is missing; `make test` installs it")
	}
	s := &RedisServer{Dir: t.TempDir()}
	port := freePort(t)
	s.Addr = net.JoinHostPort("127.0.0.1", port)
	s.args = append([]string{"--bind", "127.0.0.1", "--port", port, "--dir", s.Dir, "--save", "", "--daemonize", "no",
		"--logfile", filepath.Join(s.Dir, "log")}, args...)
	s.Start(t)
	t.Cleanup(func() { s.Kill(t) })
	return s
}

// Start starts the process, again after Kill, and waits until it answers.
func (s *RedisServer) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command("redis-server", s.args...)
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	c := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer c.Close()
	Eventually(t, "redis-server answers", func() bool {
		_, err := c.Ping(context.Background()).Result()
		_, said := err.(redis.Error) // a refusal, such as NOAUTH, is an answer; LOADING is not one yet
		return err == nil || said && !strings.HasPrefix(err.Error(), "LOADING")
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

// freePort returns a port that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
