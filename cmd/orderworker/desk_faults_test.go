package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/operator"
	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe/storetest"
	"orderworker/worker/natsio"
)

// TestDeskReplayIsNotRemoved: a letter that was published and could not be removed is told
// of as published, so that nobody publishes it again under another number.
func TestDeskReplayIsNotRemoved(t *testing.T) {
	t.Parallel()
	d := newDeskWithout(t, "$JS.API.STREAM.MSG.DELETE.>")
	d.bury(apptest.OrderRequest("OLD", "P", ""), "conflict")
	status, out, errs := d.do("dead", "replay", "1", "--set", "outTradeNo=N1", "--yes")
	if status != statusFailed || !strings.Contains(out, "0 dead letters replayed") ||
		!strings.Contains(errs, "published as message 1 of ORDERS, but may still be a dead letter") || !strings.Contains(errs, "never replay it under another number") {
		t.Errorf("%d %s%s", status, out, errs)
	}
	if orders, dead := d.count("ORDERS"), d.count("ORDERS_DEAD"); orders != 1 || dead != 1 {
		t.Errorf("%d orders, %d letters", orders, dead)
	}
}

// TestDeskReplayIsRefused: what was certainly not published is not told of as published.
func TestDeskReplayIsRefused(t *testing.T) {
	t.Parallel()
	d := newDeskWithout(t, "orders.package.request")
	d.bury(apptest.OrderRequest("OLD", "P", ""), "invalid")
	status, _, errs := d.do("dead", "replay", "1", "--yes")
	if status != statusFailed || !strings.Contains(errs, "permission") || strings.Contains(errs, "published") {
		t.Errorf("%d %s", status, errs)
	}
}

// TestDeskReplaysAtOnce: of two operators who replay one letter, the one who does not
// remove it is told that it was published all the same.
func TestDeskReplaysAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	seq := d.bury(apptest.OrderRequest("OLD", "P", ""), "conflict")
	var plans [2]*operator.ReplayPlan
	for i, no := range []string{"N1", "N2"} {
		desk, err := operator.Open(t.Context(), d.Settings())
		d.OK(err)
		defer desk.Close()
		plans[i], err = desk.PlanReplay(t.Context(), operator.ReplaySelection{Seqs: []uint64{seq}, Set: map[string]string{"outTradeNo": no}})
		d.OK(err)
	}
	var all sync.WaitGroup
	var replayed [2]*operator.Replayed
	for i, p := range plans {
		all.Go(func() { replayed[i], _ = p.Run(context.Background(), func(int, int) {}) })
	}
	all.Wait()
	told := strings.Join(append(replayed[0].Skipped, replayed[1].Skipped...), "; ")
	if n := d.count("ORDERS"); n == 2 && !strings.Contains(told, "if that was under another number, both are bought") {
		t.Errorf("2 requests of one letter: told %q", told)
	}
	if got := replayed[0].Replayed + replayed[1].Replayed; got != 1 {
		t.Errorf("%d operators are told that they replayed it: %q", got, told)
	}
}

// TestDeskReplayIsCorrectedAnew: within a long duplicate window a letter that was published
// and not removed is stored again if it is corrected in another way, and only then.
func TestDeskReplayIsCorrectedAnew(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	s, err := d.JS.Stream(t.Context(), "ORDERS")
	d.OK(err)
	config := s.CachedInfo().Config
	config.Duplicates = 2 * time.Minute
	_, err = d.JS.UpdateStream(t.Context(), config)
	d.OK(err)
	d.bury(apptest.OrderRequest("A", "WRONG", ""), "invalid")
	letters, err := d.JS.Stream(t.Context(), "ORDERS_DEAD")
	d.OK(err)
	frozen := letters.CachedInfo().Config
	frozen.DenyDelete = true // nothing is removed
	_, err = d.JS.UpdateStream(t.Context(), frozen)
	d.OK(err)
	for i, correction := range []string{"FIRST", "RIGHT", "RIGHT"} {
		status, _, errs := d.do("dead", "replay", "1", "--set", "packageCode="+correction, "--yes")
		if want := uint64(min(i+1, 2)); status != statusFailed || d.count("ORDERS") != want {
			t.Errorf("%s: %d %s; %d requests, want %d", correction, status, errs, d.count("ORDERS"), want)
		}
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "orders.package.request")
	if d.OK(err); !strings.Contains(string(m.Data), "RIGHT") {
		t.Errorf("stored: %s", m.Data)
	}
}

// TestDeskReplaySkipsWhatIsTooLarge: a letter that the stream can never take is passed over.
func TestDeskReplaySkipsWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	s, err := d.JS.Stream(t.Context(), "ORDERS")
	d.OK(err)
	config := s.CachedInfo().Config
	config.MaxMsgSize = 1000
	_, err = d.JS.UpdateStream(t.Context(), config)
	d.OK(err)
	d.bury(`{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","x":"`+strings.Repeat("x", 2000)+`"}`, "invalid")
	d.bury(apptest.OrderRequest("B", "P", ""), "invalid")
	status, out, errs := d.do("dead", "replay", "--all", "--yes")
	if status != statusFailed || !strings.Contains(out, "1 dead letter replayed\nnot replayed: 1: stream ORDERS can never take it") || d.count("ORDERS") != 1 {
		t.Errorf("%d %s%s", status, out, errs)
	}
}

