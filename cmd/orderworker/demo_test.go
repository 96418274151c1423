package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"orderworker/dedupe/storetest"
)

func TestDemoKeepsItsPromisesAndLeavesNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: it starts a nats-server, and -short is set")
	}
	t.Parallel()
	temp := t.TempDir()
	demo := exec.Command(os.Args[0], "demo", "--orders", "80")
	demo.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+temp, "NATS_URL=nats://nowhere.invalid", "UPSTREAM_RATE=wrong", "ORDERS=1")
	out, err := demo.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"published", "bought", "succeeded", "failed", "rejected", "duplicates", "dead letters", "calls", "retries", "in doubt", "worker killed      once (SIGKILL), after ", " in its hands, taken over by others", "Redis emptied      after ", "p50", "p99",
		"held  never buy twice", "held  never lose an order", "held  one true final result per order", "held  never exceed the account's quota",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// With --console the demo serves the console, until it is told to stop.
func TestDemoServesTheConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: it starts a nats-server, and -short is set")
	}
	t.Parallel()
	addr := storetest.FreeAddr(t)
	out := new(strings.Builder)
	demo := exec.Command(os.Args[0], "demo", "--orders", "20", "--console", addr)
	demo.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+t.TempDir())
	demo.Stdout, demo.Stderr = out, out
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the console shows finished orders", func() bool {
		res, err := http.Get("http://" + addr + "/api/orders?state=succeeded")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return err == nil && strings.Contains(string(body), `"state":"succeeded"`)
	})
	if err := demo.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = demo.Wait() // 1 where it was interrupted before the table
	if !strings.Contains(out.String(), "Console: http://"+addr) {
		t.Errorf("it does not say where the console is:\n%s", out.String())
	}
}
