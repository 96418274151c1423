package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDemoKeepsItsPromisesAndLeavesNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: it starts a nats-server, and -short is set")
	}
	t.Setenv("TMPDIR", t.TempDir())
	env := map[string]string{"NATS_URL": "nats://nowhere.invalid", "UPSTREAM_RATE": "wrong", "ORDERS": "1"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	var out, errs bytes.Buffer
	if status := run([]string{"demo", "--orders", "80"}, lookup, &out, &errs); status != statusDone {
		t.Errorf("exit status %d, want 0\n%s%s", status, out.String(), errs.String())
	}
	for _, want := range []string{
		"published", "bought", "succeeded", "failed", "rejected", "duplicates", "dead letters", "calls", "retries", "in doubt", "p50", "p99",
		"held  never buy twice", "held  never lose an order", "held  one true final result per order", "held  never exceed the account's quota",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
