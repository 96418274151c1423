package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
		"published", "bought", "succeeded", "failed", "rejected", "duplicates", "dead letters", "calls", "retries", "in doubt", "Redis emptied      after ", "p50", "p99",
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
