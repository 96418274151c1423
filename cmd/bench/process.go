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

	"golang.org/x/sys/unix"
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

// stop asks the process to end, and returns the rest of its output.
func (p *process) stop(ctx context.Context) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	unwatch := context.AfterFunc(ctx, p.kill)
	defer unwatch()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that has gone shows in err
	last, err := io.ReadAll(p.out)
	<-p.ended
	if p.err != nil {
		return "", fmt.Errorf("%s did not end as asked: %w\n%s", p.name, p.err, p.tail())
	}
	return string(last), err
}

// kill ends the process at once.
func (p *process) kill() { _ = p.cmd.Process.Kill() }

// close kills the process and waits for its end.
func (p *process) close() {
	p.kill()
	<-p.ended
	_ = p.pipe.Close()
}

// The values that residentMiB reads. The peak is not rusage's maxrss, because that begins
// with what the parent had when it forked.
//
// Source: proc_pid_status(5).
const (
	peakResident = "VmHWM"
	nowResident  = "VmRSS"
)

// residentMiB returns how much memory of the process is or was resident.
func (p *process) residentMiB(which string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, which+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return float64(kib) / (1 << 10), err
		}
	}
	return 0, fmt.Errorf("%s has no %s", p.name, which)
}

// cpuTime returns the CPU time of the process so far, to the nanosecond: /proc counts in
// ticks of 10 ms, which is too coarse for an idle process.
//
// Source: clock_getcpuclockid(3); MAKE_PROCESS_CPUCLOCK in Linux, posix-timers.h.
func (p *process) cpuTime() (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var took unix.Timespec
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|scheduled), &took); err != nil {
		return 0, fmt.Errorf("CPU time of %s: %w", p.name, err)
	}
	return time.Duration(took.Nano()), nil
}

// cpuTimes returns the CPU time of each process so far, by its name.
func cpuTimes(of []*process) (map[string]time.Duration, error) {
	took := make(map[string]time.Duration)
	for _, p := range of {
		t, err := p.cpuTime()
		if err != nil {
			return nil, err
		}
		took[p.name] = t
	}
	return took, nil
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
