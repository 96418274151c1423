package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/apptest"
	"orderworker/dedupe/storetest"
	"orderworker/worker/logtest"
)

// ordersFile writes a file of orders.
func ordersFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const fileHead = "outTradeNo,iccid,packageCode\n"

// Orders that succeed, fail, conflict and repeat another end in one line each, in the
// order of the file, whatever is published how often.
func TestSubmitAndResults(t *testing.T) {
	d := newDesk(t, nil, "packageCode=GONE always: refuse code=41018 message=\"gone, for good\"")
	d.Start()
	d.publish("used", `,"renew":1`)
	const card = "8988308650100524999"
	path := ordersFile(t, "orders.csv", fileHead+"A.1,"+card+",P\nused,"+card+",OTHER\nB,"+card+",GONE\nA.1,"+card+",P\n")
	results := filepath.Join(filepath.Dir(path), "results.csv")
	for range 2 { // the second time everything is a duplicate
		status, out, errs := d.do("submit", path, "--yes", "--wait", "--out", results, "--force")
		if status != statusFailed || !strings.Contains(out, "4 orders: 2 succeeded, 1 failed, 1 rejected, 0 open") || !strings.Contains(out, "line 4: B failed, permanent_code 41018 gone, for good") {
			t.Fatalf("%d\n%s%s", status, out, errs)
		}
		got, err := os.ReadFile(results)
		if err != nil {
			t.Fatal(err)
		}
		bought := d.Vendor.Purchases("A.1")
		lines := strings.Split(string(got), "\n")
		if len(bought) != 1 || len(lines) != 6 || lines[0] != "outTradeNo,iccid,packageCode,status,reason,code,message,orderNumber,orderId,attempts,completedAt" ||
			!strings.HasPrefix(lines[1], fmt.Sprintf("A.1,%s,P,succeeded,,200,success,%s,%d,1,20", card, bought[0].OrderNumber, bought[0].OrderID)) ||
			!strings.HasPrefix(lines[2], "used,"+card+",OTHER,rejected,conflict,,") || !strings.Contains(lines[2], "it was already used with another packageCode, renew") ||
			!strings.HasPrefix(lines[3], "B,"+card+",GONE,failed,permanent_code,41018,\"gone, for good\",,,1,20") || lines[4] != lines[1] {
			t.Errorf("%d purchases, results\n%s", len(bought), got)
		}
	}
	if status, _, errs := d.do("results", path, "--out", results); status != statusFailed || !strings.Contains(errs, "exists; --force overwrites it") {
		t.Errorf("a results file that exists: %d %s", status, errs)
	}
	// JSON Lines, of a part that has succeeded.
	asked := ordersFile(t, "orders.jsonl", `{"outTradeNo":"A.1","iccid":"`+card+`","packageCode":"P"}`+"\n")
	jsonl := filepath.Join(filepath.Dir(asked), "out.jsonl")
	if status, out, errs := d.do("results", asked, "--out", jsonl); status != statusDone || !strings.Contains(out, "1 order: 1 succeeded") {
		t.Errorf("%d %s%s", status, out, errs)
	}
	text, err := os.ReadFile(jsonl)
	var line map[string]any
	if err != nil || json.Unmarshal(text, &line) != nil || line["status"] != "succeeded" || line["orderNumber"] != d.Vendor.Purchases("A.1")[0].OrderNumber {
		t.Errorf("%s %v", text, err)
	}
	if n := d.calls(); n != 3 {
		t.Errorf("%d calls to buy, want 3", n)
	}
}

// An order in doubt and one that nobody has taken are open, and say which.
func TestResultsOfOpenOrders(t *testing.T) {
	d := newDesk(t, nil, "first=1 buy: hang")
	d.inDoubt("doubt")
	path := ordersFile(t, "orders.csv", fileHead+"doubt,8988308650100524999,P\nnever,8988308650100524999,P\n")
	status, out, errs := d.do("results", path)
	lines := strings.Split(out, "\n")
	if status != statusFailed || len(lines) != 4 || !strings.HasPrefix(lines[1], `doubt,8988308650100524999,P,open,in_doubt,,"it may have been bought`) ||
		lines[2] != "never,8988308650100524999,P,open,,,,,,0," || !strings.Contains(errs, "2 orders: 0 succeeded, 0 failed, 0 rejected, 2 open (1 of them in doubt)") {
		t.Errorf("%d\n%s%s", status, out, errs)
	}
}

