package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a worker that is a process of its own, so that it can be killed.
type process struct {
	cmd    *exec.Cmd
	stop   context.CancelFunc
	killed atomic.Bool
	ended  chan struct{}
}

// startWorkers starts both workers, and waits until the one in a process of its own has
// reached NATS.
func (d *demo) startWorkers(soft context.Context, vendorURL string) error {
	var err error
	if d.settings, err = settingsFor(vendorURL); err != nil {
		return err
	}
	workers, stopSoft := context.WithCancel(soft)
	d.stopSoft = stopSoft
	if err := d.startWorker(workers, d.settings); err != nil {
		return err
	}
	before := d.nats.NumClients()
	if err := d.startProcess(soft); err != nil {
		return err
	}
	limit := time.NewTimer(longest)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for d.nats.NumClients() == before {
		select {
		case <-soft.Done():
			return context.Cause(soft)
		case <-d.process.ended:
			return d.stopWorkers() // its error
		case <-limit.C:
			return errors.New("a worker's process does not start")
		case <-tick.C:
		}
	}
	return nil
}

// startProcess starts this program again as `orderworker run`, with the demo's servers.
// When soft ends or stop is called, it gets SIGTERM, and SIGKILL if it does not stop in
// time. If it ends before, and was not killed, the demo has failed.
func (d *demo) startProcess(soft context.Context) error {
	s := *d.settings
	s.NATSURL, s.RedisURL = d.nats.ClientURL(), "redis://"+d.redis.Addr()
	s.AdminAddr, s.LogLevel = "", "error"
	program, err := os.Executable()
	if err != nil {
		return err
	}
	soft, stop := context.WithCancel(soft)
	cmd := exec.CommandContext(soft, program, "run")
	inherited := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "OTEL_") })
	cmd.Env = append(inherited, s.Environ()...) // the last value of a variable counts
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = s.ShutdownTimeout + 5*time.Second
	cmd.SysProcAttr = childAttributes()
	var log tail
	cmd.Stderr = &log

	p := &process{cmd: cmd, stop: stop, ended: make(chan struct{})}
	started := make(chan error, 1)
	d.working.Go(func() {
		defer close(p.ended)
		runtime.LockOSThread() // Pdeathsig is sent when the thread ends that started the child
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // ProcessState has it
		if soft.Err() == nil && !p.killed.Load() {
			d.failed(fmt.Errorf("a worker's process ended by itself: %v\n%s", cmd.ProcessState, log))
		}
	})
	d.process = p
	return <-started
}

// kill ends the process as a crash does, and waits until it has ended.
func (p *process) kill() error {
	p.killed.Store(true)
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill a worker: %w", err)
	}
	<-p.ended
	return nil
}

// tail is the end of what was written to it.
type tail []byte

// Write forgets all but the last 2000 bytes.
func (t *tail) Write(p []byte) (int, error) {
	all := append(*t, p...)
	*t = all[max(0, len(all)-2000):]
	return len(p), nil
}
