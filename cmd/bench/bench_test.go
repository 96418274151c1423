package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain makes the test binary what the program is: one that starts itself
// again for each process it needs.
func TestMain(m *testing.M) {
	if ran, err := child(os.Args[1:]); ran {
		exit(err)
	}
	os.Exit(m.Run())
}

// needRedis skips a test where redis-server is missing; in CI it fails. With
// -short it is skipped.
func needRedis(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("NOT TESTED: it needs servers, and -short is set")
	}
	if _, err := exec.LookPath("redis-server"); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("redis-server is missing, and CI is set")
	}
	t.Skip("NOT TESTED: redis-server is missing; `make test` installs it")
}

// TestBench runs all parts, each with next to no load.
func TestBench(t *testing.T) {
	needRedis(t)
	t.Parallel()
	worker := filepath.Join(t.TempDir(), "orderworker")
	// With the flags of the black-box tests, so that what those have compiled serves here too.
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", worker, "orderworker/cmd/orderworker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	for args, wants := range map[string][]string{
		"-only fast":                   {"fast: orderworker and a bare loop", "ratio >= 0.8 ", "allocations per order"},
		"-only slow":                   {"slow: orderworker and a bare loop", "vendor latency 3ms", "ratio >= 0.8 ", "< 80 "},
		"-only steady":                 {"steady: orderworker and a bare loop", "100 orders, 100 per second", "excess <= 4 ", "ratio <= 1.5 "},
		"-only low":                    {"low: orderworker and a bare loop", "50 orders, 50 per second", "ratio <= 1.5 "},
		"-only idle":                   {"idle: orderworker and a bare loop", "then nothing for 200ms", "first result, ms", "idle: % of a core", "idle: RSS, MiB"},
		"-only queue":                  {"queue: orderworker;", "queue: the bare loop;", "ratio >= 0.95 ", "< 80 ", "the first 100, per second"},
		"-only low -against " + worker: {"low: orderworker and another build", "-against "},
		"-only fleet":                  {"fleet: orderworker;", "2 processes", "ratio >= 1 "},
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel() // they mostly wait
			var out, progress bytes.Buffer
			args := append([]string{"-worker", worker, "-dir", dir, "-runs", "1", "-orders", "200", "-latency", "3ms", "-wide-concurrency", "32",
				"-rate", "100", "-low-rate", "50", "-paced", "1s", "-idle", "200ms", "-long-queue", "300", "-short-queue", "100", "-processes", "2"}, strings.Fields(args)...)
			if err := bench(t.Context(), args, &out, &progress); err != nil {
				t.Fatalf("bench: %v\n%s", err, &progress)
			}
			for _, want := range append(wants, "the goals, after ") {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the report has no %q:\n%s", want, &out)
				}
			}
			if strings.Contains(out.String(), " 0 (0..0)") {
				t.Errorf("something was not measured:\n%s", &out)
			}
		})
	}
	t.Cleanup(func() { // after all of them
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// TestVerify breaks a run that was right, in one way after the other.
func TestVerify(t *testing.T) {
	needRedis(t)
	t.Parallel()
	const n = 50
	r := testRunner(t)
	s, err := r.openSite(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.fill(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	c := startBare(t, r, s)
	if err := s.finished(t.Context(), n, []*contender{c}); err != nil {
		t.Fatal(err)
	}
	if u, err := c.finish(t.Context()); err != nil || u.peakMiB <= 0 || u.allocs < n || u.bytes <= 0 {
		t.Errorf("the bare loop took %+v (%v)", u, err)
	}
	if err := s.verify(t.Context(), n, false); err != nil {
		t.Errorf("a run that was right: %v", err)
	}

	complains := func(want string) {
		t.Helper()
		if err := s.verify(t.Context(), n, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("verify: %v, want %q in it", err, want)
		}
	}
	body := fmt.Sprintf(`{"outTradeNo":"%s"}`, outTradeNo(7))
	resp, err := http.Post(s.vendor+placePath, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	complains("double purchases: 1, want 0")
	if _, err := s.js.PublishMsg(t.Context(), order(n)); err != nil {
		t.Fatal(err)
	}
	complains("left in ORDERS: 1, want 0")
	if err := s.results.DeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	complains("results: 49, want 50")
	if err := s.verify(t.Context(), n, true); err == nil || !strings.Contains(err.Error(), "orders in the journal: 0, want 50") {
		t.Errorf("verify of a journal that is empty: %v", err)
	}
}

// TestAContenderThatDiesIsNoticed, and not waited for.
func TestAContenderThatDiesIsNoticed(t *testing.T) {
	needRedis(t)
	t.Parallel()
	r := testRunner(t)
	s, err := r.openSite(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	c := startBare(t, r, s)
	c.kill()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.finished(ctx, 50, []*contender{c}); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("finished: %v", err)
	}
}

func testRunner(t *testing.T) *runner {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &runner{options: new(options), self: self, dir: t.TempDir(), progress: t.Output()}
}

func startBare(t *testing.T, r *runner, s *site) *contender {
	t.Helper()
	c, err := r.startContender(s, side{who: bareLoop, load: load{concurrency: 8}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	if err := c.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPlan(t *testing.T) {
	for args, want := range map[string]string{
		"":                  "fast slow steady low idle",
		"-long":             "queue queue fleet",
		"-only low":         "low",
		"-only fleet,fast ": "fast fleet",
		"-long -only slow":  "slow",
	} {
		o, err := readOptions(strings.Fields(args), t.Output())
		if err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		var names []string
		for _, c := range o.plan() {
			names = append(names, c.name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: %s, want %s", args, got, want)
		}
	}
}

func TestWrongFlags(t *testing.T) {
	for _, args := range []string{"-runs 0", "-orders 39", "-only fastest", "-env GOGC", "-rate x", "more", "-short-queue 100 -long-queue 99", "-short-queue 0", "-paced 0s", "-paced 3s", "-low-rate 0", "-idle 0s"} {
		var said bytes.Buffer
		if _, err := readOptions(strings.Fields(args), &said); err != errUsage || said.Len() == 0 {
			t.Errorf("%s: %v, said %q; want wrong usage and why", args, err, &said)
		}
	}
}
