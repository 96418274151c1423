package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/operator"
	"orderworker/dedupe"
	"orderworker/dedupe/storetest"
	"orderworker/worker"
)

// deskGolden compares what a command printed with a file of testdata, without times.
func deskGolden(t *testing.T, file, got string) {
	t.Helper()
	for _, r := range []struct{ pattern, by string }{
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, "TIME"}, {`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{3})?`, "TIME"}, {`\d\d:\d\d:\d\d`, "TIME"},
		{`\b(\d+h)?(\d+m)?[0-9.]+m?s\b|\b\d+h\d+m\b`, "DURATION"}, {` +`, " "},
	} {
		got = regexp.MustCompile(r.pattern).ReplaceAllString(got, r.by)
	}
	path := "testdata/" + file
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("%s: %v; got\n%s\nwant\n%s", file, err, got, want)
	}
}

// deskStates leaves one order in each state, without a worker.
func deskStates(d *desk) {
	d.T.Helper()
	ctx, store := d.T.Context(), d.store()
	d.claim(store, "CLAIMED", 0)
	sending := d.claim(store, "SENDING", 0)
	d.intent(store, sending, time.Hour, time.Hour)
	waiting := d.claim(store, "WAITING", 0)
	d.intent(store, waiting, time.Hour, time.Hour)
	waiting.Last.Class, waiting.Last.Code, waiting.Last.Message = "refused", "3009", "balance \x1b[31mtoo low"
	waiting.Note(dedupe.Ending{At: time.Now(), Attempt: 1, Class: "unreachable", Message: "connection refused"})
	waiting.Note(dedupe.Ending{At: time.Now().Add(time.Millisecond), Attempt: 1, Class: "refused", Code: "3009", Message: "balance \x1b[31mtoo low"})
	d.OK(store.Wait(ctx, waiting, 6, time.Hour))
	d.doubt(store, "DOUBT", d.publish("DOUBT"))
	// They were all delivered: a consumer that has taken them, and acknowledged none.
	d.take(4)
	d.publish("QUEUED", `,"renew":1`)
	_, err := d.JS.Publish(ctx, "orders.package.request", []byte(`{"outTradeNo":"BROKEN"}`))
	d.OK(err)
}

// take has n requests delivered to nobody.
func (d *desk) take(n int) {
	d.T.Helper()
	consumer, err := d.JS.Consumer(d.T.Context(), "ORDERS", "order-worker")
	d.OK(err)
	batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	d.OK(err)
	got := 0
	for range batch.Messages() {
		got++
	}
	if got != n {
		d.T.Fatalf("%d requests were delivered, want %d", got, n)
	}
}

// TestDeskLists: the list, by state, the same as JSON, and with a store away.
func TestDeskLists(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	if status, out, errs := d.do("list"); status != statusDone || errs != "" || !strings.Contains(out, "queued 0   in progress 0   waiting 0   in doubt 0   dead 0") {
		t.Errorf("nothing: %d %s%s", status, out, errs)
	}
	deskStates(d)
	for subject, event := range map[string]string{"failed.A": `{"outTradeNo":"A","status":"failed"}`, "succeeded.B": `{"outTradeNo":"B","status":"succeeded"}`, "rejected.C": `{"outTradeNo":"C","status":"rejected"}`} {
		_, err := d.JS.Publish(t.Context(), "orders.package.result."+subject, []byte(event))
		d.OK(err)
	}
	status, out, errs := d.do("list")
	if status != statusDone || errs != "" {
		t.Errorf("%d %s", status, errs)
	}
	deskGolden(t, "list.txt", out)
	for state, want := range map[string]string{"queued": "BROKEN QUEUED", "claimed": "SENDING CLAIMED", "waiting": "WAITING", "in_doubt": "DOUBT", "paused": "", "succeeded": "B", "failed": "A"} {
		_, out, _ := d.do("list", "--state", state, "--json")
		var l operator.List
		d.OK(json.Unmarshal([]byte(out), &l))
		var got []string
		for _, r := range l.Orders {
			got = append(got, r.OutTradeNo)
		}
		if strings.Join(got, " ") != want || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %v, want %s", state, got, want)
		}
	}
	if _, out, _ := d.do("list", "--limit", "2"); !strings.Contains(out, "there are more") || strings.Contains(out, "DOUBT ") {
		t.Errorf("--limit 2:\n%s", out)
	}
	if _, out, _ := d.do("status", "--iccid", "8988308650100524999"); strings.Count(out, "8988308650100524999") != 5 {
		t.Errorf("the card:\n%s", out)
	}
	d.Redis.Kill(t)
	status, out, errs = d.do("list", "--timeout", "9s")
	if status != statusFailed || !strings.Contains(out, "REDIS AWAY") || !strings.Contains(out, "WAITING") || !strings.Contains(out, "in doubt 1") || !strings.Contains(out, "error    redis: ") || errs == "" {
		t.Errorf("without Redis: %d %s\n%s", status, errs, out)
	}
	status, out, errs = d.do("list", "--timeout", "8s", "--nats-url", "nats://127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1")
	if status != statusFailed || errs != "orderworker: list: not everything could be asked\n" {
		t.Errorf("without NATS: %d %s", status, errs)
	}
	deskGolden(t, "list_away.txt", out)
	if _, out, _ := d.do("list", "--json", "--timeout", "8s", "--nats-url", "nats://127.0.0.1:1"); !strings.Contains(out, `"notKnown":["queued","inProgress",`) {
		t.Errorf("without NATS: %s", out)
	}
	if status, _, errs := d.do("list", "--state", "lost", "--limit", "0"); status != statusUsage || strings.Count(errs, "\n") != 2 {
		t.Errorf("usage: %d %s", status, errs)
	}
}

