package worker_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
)

// lines is a log of JSON lines.
type lines struct {
	mu  sync.Mutex
	all []map[string]any
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var line map[string]any
	if err := json.Unmarshal(p, &line); err != nil {
		return 0, err
	}
	l.all = append(l.all, line)
	return len(p), nil
}

// errors are the lines of level error.
func (l *lines) errors() (found []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.all {
		if line["level"] == "error" {
			found = append(found, line)
		}
	}
	return found
}

// An order whose event a store refuses for good takes no free slot. The only slot
// goes to the next order, and the order request comes again each minute, with an
// error line each time, until the limit is lifted.
func TestUnrecoverableOrderTakesNoFreeSlot(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("套", 128)
	for name, c := range map[string]struct {
		stream  string
		limit   func(w *world, config *jetstream.StreamConfig)
		payload string // that is refused
		number  string
		why     string
		bought  int // of the number, once it is mended
	}{
		"dead letters are full": {"ORDERS_DEAD", func(w *world, config *jetstream.StreamConfig) {
			w.publish("no JSON") // the one that there is room for
			w.idle()
			config.MaxMsgs, config.Discard = 1, jetstream.DiscardNew
		}, `{"outTradeNo":"BAD"}`, "BAD", "maximum messages exceeded", 0},
		"an event is too long": {"ORDER_RESULTS", func(w *world, config *jetstream.StreamConfig) {
			last := w.all("ORDER_RESULTS")[0]
			size := len(last.Data) + 200
			for name, values := range last.Header {
				size += len(name) + len(values[0]) + 4
			}
			config.MaxMsgSize = int32(size)
		}, request("LONG", long), "LONG", "message size exceeds maximum allowed", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			log := new(lines)
			w.size, w.log.out = 1, log
			w.start()
			w.publish(request("FIRST", "P"))
			w.idle()
			stream, err := w.js.Stream(t.Context(), c.stream)
			if err != nil {
				t.Fatal(err)
			}
			config := stream.CachedInfo().Config
			unlimited := config
			c.limit(w, &config)
			alter := func(config jetstream.StreamConfig) {
				t.Helper()
				if _, err := w.js.UpdateStream(t.Context(), config); err != nil {
					t.Fatal(err)
				}
			}
			alter(config)
			w.publish(c.payload)
			for try := 1; try <= 2; try++ {
				storetest.Eventually(t, "it was refused", func() bool { return len(log.errors()) == try })
				line := log.errors()[try-1]
				next, err := time.Parse(time.RFC3339, line["next"].(string))
				if wait := time.Until(next); err != nil || wait < 50*time.Second || wait > time.Minute {
					t.Errorf("again in %v (%v), want a minute", wait, err)
				}
				if text, _ := line["error"].(string); line["step"] != "interrupted" || line["out_trade_no"] != c.number || !strings.Contains(text, c.why) {
					t.Errorf("error line %v, want %s and %q", line, c.number, c.why)
				}
				other := "OTHER" + string(rune('0'+try))
				w.publish(request(other, "P"))
				w.until(other+" goes on", time.Minute, func() bool { return len(w.vendor.Purchases(other)) == 1 && w.count("ORDERS") == 1 })
				if try == 2 {
					alter(unlimited)
				}
				// A minute later, without waiting for it: a consumer that is made anew delivers at once.
				if err := w.js.DeleteConsumer(t.Context(), "ORDERS", "order-worker"); err != nil {
					t.Fatal(err)
				}
			}
			w.idle()
			w.wantPurchases(c.number, c.bought)
			if n := len(log.errors()); n != 2 {
				t.Errorf("%d error lines, want one for each of two tries", n)
			}
		})
	}
}
