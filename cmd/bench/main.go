// Command bench loads the built worker and, beside it in the same run, a bare
// loop that does the same work without any of its promises. It prints what
// both took, and whether the worker meets its goals:
//
//	go run ./cmd/bench                # a quarter of an hour
//	go run ./cmd/bench -long          # a million orders queued; three processes
//	go run ./cmd/bench -only steady   # one part
//	go run ./cmd/bench -against FILE  # another build in place of the bare loop
//	go run ./cmd/bench -h             # how to change the load
//
// Each measurement has fresh servers, each in a process of its own: nats-server
// with file storage, redis-server with its append-only file, and a vendor that
// does next to nothing. All of it is on loopback and in a temporary directory.
//
// It ends with exit status 1 where an order got lost, was bought twice or did
// not succeed. A goal that is missed is only said so.
//
// To read it: main.go, flags.go, plan.go (what is compared with what), run.go
// and measurement.go (one measurement), site.go, nats.go, redis.go and vendor.go (the servers),
// contender.go and bare.go (who is measured), queue.go, verify.go, process.go,
// then stats.go, goal.go, report.go and machine.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if ran, err := child(os.Args[1:]); ran {
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	exit(bench(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func exit(err error) {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, errUsage):
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// childArg says that this process is one of those that bench starts.
const childArg = "bench-child"

// child does what args ask for, where they come from bench itself: the program
// starts itself again for each process it needs.
func child(args []string) (ran bool, err error) {
	if len(args) < 2 || args[0] != childArg {
		return false, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	switch args[1] {
	case "nats":
		err = serveNATS(ctx, args[2:], os.Stdout)
	case "vendor":
		err = serveVendor(ctx, args[2:], os.Stdout)
	case "bare":
		err = runBare(ctx, args[2:], os.Stdout)
	default:
		err = fmt.Errorf("no such child: %q", args[1])
	}
	return true, err
}

// bench measures what args ask for, and writes the report to out and what it is
// doing to progress.
func bench(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := readOptions(args, progress)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "orderworker-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &runner{dir: dir, options: o, progress: progress}
	if r.self, err = os.Executable(); err != nil {
		return err
	}
	if r.worker = o.worker; r.worker == "" {
		r.worker = filepath.Join(dir, "orderworker")
		fmt.Fprintln(progress, "building orderworker")
		if err := buildWorker(ctx, r.worker); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s\n%s\n", machine(ctx), o.conditions(dir))
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return err
		}
	}
	begun := time.Now()
	var verdicts []string
	for _, c := range o.plan() {
		more, err := r.compare(ctx, c, out)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("%s: %w", c.name, err)
		}
		verdicts = append(verdicts, more...)
	}
	fmt.Fprintf(out, "\nthe goals, after %v:\n%s\n", time.Since(begun).Round(time.Second), strings.Join(verdicts, "\n"))
	return nil
}

// buildWorker builds the worker as make build does.
func buildWorker(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "orderworker/cmd/orderworker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build orderworker: %w\n%s", err, out)
	}
	return nil
}
