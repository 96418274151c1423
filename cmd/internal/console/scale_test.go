package console

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/config"
	"orderworker/dedupe/storetest"
)

var scale = flag.Int("console.scale", 0, "measure a console over so many finished orders, and a hundredth of that unfinished")

// TestScale measures a console in a process of its own: how soon the first page and a
// search are there, and how much memory it takes. It fails nothing by the clock unless the
// flag is given.
func TestScale(t *testing.T) {
	if addr := os.Getenv("CONSOLE_CHILD"); addr != "" {
		serveForScale(t, addr)
		return
	}
	if *scale == 0 {
		t.Skip("NOT TESTED: it takes minutes; -console.scale=1000000 measures it")
	}
	e := newEnv(t, Config{})
	e.fill(*scale, *scale/100)
	addr := storetest.FreeAddr(t)
	child := exec.Command(os.Args[0], "-test.run=^TestScale$", "-test.v")
	child.Env = append(os.Environ(), "CONSOLE_CHILD="+addr, "NATS_URL="+e.Settings().NATSURL, "REDIS_URL="+e.Settings().RedisURL)
	child.Stderr = os.Stderr
	in, err := child.StdinPipe()
	ok(t, err)
	ok(t, child.Start())
	began := time.Now()
	t.Cleanup(func() { _ = in.Close(); _ = child.Wait() })
	e.base = "http://" + addr
	child.Stdout = io.Discard
	r := e.reader()
	waitLong(t, "the console answers", func() bool { _, err := http200(e.base + "/healthz"); return err == nil })
	t.Logf("first page %v after the start", time.Since(began).Round(time.Millisecond))
	waitLong(t, "the index is full", func() bool {
		o := data[Overview](r, "/api/overview")
		return o.Indexed >= min(*scale, maxFinished) && o.Counts.Queued+o.Counts.InProgress+o.Counts.Waiting+o.Counts.Paused >= uint64(*scale/100)
	})
	t.Logf("index full %v after the start", time.Since(began).Round(time.Millisecond))
	for path, most := range map[string]time.Duration{
		"/": 300 * time.Millisecond, "/orders": 300 * time.Millisecond, "/orders?q=no-such-order": 50 * time.Millisecond,
		fmt.Sprintf("/orders?q=F-%08d", *scale-1): 50 * time.Millisecond, "/api/orders?q=8988308650199999&state=succeeded": 50 * time.Millisecond,
		"/orders?q=PACKAGE-77": 50 * time.Millisecond, "/orders?state=unfinished&page=50": 300 * time.Millisecond, "/in-doubt": 300 * time.Millisecond,
	} {
		best := time.Hour
		for range 20 {
			began := time.Now()
			if _, err := http200(e.base + path); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(began))
		}
		t.Logf("%-60s %v (best of 20)", path, best.Round(100*time.Microsecond))
		if best > most {
			t.Errorf("%s takes %v, want %v at most", path, best, most)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", child.Process.Pid))
	ok(t, err)
	peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(status))[1]
	t.Logf("most memory: %s kB", peak)
	var kB int
	fmt.Sscan(peak, &kB)
	if kB > 400<<10 {
		t.Errorf("it takes %d MiB, want 400 at most", kB>>10)
	}
}

func waitLong(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > 5*time.Minute {
			t.Fatalf("not within 5 minutes: %s", what)
		}
	}
}

// serveForScale is the console that is measured. It ends with its standard input.
func serveForScale(t *testing.T, addr string) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _, _ = bufio.NewReader(os.Stdin).ReadByte(); cancel() }()
	s, err := config.Defaults()
	ok(t, err)
	s.NATSURL, s.RedisURL = os.Getenv("NATS_URL"), os.Getenv("REDIS_URL")
	ok(t, Run(ctx, Config{Addr: addr}, s, zerolog.Nop()))
}

// fill stores the results of many orders, and requests of some that a worker has taken and
// not finished.
func (e *env) fill(finished, unfinished int) {
	e.T.Helper()
	store := func(n int, what func(i int) (subject string, payload []byte)) {
		for i := range n {
			subject, payload := what(i)
			_, err := e.JS.PublishAsync(subject, payload)
			ok(e.T, err)
			if i%2000 == 1999 {
				<-e.JS.PublishAsyncComplete()
			}
		}
		<-e.JS.PublishAsyncComplete()
	}
	store(finished, func(i int) (string, []byte) {
		r := finishedRow(i, time.Now().Add(-time.Duration(finished-i)*time.Millisecond))
		no := fmt.Sprintf("F-%08d", i)
		payload, err := json.Marshal(map[string]any{
			"outTradeNo": no, "iccid": r.ICCID, "packageCode": fmt.Sprintf("PACKAGE-%d", i%100), "status": r.State, "code": "200", "message": "success",
			"orderNumber": r.OrderNumber, "attempts": 1, "receivedAt": r.Received, "completedAt": r.Since,
		})
		ok(e.T, err)
		return "orders.package.result." + string(r.State) + "." + no, payload
	})
	store(unfinished, func(i int) (string, []byte) {
		return "orders.package.request", []byte(request(fmt.Sprintf("U-%08d", i)))
	})
	c, err := e.JS.Consumer(e.T.Context(), "ORDERS", "order-worker")
	ok(e.T, err)
	for taken := 0; taken < unfinished; {
		batch, err := c.Fetch(1000, jetstream.FetchMaxWait(5*time.Second))
		ok(e.T, err)
		for range batch.Messages() {
			taken++
		}
	}
	if strings.Contains(e.log.String(), "panic") {
		e.T.Fatal(e.log.String())
	}
}

// http200 is the body at an address, if the answer is 200.
func http200(address string) (string, error) {
	res, err := http.Get(address)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, res.Status)
	}
	return string(text), err
}
