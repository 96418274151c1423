package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"orderworker/upstream/sandbox"
)

// operate runs a command of the built binary against the servers of w.
func (w *world) operate(args ...string) (status int, stdout, stderr string) {
	w.t.Helper()
	cmd := exec.Command(w.programs.orderworker, args...)
	cmd.Env = append([]string{"HOME=/", "USER=alice"}, w.workerEnv...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		w.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// mustOperate is operate for a command that succeeds.
func (w *world) mustOperate(args ...string) string {
	w.t.Helper()
	status, out, errs := w.operate(args...)
	if status != 0 {
		w.t.Fatalf("%v: exit status %d\n%s%s", args, status, out, errs)
	}
	return out
}

// calls is how many requests to buy the vendor has received.
func (w *world) calls() int {
	w.t.Helper()
	var totals sandbox.Totals
	w.get(w.accounts[0].direct+"/book?totals", &totals)
	return totals.Calls[sandbox.EndpointOrder]
}

// listed is what list says.
func (w *world) listed(args ...string) (l struct {
	Buying struct{ Paused bool }
	Counts struct{ Queued, InProgress, Waiting, InDoubt, Paused uint64 }
	Orders []struct{ OutTradeNo, State string }
}) {
	w.t.Helper()
	out := w.mustOperate(append([]string{"list", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &l); err != nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
	return l
}

// send publishes n orders.
func (w *world) send(prefix string, n int) {
	w.t.Helper()
	for i := range n {
		payload := fmt.Sprintf(`{"outTradeNo":"%s-%d","iccid":"8988308650100524999","packageCode":"P"}`, prefix, i)
		if _, err := w.js.Publish(w.t.Context(), "orders.package.request", []byte(payload)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// records is how many records the journal has taken so far.
func (w *world) records() uint64 {
	w.t.Helper()
	var last uint64
	w.until("the journal can be asked", func() bool { // the connection may be away
		s, err := w.js.Stream(w.t.Context(), "ORDER_JOURNAL")
		if err == nil {
			last = s.CachedInfo().State.LastSeq
		}
		return err == nil
	})
	return last
}

// silent checks that nothing is sent and nothing is journalled for a while, from a
// second after a pause on.
func (w *world) silent(what string) {
	w.t.Helper()
	calls, records := w.calls(), w.records()
	w.pass(1500*time.Millisecond, 2*time.Second)
	if now := w.calls(); now != calls {
		w.t.Errorf("%s: %d requests although an operator pauses", what, now-calls)
	}
	if now := w.records(); now != records {
		w.t.Errorf("%s: %d records although an operator pauses", what, now-records)
	}
}

// readyNotes reports whether every worker is ready and notes the pause, or not.
func (w *world) readyNotes(paused bool) bool {
	for _, addr := range w.admins.all() {
		response, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return false
		}
		if body := readAll(response); response.StatusCode != http.StatusOK || strings.Contains(body, "paused by the operator") != paused {
			return false
		}
	}
	return true
}

// metricIs reports whether every worker has the line among its metrics.
func (w *world) metricIs(line string) bool {
	for _, addr := range w.admins.all() {
		response, err := http.Get("http://" + addr + "/metrics")
		if err != nil || !strings.Contains(readAll(response), "\n"+line+"\n") {
			return false
		}
	}
	return true
}

// readAll is the body of a response, which it closes.
func readAll(response *http.Response) string {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// plainWorld is a world with a vendor that sells everything.
func plainWorld(t *testing.T, random rand.Source) *world {
	t.Helper()
	w := newWorld(t, buildPrograms(t), setup{natsDies: true}, random)
	w.setRules(w.accounts[0], nil)
	w.until("the workers are ready", func() bool { return w.readyNotes(false) })
	return w
}

// An operator's pause stops the fleet within a second, survives the death of workers and
// of NATS, holds a worker that starts while it lasts, and its end brings everything.
func TestPauseOfTheFleet(t *testing.T) {
	t.Parallel()
	w := plainWorld(t, rand.NewPCG(1, 2))
	w.send("before", 20)
	w.until("orders are bought", func() bool { return w.unfinished() == 0 })

	out := w.mustOperate("pause", "--reason", "wrong prices\x1b[31m", "--by", "alice", "--yes")
	if !strings.Contains(out, "alice paused at") || strings.Contains(out, "\x1b") {
		t.Errorf("pause says %q", out)
	}
	w.pass(time.Second, time.Second+time.Millisecond)
	w.send("while", 30)
	w.silent("paused")
	w.until("the workers say so", func() bool { return w.readyNotes(true) && w.metricIs("orderworker_paused_by_operator 1") })

	w.workers[0].kill()
	w.silent("a worker was killed")
	w.workers[0].start() // it has never seen anything but the pause
	w.silent("a worker starts while paused")
	w.nodes[0].kill()
	w.nodes[0].start()
	w.until("nats-server is healthy", w.nodes[0].healthy)
	w.silent("NATS was restarted")
	w.until("the list shows them", func() bool {
		l := w.listed("--state", "paused")
		return l.Buying.Paused && len(l.Orders) == 30 && l.Counts.Paused == 30
	})
	if status, out, errs := w.operate("resume"); status != statusUsage || !strings.Contains(errs, "--yes") {
		t.Errorf("resume without --yes: %d %s%s", status, out, errs)
	}
	w.silent("not resumed")

	if out := w.mustOperate("resume", "--by", "bob", "--yes"); !strings.Contains(out, "alice paused") {
		t.Errorf("resume says %q", out)
	}
	w.until("all is bought", func() bool { return w.unfinished() == 0 })
	w.until("the workers say so", func() bool { return w.readyNotes(false) && w.metricIs("orderworker_paused_by_operator 0") })
	if out := w.mustOperate("list", "--state", "succeeded", "--limit", "7", "--json"); strings.Count(out, `"state":"succeeded"`) != 7 {
		t.Errorf("list --state succeeded: %s", out)
	}

	w.mustOperate("pause", "--reason", "for a moment", "--for", "3s", "--yes")
	w.send("moment", 5)
	w.until("it ends by itself", func() bool { return w.unfinished() == 0 })
	if strings.Contains(w.mustOperate("resume", "--yes"), "\x1b") {
		t.Error("an escape sequence")
	}
}

// While the bucket is gone nothing is sent, and /readyz says why; a worker that starts
// makes it again.
func TestNothingIsSentWithoutTheBucket(t *testing.T) {
	t.Parallel()
	w := plainWorld(t, rand.NewPCG(3, 4))
	if err := w.js.DeleteKeyValue(t.Context(), "ORDER_CONTROL"); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second, time.Second+time.Millisecond)
	w.send("gone", 10)
	w.silent("the bucket is gone")
	w.until("/readyz says so", func() bool {
		response, err := http.Get("http://" + w.admins.all()[0] + "/readyz")
		return err == nil && response.StatusCode == http.StatusServiceUnavailable && strings.Contains(readAll(response), "control: ")
	})
	w.workers[0].kill()
	w.workers[0].start()
	w.until("all is bought", func() bool { return w.unfinished() == 0 })

	kv, err := w.js.KeyValue(t.Context(), "ORDER_CONTROL")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "ORDERS", []byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second, time.Second+time.Millisecond)
	w.send("nonsense", 5)
	w.silent("what the bucket has cannot be read")
	if err := kv.Delete(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	w.until("all is bought", func() bool { return w.unfinished() == 0 })
}
