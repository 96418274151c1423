package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"orderworker/dedupe/storetest"
)

// TestPublisherSubmitsAFile: as the publisher of the shipped configuration, submit and
// results do all of their work, and are refused nothing that they need. What else the
// publisher may not do is TestNothingElseIsAllowed.
func TestPublisherSubmitsAFile(t *testing.T) {
	s := guarded(t)
	used := watch(t, s)
	work(t, func() map[string]string {
		env := here(t, natsURL(s, "worker"), "redis://"+storetest.Redis(t).Addr, vendor(t, "packageCode=GONE always: refuse code=41018"))
		env["UPSTREAM_RATE"] = "0"
		return env
	}())
	dir := t.TempDir()
	orders, results := filepath.Join(dir, "orders.csv"), filepath.Join(dir, "results.csv")
	text := "outTradeNo,iccid,packageCode\n"
	const n = 300
	for i := range n {
		text += fmt.Sprintf("F.%d,8988308650100524999,%s\n", i, map[bool]string{true: "GONE", false: "P"}[i == 7])
	}
	if err := os.WriteFile(orders, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(user string, args ...string) (int, string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), binary(t), args...)
		c.Env = environ(map[string]string{"NATS_URL": natsURL(s, user)})
		out, _ := c.CombinedOutput()
		return c.ProcessState.ExitCode(), string(out)
	}
	const end = "300 orders: 299 succeeded, 1 failed, 0 rejected, 0 open"
	if status, out := do("publisher", "submit", orders, "--yes", "--wait", "--out", results); status != 1 || !strings.Contains(out, end) {
		t.Errorf("submit: %d\n%s", status, out)
	}
	if status, out := do("publisher", "results", orders, "--out", results, "--force"); status != 1 || !strings.Contains(out, end) {
		t.Errorf("results: %d\n%s", status, out)
	}
	if got := strings.Count(string(must(os.ReadFile(results))), "\n"); got != n+1 {
		t.Errorf("%d lines of results, want %d", got, n+1)
	}
	used(t, "publisher")

	// A subscriber may read results, and publish nothing; the command says so at once.
	if status, out := do("subscriber", "results", orders); status != 1 || !strings.Contains(out, end) {
		t.Errorf("results as a subscriber: %d\n%s", status, out)
	}
	if status, out := do("subscriber", "submit", orders, "--yes"); status != 1 || !strings.Contains(out, "this user may not publish to orders.package.request") {
		t.Errorf("submit as a subscriber: %d\n%s", status, out)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