// TestDeskShowsAnOrder: what status prints of an order that waits.
func TestDeskShowsAnOrder(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	deskStates(d)
	_, out, _ := d.do("status", "WAITING")
	deskGolden(t, "status_waiting.txt", out)
	_, out, _ = d.do("status", "QUEUED")
	deskGolden(t, "status_queued.txt", out)
	status, out, errs := d.do("status", "WAITING", "--timeout", "8s", "--nats-url", "nats://127.0.0.1:1")
	if status != statusFailed || !strings.Contains(out, "WAITING  unknown: not everything could be asked: it may have been sent") || !strings.Contains(out, "redis    ready, due in ") || !strings.Contains(errs, "NATS does not answer at 127.0.0.1:1: connection refused") {
		t.Errorf("without NATS: %d %s\n%s", status, errs, out)
	}
}

// TestDeskPauses: of two operators at once the second is told, and nobody is asked twice.
func TestDeskPauses(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	if status, out, _ := d.do("resume", "--yes"); status != statusDone || !strings.Contains(out, "nobody has ever paused") {
		t.Errorf("resume: %d %s", status, out)
	}
	status, out, errs := d.do("pause", "--reason", "a \x1b[2J reason", "--by", "alice", "--yes")
	if status != statusDone || errs != "" {
		t.Errorf("%d %s", status, errs)
	}
	deskGolden(t, "pause.txt", out)
	_, out, _ = d.do("pause", "--reason", "mine", "--by", "bob", "--for", "2h", "--yes")
	deskGolden(t, "pause_again.txt", out)
	_, out, _ = d.do("list")
	deskGolden(t, "list_paused.txt", out)

	desk, err := operator.Open(t.Context(), d.Settings())
	d.OK(err)
	defer desk.Close()
	_, seen, err := desk.Word(t.Context())
	d.OK(err)
	_, out, _ = d.do("resume", "--by", "carol", "--yes") // while the other one thinks
	deskGolden(t, "resume.txt", out)
	_, err = desk.Pause(t.Context(), operator.PauseRequest{Reason: "late", By: "dave", Seen: seen})
	if err == nil || !strings.Contains(err.Error(), "carol resumed at") {
		t.Errorf("the second operator is told %v", err)
	}
	if word, _, _ := desk.Word(t.Context()); word.Paused {
		t.Error("the second operator's word is in force")
	}
	words, err := desk.Words(t.Context())
	if d.OK(err); len(words) != 4 || words[1].By != "alice" || words[3].By != "carol" {
		t.Errorf("history %+v", words)
	}
	for args, want := range map[string]string{
		"pause":                          "--reason",
		"pause --reason=x":               "--yes",
		"pause --reason=x --for=-1s":     "--for",
		"pause --reason=x --for=0s":      "more than 0",
		"pause --reason=x --for=1parsec": "--for",
	} {
		if status, _, errs := d.do(strings.Fields(args)...); status != statusUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", args, status, errs)
		}
	}
}

