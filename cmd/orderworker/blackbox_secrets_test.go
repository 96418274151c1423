package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The passwords of the servers; each has a slash, which URLs must encode.
const (
	natsPassword  = "nats-hunter/2"
	redisPassword = "redis-hunter/2"

	encodedNATSPassword  = "nats-hunter%2F2"
	encodedRedisPassword = "redis-hunter%2F2"
)

// secret matches what no output may contain: the passwords above in any encoding, the
// vendor's secret, and whatever looks like a signature, which has 40 hex digits.
var secret = regexp.MustCompile(`nats-hunter|redis-hunter|` + vendorSecret + `|\b[0-9A-Fa-f]{40}\b`)

// spills collects the lines of the workers' output that contain secrets. Only the
// goroutine of watchPages uses it until that has ended.
type spills struct {
	lines     []string
	answers   map[string]int // of each page of the admin server, by status
	stopWatch func()
}

// read searches text for secrets; where says what the text is.
func (s *spills) read(where string, text io.Reader) {
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if found := secret.FindString(lines.Text()); found != "" {
			s.lines = append(s.lines, fmt.Sprintf("%s shows %s: %.300s", where, found, lines.Text()))
		}
	}
	if err := lines.Err(); err != nil {
		s.lines = append(s.lines, fmt.Sprintf("%s: not read to its end: %v", where, err))
	}
}

// addresses are the addresses of the admin servers. More are added while they are watched.
type addresses struct {
	mu   sync.Mutex
	list []string
}

func (a *addresses) add(addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, addr)
}

func (a *addresses) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

// watchPages reads the workers' pages again and again, also while their servers are
// unavailable: then /readyz shows an error, which could contain a secret.
func (w *world) watchPages() {
	w.spilled.answers = map[string]int{}
	client := &http.Client{Timeout: time.Second} // a frozen worker does not answer
	ended, done := make(chan struct{}), make(chan struct{})
	w.spilled.stopWatch = sync.OnceFunc(func() { close(ended); <-done })
	w.t.Cleanup(w.spilled.stopWatch)
	go func() {
		defer close(done)
		for {
			for _, addr := range w.admins.all() {
				for _, page := range []string{"/readyz", "/metrics"} {
					response, err := client.Get("http://" + addr + page)
					if err != nil {
						continue // killed or frozen
					}
					w.spilled.read(page, response.Body)
					_ = response.Body.Close()
					w.spilled.answers[fmt.Sprint(page, " ", response.StatusCode)]++
				}
			}
			select {
			case <-ended:
				return
			case <-time.After(250 * time.Millisecond): // between two looks
			}
		}
	}()
}

// readLogs searches the workers' logs, after they have stopped.
func (w *world) readLogs() {
	w.t.Helper()
	for _, p := range w.workers {
		file, err := os.Open(p.log)
		if err != nil {
			w.t.Fatal(err)
		}
		w.spilled.read(p.name+"'s log", file)
		_ = file.Close()
	}
}

// readShown searches what the workers stored, and the output of orderworker status, with
// and without servers.
func (w *world) readShown() {
	w.t.Helper()
	w.spilled.stopWatch()
	for _, stream := range []string{"ORDER_RESULTS", "ORDERS_DEAD", "ORDER_JOURNAL"} {
		w.messages(stream, func(msg *jetstream.RawStreamMsg) {
			w.spilled.read("a message in "+stream, strings.NewReader(fmt.Sprint(msg.Subject, msg.Header)))
			w.spilled.read("a message in "+stream, strings.NewReader(string(msg.Data)))
		})
	}
	for _, more := range [][]string{
		{}, {"--json"}, {"--ask-vendor"},
		{"--timeout=500ms", "--nats-url=nats://u:" + encodedNATSPassword + "@127.0.0.1:1"},
		{"--timeout=500ms", "--redis-url=redis://:" + encodedRedisPassword + "@127.0.0.1:1"},
	} {
		c := exec.Command(w.programs.orderworker, append([]string{"status", w.orders[0].OutTradeNo}, more...)...)
		c.Env = w.workers[0].env
		text, err := c.CombinedOutput()
		asked := slices.Contains(more, "--ask-vendor") // who may answer with a fault
		if away := len(more) == 2; away != (err != nil) && !asked {
			w.t.Errorf("status %v: %v\n%s", more, err, text)
		}
		w.spilled.read("status", strings.NewReader(string(text)))
	}
	w.t.Logf("searched for secrets: streams, status, pages %v, and the logs", w.spilled.answers)
}

// The search for secrets must find one, wherever it stands.
func TestSpillsAreFound(t *testing.T) {
	const sign = "0123456789ABCDEF0123456789ABCDEF01234567"
	for text, want := range map[string]int{
		"":                    0,
		"all is well\nreally": 0,
		"order " + sign[:32] + " " + sign + "89ABCDEF": 0, // an order's number, a longer sum
		`{"error":"dial nats://u:nats-hunter%2F2@a"}`:  1,
		"fine\nredis-hunter/2\nfine":                   1,
		"the secret is " + vendorSecret + ".":          1,
		`"sign":"` + sign + `"`:                        1,
		"sign=" + strings.ToLower(sign) + "&appkey=x":  1,
		sign + "\n" + sign:                             2,
		strings.Repeat("x", 5<<20):                     1, // too long to be searched
	} {
		var s spills
		s.read("it", strings.NewReader(text))
		if len(s.lines) != want {
			t.Errorf("%d found in %.100q, want %d", len(s.lines), text, want)
		}
	}
}
