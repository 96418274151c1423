package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
)

// programs are the paths of the programs that the tests start.
type programs struct{ orderworker, nats, redis string }

// built are the programs, made once for all tests.
var built struct {
	once sync.Once
	dir  string
	programs
	err error
}

// asProgram is the variable that makes this test binary the program itself, race detector
// included: for a test that needs an environment of its own.
const asProgram = "ORDERWORKER_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	logging.Disable() // as main does
	if os.Getenv(asProgram) != "" {
		main()
	}
	status := m.Run()
	_ = os.RemoveAll(built.dir) // "": nothing was built, and nothing is removed
	os.Exit(status)
}

// buildPrograms builds the worker as it is shipped, without the race detector,
// and the nats-server of go.mod. It looks for redis-server.
func buildPrograms(t *testing.T) programs {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED, NOTHING IS PROVEN: -short")
	}
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not installed, and CI needs this test")
		}
		t.Skip("SKIPPED, NOTHING IS PROVEN: redis-server is not installed")
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "orderworker-programs"); built.err != nil {
			return
		}
		built.programs = programs{filepath.Join(built.dir, "orderworker"), filepath.Join(built.dir, "nats-server"), redis}
		for path, pkg := range map[string]string{built.orderworker: ".", built.nats: "github.com/nats-io/nats-server/v2"} {
			build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, pkg)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				built.err = fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
			}
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.programs
}

// process is a program that is started, killed and started again; one that
// ends by itself fails the test. It ends with the test, and with this process
// too, however that ends.
type process struct {
	t    *testing.T
	name string
	path string
	args []string
	env  []string
	log  string // file of stdout and stderr of every run

	cmd    *exec.Cmd // of the current run; nil: it is not running
	wanted *atomic.Bool
	ended  chan struct{}
}

// newProcess starts name, whose log lies in dir.
func newProcess(t *testing.T, dir, name, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, path: path, args: args, env: env, log: filepath.Join(dir, name+".log")}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the end of %s's log:\n%s", name, p.tail(3000))
		}
	})
	p.start()
	return p
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
	wanted, ended := new(atomic.Bool), make(chan struct{})
	p.cmd, p.wanted, p.ended = cmd, wanted, ended
	go func() {
		defer close(ended)
		if err := cmd.Wait(); !wanted.Load() {
			p.t.Errorf("%s ended by itself: %v", p.name, err)
		}
	}()
}

// kill ends the process at once, as a crash does; a frozen one too.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.wanted.Store(true)
	p.signal(syscall.SIGKILL)
	<-p.ended
	p.cmd = nil
}

// stop asks the process to end, and reports whether it did so within most,
// with exit status 0.
func (p *process) stop(most time.Duration) bool {
	if p.cmd == nil {
		return true
	}
	p.wanted.Store(true)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		ok := p.cmd.ProcessState.Success()
		p.cmd = nil
		return ok
	case <-time.After(most):
		p.kill()
		return false
	}
}

// signal sends s; a process that has gone needs none.
func (p *process) signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// tail is the last bytes of the log.
func (p *process) tail(most int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// linesWith are the last lines of the log that hold word.
func (p *process) linesWith(word string, most int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	var found []string
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(word)) {
			found = append(found, p.name+": "+string(line))
		}
	}
	return strings.Join(found[max(0, len(found)-most):], "")
}
