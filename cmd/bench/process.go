package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that bench started. It ends with bench, however that ends.
type process struct {
	name  string
	out   *bufio.Reader // its stdout
	pipe  *os.File
	log   string // file of its stderr
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended, and err is set
	err   error
}

// startProcess starts path with just env (nil: that of bench); the log of its
// stderr lies in dir.
func startProcess(dir, name string, env []string, path string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), ended: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	// Not cmd.StdoutPipe: Wait closes that, and what the child said last is lost.
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.pipe, p.out = in, bufio.NewReader(in)
	p.cmd = exec.Command(path, args...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, out, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		_ = in.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// line is the next line that the process writes to stdout.
func (p *process) line() (string, error) {
	silent := time.AfterFunc(startTimeout, func() { _ = p.cmd.Process.Kill() })
	defer silent.Stop()
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s said nothing: %w\n%s", p.name, err, p.tail())
	}
	return strings.TrimSpace(line), nil
}

// alive is an error once the process has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended by itself: %w\n%s", p.name, p.err, p.tail())
	default:
		return nil
	}
}

// stopTimeout is how long a process has to end after SIGTERM.
const stopTimeout = 60 * time.Second

// stop asks the process to end, and returns what it still had to say and the
// CPU time that it took in all.
func (p *process) stop(ctx context.Context) (said string, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	unwatch := context.AfterFunc(ctx, p.kill)
	defer unwatch()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that has gone shows in err
	last, err := io.ReadAll(p.out)
	<-p.ended
	if p.err != nil {
		return "", 0, fmt.Errorf("%s did not end as asked: %w\n%s", p.name, p.err, p.tail())
	}
	state := p.cmd.ProcessState
	return string(last), state.UserTime() + state.SystemTime(), err
}

// kill ends the process at once.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// close kills the process and waits for its end.
func (p *process) close() {
	p.kill()
	<-p.ended
	_ = p.pipe.Close()
}

// peakBytes is the most memory that was resident. It is not rusage's maxrss:
// there a child begins with what its parent had when it forked.
//
// Source: VmHWM in proc_pid_status(5).
func (p *process) peakBytes() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s has no VmHWM", p.name)
}

// clockTick is how often in a second the kernel counts CPU time, on every
// machine that Go runs on.
//
// Source: USER_HZ, sysconf(_SC_CLK_TCK).
const clockTick = 100

// cpuTime is what the process has taken so far.
//
// Source: utime and stime in proc_pid_stat(5).
func (p *process) cpuTime() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold blanks
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s has no CPU time", p.name)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTick, nil
}

// tail is the end of the log.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// until polls ok, and returns its error, or ctx's, or that it took longer than most.
func until(ctx context.Context, what string, most, every time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("not within %v: %s", most, what))
	defer cancel()
	poll := time.NewTicker(every)
	defer poll.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