// TestDeskReplaySaysWhatIsFutile: a letter that will be one again, and one that cannot be
// replayed, are told of in the question, and in the result of a command that asks nothing.
func TestDeskReplaySaysWhatIsFutile(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	letters := func() {
		d.bury(apptest.OrderRequest("GOOD", "P", ""), "invalid")
		d.bury(`{"outTradeNo":"BAD","iccid":"1","packageCode":"P"}`, "invalid")
		d.bury(apptest.OrderRequest("OTHER", "P", ""), "conflict")
		d.bury(`{"outTradeNo":"CUT","iccid":"8988308650100`, "invalid", "Dead-Truncated", "2000000")
	}
	letters()
	deskGolden(t, "dead_replay.txt", d.asked(&d.parsed("dead", "replay", "--all").Dead.Replay))
	if letters, orders := d.count("ORDERS_DEAD"), d.count("ORDERS"); letters != 1 || orders != 3 {
		t.Errorf("%d letters and %d orders", letters, orders)
	}
	letters()
	status, out, errs := d.do("dead", "replay", "6", "7", "--yes")
	deskGolden(t, "dead_replay_yes.txt", out)
	if status != statusDone || errs != "" { // they are published again, as was asked
		t.Errorf("%d %s", status, errs)
	}
	status, out, errs = d.do("dead", "replay", "4", "8") // nothing to agree to
	if status != statusFailed || errs != "" || out != "0 dead letters replayed\n"+
		"not replayed: 4: its payload of 2000000 bytes was cut to 42: ask the publisher for it\n"+
		"not replayed: 8: its payload of 2000000 bytes was cut to 42: ask the publisher for it\n" {
		t.Errorf("%d %s%s", status, out, errs)
	}
	// What was cut takes no other letter's place.
	if _, out, _ := d.do("dead", "replay", "--all", "--limit=1", "--yes"); !strings.HasPrefix(out, "1 dead letter replayed\n") {
		t.Errorf("with --limit: %s", out)
	}
	d.bury(apptest.OrderRequest("OTHER", "P", ""), "conflict")
	if _, out, _ := d.do("dead", "replay", "9", "--set=expiresAt=2030-01-01T00:00:00Z", "--yes"); !strings.Contains(out, "will be a dead letter again: 9: its number was used for another order") {
		t.Errorf("a conflict whose content is the same: %s", out)
	}
	seq := d.bury(apptest.OrderRequest("OTHER", "P", ""), "conflict")
	if _, out, _ := d.do("dead", "replay", fmt.Sprint(seq), "--set=outTradeNo=NEW", "--yes"); out != "1 dead letter replayed\n" {
		t.Errorf("a conflict with another number: %s", out)
	}
}

// TestDeskPauseIsNotForgotten: where workers run, a bucket that was lost during a pause and
// made anew lets nobody buy until an operator says so; the list says why.
func TestDeskPauseIsNotForgotten(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.do("pause", "--reason", "r", "--yes")
	d.publish("A")
	d.Start()
	listed := func(what string) {
		t.Helper()
		storetest.Eventually(t, what, func() bool { _, out, _ := d.do("list"); return strings.Contains(out, what) })
	}
	listed("paused 1")
	d.OK(d.JS.DeleteStream(t.Context(), "KV_ORDER_CONTROL"))
	d.publish("B")
	if status, out, errs := d.do("cancel", "B", "--yes"); status != statusDone {
		t.Errorf("cancel without the bucket: %d %s%s", status, out, errs)
	}
	d.OK(natsio.NewControl(d.JS, "ORDERS").Ensure(t.Context(), 1))
	storetest.Eventually(t, "B is published", func() bool { return d.know("B").State == "failed" })
	if n := d.calls(); n != 0 {
		t.Errorf("%d calls: the pause is forgotten", n)
	}
	tell, stop := context.WithCancel(t.Context())
	go vitals.Publish(tell, d.RDB, "ORDERS", "w7", func() vitals.Figures { return vitals.Figures{Unread: "the word is lost"} })
	listed("NOT KNOWN: worker w7 sends nothing: the word is lost")
	stop()
	if status, out, errs := d.do("resume", "--yes"); status != statusDone || !strings.Contains(out, "ORDERS is resumed") {
		t.Errorf("%d %s%s", status, out, errs)
	}
	storetest.Eventually(t, "A is bought", func() bool { return d.calls() == 1 })
}

