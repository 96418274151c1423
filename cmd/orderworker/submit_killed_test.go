package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/apptest"
	"orderworker/dedupe/storetest"
	"orderworker/upstream/sandbox"
	"orderworker/upstream/sandbox/sandboxtest"
	"orderworker/worker/logtest"
)

var submitOrders = flag.Int("submit.orders", 3000, "lines of the file that is submitted, killed and submitted again")

// TestSubmitKilledThreeTimes: a file is submitted, killed twice while it is being
// published and once while its results are awaited, and submitted again. Each line is
// bought once, and has its result, in order. The commands keep within 64 MiB.
func TestSubmitKilledThreeTimes(t *testing.T) {
	n := *submitOrders
	server := storetest.NATS(t)
	path := buildPrograms(t).orderworker
	v, vendor := sandboxtest.Start(t, sandbox.Config{AppKey: apptest.AppKey, Secret: apptest.Secret})
	js := storetest.JetStream(t, server)
	dir := t.TempDir()
	env := []string{"NATS_URL=" + server.ClientURL(), "HOME=" + dir, "TMPDIR=" + dir}
	newProcess(t, dir, "worker", path, append([]string{
		"REDIS_URL=redis://" + storetest.Redis(t).Addr, "UPSTREAM_URL=" + vendor, "UPSTREAM_APPKEY=" + apptest.AppKey, "UPSTREAM_SECRET=" + apptest.Secret, "UPSTREAM_RATE=0", "ADMIN_ADDR=",
	}, env...), "run")
	last := func() uint64 {
		stream, err := js.Stream(t.Context(), "ORDERS")
		if err != nil {
			return 0
		}
		return stream.CachedInfo().State.LastSeq
	}
	storetest.Eventually(t, "the worker has made its streams", func() bool {
		_, err := js.Consumer(t.Context(), "ORDERS", "order-worker")
		return err == nil
	})
	if testing.Verbose() && n >= 20_000 {
		comparePublishers(t, server.ClientURL(), n)
	}

	orders, results := filepath.Join(dir, "orders.csv"), filepath.Join(dir, "results.csv")
	writeOrders(t, orders, n)
	args := []string{"submit", orders, "--yes", "--wait", "--out", results}
	before := last()
	for i, dead := range []func(p *process) bool{
		func(*process) bool { return last()-before > uint64(n/3) },
		func(*process) bool { return last()-before > uint64(n/3+n/2) },
		func(p *process) bool { return strings.Contains(p.tail(1000), " stored in ") },
	} {
		p := newProcess(t, dir, fmt.Sprint("submit-", i), path, env, args...)
		deadline := time.Now().Add(3 * time.Minute)
		for !dead(p) {
			if time.Now().After(deadline) {
				t.Fatalf("submit does not come as far as kill %d:\n%s", i+1, p.tail(1000))
			}
			time.Sleep(time.Millisecond)
		}
		p.kill()
	}
	if _, err := os.Stat(results); err == nil {
		t.Fatal("there are results although submit was killed before it had them")
	}
	began := time.Now()
	run := exec.Command(path, args...)
	var said logtest.Buffer
	run.Env, run.Stdout, run.Stderr = env, &said, &said
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	most := watchMemory(run.Process.Pid)
	err := run.Wait()
	out, memory := said.String(), most()
	if err != nil || !strings.Contains(out, fmt.Sprintf("%d orders: %d succeeded, 0 failed, 0 rejected, 0 open", n, n)) {
		t.Fatalf("the last submit: %v\n%s", err, out)
	}
	t.Logf("%d orders: the last submit took %v, with %d MiB of memory; %d requests were published\n%s", n, time.Since(began).Round(time.Millisecond), memory, last()-before, out)
	if memory == 0 || memory > 64 {
		t.Errorf("submit took %d MiB of memory, at most 64 are allowed", memory)
	}
	checkSubmitted(t, results, v.Book(), n)
	left, err := filepath.Glob(filepath.Join(dir, ".results.csv*"))
	if temp, _ := filepath.Glob(filepath.Join(dir, "orderworker-submit-*")); err != nil || len(left)+len(temp) > 0 {
		t.Errorf("left behind: %q %q %v", left, temp, err)
	}
}

// watchMemory looks at a process until it has ended. most returns the highest resident
// memory that was seen, in MiB. (What the kernel says of a child that has ended has its
// parent's memory in it, from before it became another program.)
func watchMemory(pid int) (most func() int) {
	seen := make(chan int, 1)
	go func() {
		highest := 0
		for {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, line, found := strings.Cut(string(status), "VmHWM:")
			if err != nil || !found { // it has ended
				seen <- highest
				return
			}
			kib, _ := strconv.Atoi(strings.Fields(line)[0])
			highest = max(highest, kib>>10)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return func() int { return <-seen }
}

// writeOrders writes n orders to a CSV file.
func writeOrders(t *testing.T, path string, n int) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("outTradeNo,iccid,packageCode\n")
	for i := range n {
		fmt.Fprintf(&b, "K.%d,89883086501%08d,CN-%dM\n", i, i, i%5)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// checkSubmitted compares a results file with the vendor's book.
func checkSubmitted(t *testing.T, results string, book sandbox.Book, n int) {
	t.Helper()
	if len(book.Doubles) > 0 || len(book.PerOutTradeNo) != n || len(book.Purchases) != n {
		t.Errorf("%d purchases of %d orders, want %d; bought twice: %v", len(book.Purchases), len(book.PerOutTradeNo), n, book.Doubles)
	}
	bought := map[string]string{}
	for _, p := range book.Purchases {
		bought[p.OutTradeNo] = p.OrderNumber
	}
	file, err := os.Open(results)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Scan() // the header
	for i := range n {
		if !lines.Scan() {
			t.Fatalf("the results end before line %d: %v", i, lines.Err())
		}
		no := fmt.Sprintf("K.%d", i)
		want := fmt.Sprintf("%s,89883086501%08d,CN-%dM,succeeded,,200,success,%s,", no, i, i%5, bought[no])
		if !strings.HasPrefix(lines.Text(), want) || bought[no] == "" {
			t.Fatalf("result %d is\n%s\nwant\n%s", i, lines.Text(), want)
		}
	}
	if lines.Scan() {
		t.Errorf("more results: %s", lines.Text())
	}
}

// comparePublishers measures two publishers that check nothing and wait for nothing: one
// with a window of 256, and one that waits for each acknowledgement, as nats pub does.
func comparePublishers(t *testing.T, url string, n int) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BARE", Subjects: []string{"bare"}}); err != nil {
		t.Fatal(err)
	}
	payload := []byte(`{"outTradeNo":"K.12345","iccid":"8988308650100012345","packageCode":"CN-0M"}`)
	began := time.Now()
	for range n {
		if _, err := js.PublishAsync("bare", payload, jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	t.Logf("a bare publisher with a window of 256: %v", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	for range n {
		if _, err := js.Publish(t.Context(), "bare", payload); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("a bare publisher, one by one as nats pub: %v", time.Since(began).Round(time.Millisecond))
	if err := js.DeleteStream(t.Context(), "BARE"); err != nil {
		t.Fatal(err)
	}
}