// TestDeskReplaysDeadLetters: hostile letters are shown harmlessly, and a correction is
// bought.
func TestDeskReplaysDeadLetters(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	send := func(payload string, headers ...string) {
		msg := nats.NewMsg("orders.package.request")
		msg.Data = []byte(payload)
		for i := 0; i < len(headers); i += 2 {
			msg.Header.Set(headers[i], headers[i+1])
		}
		_, err := d.JS.PublishMsg(t.Context(), msg)
		d.OK(err)
	}
	d.Start()
	send(`{"outTradeNo":"A","iccid":"8988308650100524999"}`, nats.MsgIdHdr, "mine", "X-From", "shop")
	storetest.Eventually(t, "it is a dead letter", func() bool { return d.count("ORDERS_DEAD") == 1 })
	send("\x1b]0;owned\x07{\"outTradeNo\":\"<script>\u202e\"}\xff", "X-Evil", "\x1b[31m")
	storetest.Eventually(t, "it is a dead letter", func() bool { return d.count("ORDERS_DEAD") == 2 })
	send(`{"outTradeNo":"` + strings.Repeat("\u0007", 900_000) + `"}`)
	storetest.Eventually(t, "it is a dead letter", func() bool { return d.count("ORDERS_DEAD") == 3 })

	_, out, _ := d.do("dead", "list")
	deskGolden(t, "dead_list.txt", out)
	_, out, _ = d.do("dead", "show", "2")
	deskGolden(t, "dead_show.txt", out)
	if _, out, _ := d.do("dead", "show", "3"); len(out) > 30_000 || strings.ContainsAny(out, "\x07\x1b") {
		t.Errorf("a letter of a megabyte takes %d bytes", len(out))
	}
	var letter operator.DeadLetter
	_, out, _ = d.do("dead", "show", "2", "--json")
	if d.OK(json.Unmarshal([]byte(out), &letter)); len(letter.Raw) == 0 || letter.Payload != nil || strings.Contains(out, "\x1b") {
		t.Errorf("%s", out)
	}
	if status, _, errs := d.do("dead", "replay", "1"); status != statusUsage || !strings.Contains(errs, "--yes") || d.count("ORDERS_DEAD") != 3 {
		t.Errorf("without --yes: %d %s", status, errs)
	}
	status, out, errs := d.do("dead", "replay", "1", "--set", "packageCode=P", "--yes")
	if status != statusDone || errs != "" || out != "1 dead letter replayed\n" {
		t.Errorf("%d %s%s", status, out, errs)
	}
	storetest.Eventually(t, "the corrected request is bought", func() bool { return d.know("A").State == "succeeded" })
	if got := d.count("ORDERS_DEAD"); got != 2 || d.calls() != 1 {
		t.Errorf("%d dead letters, %d calls", got, d.calls())
	}
	if status, _, errs := d.do("dead", "replay", "1", "--yes"); status != statusFailed || !strings.Contains(errs, "there is no such dead letter") {
		t.Errorf("replayed twice: %d %s", status, errs)
	}
	for args, want := range map[string]string{"": "SEQ", "1 --all": "SEQ", "1 --reason=invalid": "--reason", "--all --set=outTradeNo=B": "one number", "1 --set=price=1": "--set", "--all --limit=0": "--limit"} {
		if status, _, errs := d.do(append([]string{"dead", "replay"}, strings.Fields(args)...)...); status != statusUsage || !strings.Contains(errs, want) {
			t.Errorf("%q: %d %s", args, status, errs)
		}
	}
}