// A broken line, a dry run, and nobody to ask: nothing is published.
func TestSubmitPublishesNothing(t *testing.T) {
	d := newDesk(t, nil)
	good := ordersFile(t, "good.csv", fileHead+"A,8988308650100524999,P\n")
	bad := ordersFile(t, "bad.csv", fileHead+"A,8988308650100524999,P\nB,8.98831E+18,P\n")
	prefixed := ordersFile(t, "cards.csv", "iccid,packageCode\n8988308650100524999,P\n")
	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"a broken line":      {[]string{bad, "--yes"}, statusFailed, "bad.csv: line 3: iccid: 8.98831E+18 breaks the rule: this is a spreadsheet's notation"},
		"a dry run":          {[]string{good, "--dry-run"}, statusDone, "dry run: nothing was published"},
		"nobody to ask":      {[]string{good}, statusUsage, "--yes publishes without asking"},
		"no such file":       {[]string{good + "x", "--yes"}, statusFailed, "no such file"},
		"a directory":        {[]string{filepath.Dir(good), "--yes"}, statusFailed, "is no regular file"},
		"out without wait":   {[]string{good, "--yes", "--out", "x.csv"}, statusUsage, "--out (\"x.csv\") needs --wait"},
		"prefix of stdin":    {[]string{"-", "--yes", "--prefix", "P"}, statusUsage, "--prefix (\"P\") needs a file"},
		"a bad prefix":       {[]string{prefixed, "--yes", "--prefix", "a b"}, statusUsage, "--prefix"},
		"no results folder":  {[]string{good, "--yes", "--wait", "--out", filepath.Join(good, "x.csv")}, statusFailed, "--out: "},
		"prefix, a dry run":  {[]string{prefixed, "--dry-run", "--prefix", "P"}, statusDone, "the completed file is " + strings.TrimSuffix(prefixed, ".csv") + ".P.csv"},
		"a rate of nonsense": {[]string{good, "--yes", "--upstream-rate=-1"}, statusUsage, "UPSTREAM_RATE"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := d.do(append([]string{"submit"}, c.args...)...)
			if status != c.status || !strings.Contains(out+errs, c.want) {
				t.Errorf("%d, want %d and %q\n%s%s", status, c.status, c.want, out, errs)
			}
		})
	}
	if n := d.count("ORDERS"); n != 0 {
		t.Errorf("%d requests were published", n)
	}
	if _, err := os.Stat(completedOf(prefixed)); err == nil {
		t.Error("a dry run has written a file")
	}
	// Settings that the command has no use for may be what they want.
	d.Env["REDIS_URL"], d.Env["UPSTREAM_APPKEY"], d.Env["CONCURRENCY"] = "nonsense", "", "x"
	if status, _, errs := d.do("submit", prefixed, "--yes", "--prefix", "P"); status != statusDone {
		t.Fatalf("%d %s", status, errs)
	}
	if text, err := os.ReadFile(completedOf(prefixed)); err != nil || string(text) != "outTradeNo,iccid,packageCode\nP-2,8988308650100524999,P\n" {
		t.Errorf("the completed file: %q, %v", text, err)
	}
	if n := d.count("ORDERS"); n != 1 {
		t.Errorf("%d requests were published, want 1", n)
	}
}

func completedOf(path string) string { return strings.TrimSuffix(path, ".csv") + ".P.csv" }

// Without streams the command says so. A full stream is waited for, and no line is lost.
func TestSubmitWaitsWhileTheStreamIsFull(t *testing.T) {
	server := storetest.NATS(t)
	js := storetest.JetStream(t, server)
	env := map[string]string{"NATS_URL": server.ClientURL()}
	var text strings.Builder
	text.WriteString(fileHead)
	const n, room = 500, 20
	for i := range n {
		fmt.Fprintf(&text, "A-%d,8988308650100524999,P\n", i)
	}
	path := ordersFile(t, "orders.csv", text.String())
	status, _, errs := orderworker(t, env, "submit", path, "--yes", "--stream-timeout", "1s")
	if status != statusFailed || !strings.Contains(errs, "stream ORDERS is missing") || !strings.Contains(errs, "0 of 500 orders are certainly stored. Run the same command again") {
		t.Errorf("without a stream: %d %s", status, errs)
	}
	if status, _, errs := orderworker(t, env, "results", path); status != statusFailed || !strings.Contains(errs, "stream ORDER_RESULTS is missing") {
		t.Errorf("without a results stream: %d %s", status, errs)
	}

	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "ORDERS", Subjects: []string{"orders.package.request"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxMsgs: room,
	})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "w", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	var said logtest.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run([]string{"submit", path, "--yes"}, apptest.Lookup(env), &said, &said)
	}()
	storetest.Eventually(t, "it says that the stream is full", func() bool { return strings.Contains(said.String(), "waiting: the stream is full: ORDERS") })
	seen := map[string]bool{}
	storetest.Eventually(t, "every line is taken", func() bool {
		batch, err := consumer.Fetch(room, jetstream.FetchMaxWait(50*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			seen[string(m.Data())] = true
			_ = m.DoubleAck(t.Context())
		}
		return len(seen) == n
	})
	if status := <-ended; status != statusDone || !strings.Contains(said.String(), "500 of 500 stored") {
		t.Errorf("%d %s", status, said.String())
	}
}

func TestSchemaCommand(t *testing.T) {
	for what, want := range map[string]string{"request": "urn:orderworker:request", "result": "urn:orderworker:result", "dead": "urn:orderworker:dead", "asyncapi": `"asyncapi": "3.0.0"`} {
		status, out, errs := orderworker(t, nil, "schema", what)
		if status != statusDone || errs != "" || !json.Valid([]byte(out)) || !strings.Contains(out, want) {
			t.Errorf("schema %s: %d %s %s", what, status, out, errs)
		}
	}
	if status, _, errs := orderworker(t, nil, "schema", "order"); status != statusUsage || !strings.Contains(errs, "request, result, dead, asyncapi") {
		t.Errorf("%d %s", status, errs)
	}
}