// TestDeskPausesOverAnUnreadableWord: what nobody can read is replaced by both commands.
func TestDeskPausesOverAnUnreadableWord(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	for _, args := range []string{"pause --reason=r --yes", "resume --yes"} {
		_, err := d.JS.Publish(t.Context(), "$KV.ORDER_CONTROL.ORDERS", []byte("?"))
		d.OK(err)
		if status, out, errs := d.do(strings.Fields(args)...); status != statusDone || !strings.Contains(strings.ToLower(out), "before: what was said before is not known") {
			t.Errorf("%s: %d %s%s", args, status, out, errs)
		}
		if status, _, errs := d.do("list"); status != statusDone {
			t.Errorf("after %s: %d %s", args, status, errs)
		}
	}
}

// TestDeskPausesNoOtherDeployment: a deployment that does not exist is not paused, and
// nothing is said that could mean another one.
func TestDeskPausesNoOtherDeployment(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	for _, args := range []string{"pause --reason=r --yes", "resume --yes"} {
		status, out, errs := d.do(append(strings.Fields(args), "--orders-stream=ORDERZ")...)
		if status != statusFailed || out != "" || !strings.Contains(errs, "there is no deployment ORDERZ") {
			t.Errorf("%s: %d %s%s", args, status, out, errs)
		}
	}
	if n := d.count("KV_ORDER_CONTROL"); n != 0 {
		t.Errorf("%d words are stored", n)
	}
}

// TestDeskIsRefusedAtOnce: a write that the server refuses is told of at once, as not written.
func TestDeskIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	d := newDeskWithout(t, "$KV.>", "orders.journal.*")
	d.doubt(d.store(), "DOUBT", d.publish("DOUBT"))
	d.publish("A")
	for _, args := range []string{"pause --reason=r", "cancel A", "settle DOUBT --not-bought"} {
		began := time.Now()
		status, out, errs := d.do(append(strings.Fields(args), "--yes", "--timeout=1m")...)
		if status != statusFailed || out != "" || !strings.Contains(errs, "permission") || !strings.Contains(errs, "nothing was") || time.Since(began) > 40*time.Second {
			t.Errorf("%s: %d after %v: %s%s", args, status, time.Since(began), out, errs)
		}
	}
}

// TestDeskClock: what depends on the time is not done by a clock that is not the workers':
// here that of the servers is two hours ahead.
func TestDeskClock(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.doubt(d.store(), "DOUBT", d.publish("DOUBT"))
	d.publish("A")
	d.Env["NATS_URL"] = d.ahead(2 * time.Hour)
	for _, args := range []string{"pause --reason=r --for=1h", "cancel A", "settle DOUBT --not-bought"} {
		status, out, errs := d.do(append(strings.Fields(args), "--yes")...)
		if status != statusFailed || out != "" || !strings.Contains(errs, "set both clocks by NTP") {
			t.Errorf("%s: %d %s%s", args, status, out, errs)
		}
	}
	if status, out, errs := d.do("pause", "--reason=r", "--yes"); status != statusDone {
		t.Errorf("a pause without an end needs no clock: %d %s%s", status, out, errs)
	}
}

// ahead returns the URL of a server that passes all requests on to the desk's, and says
// that it is by so much later.
func (d *desk) ahead(by time.Duration) string {
	d.T.Helper()
	s := storetest.NATS(d.T, func(o *server.Options) { o.JetStream = false })
	nc := storetest.Connect(d.T, s)
	now := regexp.MustCompile(`"ts":"[^"]*"`)
	_, err := nc.Subscribe(">", func(m *nats.Msg) {
		if m.Reply == "" {
			return
		}
		real, err := d.JS.Conn().RequestMsg(&nats.Msg{Subject: m.Subject, Data: m.Data, Header: m.Header}, 5*time.Second)
		if err != nil {
			return
		}
		ts := `"ts":"` + time.Now().UTC().Add(by).Format(time.RFC3339Nano) + `"`
		_ = m.RespondMsg(&nats.Msg{Data: now.ReplaceAll(real.Data, []byte(ts)), Header: real.Header})
	})
	d.OK(err)
	d.OK(nc.Flush())
	return s.ClientURL()
}

// TestDeskCancelsWhatWasDelivered: where a worker was given an order of which the journal
// has nothing, the operator is told what that rests on.
func TestDeskCancelsWhatWasDelivered(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.publish("TAKEN")
	d.take(1)
	d.publish("QUEUED")
	for no, warned := range map[string]bool{"TAKEN": true, "QUEUED": false} {
		status, _, errs := d.do("cancel", no, "--yes")
		if status != statusDone || strings.Contains(errs, "JOURNAL_TTL are the workers' own") != warned {
			t.Errorf("%s: %d %s", no, status, errs)
		}
	}
}

// TestDeskWaitsForNATS: a command that can do nothing without NATS has all of --timeout to
// reach it.
func TestDeskWaitsForNATS(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	p := newProxy(t, strings.TrimPrefix(d.Env["NATS_URL"], "nats://"))
	d.Env["NATS_URL"] = "nats://" + p.addr
	p.set(linkReset, 0)
	defer time.AfterFunc(6*time.Second, func() { p.set(linkFine, 0) }).Stop()
	status, out, errs := d.do("pause", "--reason=r", "--yes", "--timeout=15s")
	if status != statusDone {
		t.Errorf("%d %s%s", status, out, errs)
	}
}