// TestDeskReplaysMany: more letters than are replayed at a time, and the same command goes
// on. With -soak there are 10,000 of them, and 1,000 at a time.
func TestDeskReplaysMany(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	if limit := d.parsed("dead", "replay", "--all").Dead.Replay.Limit; limit != 1000 {
		t.Errorf("%d are replayed at a time, want 1000", limit)
	}
	all, most := 250, 200
	if *soak > 0 {
		all, most = 10_000, 1000
	}
	for i := range all {
		msg := nats.NewMsg("orders.package.dead")
		msg.Data = fmt.Appendf(nil, `{"outTradeNo":"M-%d","iccid":"8988308650100524999","packageCode":"P"}`, i)
		msg.Header.Set("Dead-Reason", "invalid")
		msg.Header.Set("Dead-Nats-Msg-Id", "same")
		if _, err := d.JS.PublishMsgAsync(msg, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-d.JS.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("the letters are not stored")
	}
	status, out, errs := d.do("dead", "replay", "--all", "--yes", fmt.Sprint("--limit=", most))
	if status != statusDone || !strings.Contains(out, fmt.Sprintf("%d dead letters replayed\n%d are left", most, all-most)) {
		t.Errorf("%d %s%s", status, out, errs)
	}
	if dead, orders := d.count("ORDERS_DEAD"), d.count("ORDERS"); dead != uint64(all-most) || orders != uint64(most) {
		t.Errorf("%d letters and %d orders are left", dead, orders)
	}
	if _, out, errs := d.do("dead", "replay", "--all", "--reason", "conflict", "--yes"); !strings.Contains(out, "0 dead letters replayed") {
		t.Errorf("conflicts: %s%s", out, errs)
	}
	if _, out, _ := d.do("dead", "replay", "--all", "--reason", "invalid", "--limit", "5", "--yes"); !strings.Contains(out, fmt.Sprintf("5 dead letters replayed\n%d are left", all-most-5)) {
		t.Errorf("five more: %s", out)
	}
	_, out, _ = d.do("list", "--limit", "3")
	if !strings.Contains(out, fmt.Sprint("queued ", most+5)) || !strings.Contains(out, fmt.Sprint("dead ", all-most-5)) {
		t.Errorf("list:\n%s", out)
	}
}

// TestDeskCancels: what is certainly not bought is cancelled, published by a worker, and
// never sent; everything else is refused.
func TestDeskCancels(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	deskStates(d)
	store := d.store()
	final := d.claim(store, "FINAL", 0)
	result := worker.CancelledResult(worker.Order{}, 0, "", "", time.Now(), time.Now())
	_, err := store.Finish(t.Context(), final, result, false)
	d.OK(err)
	for no, want := range map[string]string{
		"SENDING": "may be under way or have bought it", "DOUBT": "may be under way or have bought it", "FINAL": "it has its final result",
		"NOBODY": "its request is not in the stream", "BROKEN": "its request is not in the stream",
	} {
		if status, out, errs := d.do("cancel", no, "--yes"); status != statusFailed || !strings.Contains(errs, want) || out != "" {
			t.Errorf("%s: %d %s%s", no, status, out, errs)
		}
	}
	if status, _, errs := d.do("cancel", "QUEUED"); status != statusUsage || !strings.Contains(errs, "--yes") {
		t.Errorf("without --yes: %d %s", status, errs)
	}
	if status, _, errs := d.do("cancel", "QUEUED", "--yes", "--journal-ttl=0"); status != statusFailed || !strings.Contains(errs, "JOURNAL_TTL=0") {
		t.Errorf("without a journal: %d %s", status, errs)
	}
	deskGolden(t, "cancel.txt", d.asked(&d.parsed("cancel", "WAITING").Cancel))
	for _, no := range []string{"QUEUED", "CLAIMED"} {
		if status, out, errs := d.do("cancel", no, "--yes"); status != statusDone || !strings.Contains(out, no+" is cancelled") {
			t.Errorf("%s: %d %s%s", no, status, out, errs)
		}
	}
	if status, _, errs := d.do("cancel", "QUEUED", "--yes"); status != statusFailed || !strings.Contains(errs, "it has its final result") {
		t.Errorf("twice: %d %s", status, errs)
	}
	d.redeliver("WAITING")
	d.OK(d.RDB.Del(t.Context(), "ORDERS:order:CLAIMED").Err()) // its lease of an hour
	d.Start()
	for _, no := range []string{"QUEUED", "WAITING", "CLAIMED"} {
		storetest.Eventually(t, no+" is published", func() bool { return d.know(no).State == "failed" && len(d.know(no).Results.Events) == 1 })
		if event := string(d.know(no).Results.Events[0].Event); !strings.Contains(event, `"reason":"cancelled"`) {
			t.Errorf("%s: %s", no, event)
		}
	}
	if event := string(d.know("WAITING").Results.Events[0].Event); !strings.Contains(event, `"code":"3009"`) || !strings.Contains(event, `"attempts":6`) {
		t.Errorf("WAITING: %s", event)
	}
	if d.calls() != 0 {
		t.Errorf("%d calls, want none", d.calls())
	}
}
