package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// wantAttempts checks that n orders succeeded by one call each that counted.
func (w *world) wantFirstAttempts(n int) {
	w.t.Helper()
	if most := w.allSucceeded(n); most != 1 {
		w.t.Errorf("an order took %d attempts, want 1: the account's trouble spends none", most)
	}
}

// begun waits until orders are paused, and returns how the log says why.
func (w *world) begun() (why string) {
	w.t.Helper()
	w.until("orders are paused", time.Minute, func() bool { return w.paused() && w.log.events("account paused") > 0 })
	lines := w.log.find(func(l logLine) bool { return l.Message == "account paused" && l.Level == "error" })
	if len(lines) != 1 {
		w.t.Fatalf("%d lines say that the account is paused, want 1", len(lines))
	}
	return lines[0].text
}

// nextProbe is when the next one is due.
func (w *world) nextProbe() time.Time {
	return time.UnixMilli(int64(1000 * w.metric("orderworker_pause_next_probe_timestamp_seconds", "")))
}

// An expired secret on a quiet account: the vendor refuses the signature by a
// code that is in no list, of orders and of lookups. One order and one lookup
// show it; no attempt is spent, and a new secret is tried at once.
func TestExpiredSecretOnAQuietAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.secret = "expired"
	w.start()
	w.publish(request("A", "P"))
	why := w.begun()
	if got := w.vendor.Totals(); got.Calls[sandbox.EndpointOrder] != 1 || got.Calls[sandbox.EndpointLookup] != 1 || got.RefusedSignatures != 2 {
		t.Errorf("paused after %v, want one call and one lookup", got.Calls)
	}
	if !strings.Contains(why, `"cause":"refused"`) || !strings.Contains(why, sandbox.CodeSign) {
		t.Errorf("the log does not say why: %s", why)
	}
	w.publish(request("B", "P"))
	w.publish(request("C", "P"))
	var due time.Time
	w.until("the next probe is far away", time.Minute, func() bool {
		due = w.nextProbe()
		return time.Until(due) > 3*time.Second
	})
	if got := w.vendor.Totals(); got.Calls[sandbox.EndpointOrder] > 5 {
		t.Errorf("%v while the account is paused, want few", got.Calls)
	}
	run := w.workers[0]
	run.client.SetSecret(secret)
	run.SecretChanged()
	w.until("the pause is over", time.Minute, func() bool { return !w.paused() })
	w.idle()
	if probed := w.vendor.Book().Purchases[0].At; probed.After(due) {
		t.Errorf("bought %v after the next probe was due, want a probe at once", probed.Sub(due))
	}
	w.wantFirstAttempts(3)
}

// Codes about the account pause at the first one, spend no attempt, and the pause
// ends by itself.
func TestAccountCodesPause(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"403", "502", "45112"} {
		for _, lookupWorks := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, the lookup works: %v", code, lookupWorks), func(t *testing.T) {
				t.Parallel()
				endpoint := "order"
				if !lookupWorks {
					endpoint = "any"
				}
				w := newWorld(t, fmt.Sprintf("endpoint=%s: refuse code=%s", endpoint, code))
				w.rules.MaxAttempts = 1
				w.start()
				w.publish(request("A", "P"))
				why := w.begun()
				if calls := w.calls(); calls != 1 {
					t.Errorf("paused after %d calls, want 1", calls)
				}
				if !strings.Contains(why, `"cause":"account"`) || !strings.Contains(why, `"code":"`+code+`"`) {
					t.Errorf("the log does not say why: %s", why)
				}
				for i := range 2 {
					w.publish(request(fmt.Sprint("B", i), "P"))
				}
				w.until("there were probes by orders", time.Minute, func() bool { return w.calls() >= 3 })
				got := w.vendor.Totals().Calls
				orders, lookups := got[sandbox.EndpointOrder]-1, got[sandbox.EndpointLookup]
				if inTurn := lookups == orders || lookups == orders+1; lookupWorks && lookups != 1 || !lookupWorks && !inTurn {
					t.Errorf("%d probes by orders, %d by lookups", orders, lookups)
				}
				if err := w.vendor.SetRules(nil); err != nil {
					t.Fatal(err)
				}
				w.until("all orders are final", time.Minute, func() bool { return w.waiting() == 0 })
				w.wantFirstAttempts(3)
				if w.paused() || !w.nextProbe().Equal(time.UnixMilli(0)) {
					t.Error("the pause is not over")
				}
			})
		}
	}
}

// While the account is paused, orders wait in the stream: few are pulled, and none
// takes a free slot. Work that sends no order goes on.
func TestPausedOrdersWaitInTheStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "packageCode=DOUBT first=1 buy: hang", "packageCode=DOUBT: pass", "endpoint=order: refuse code=502", "endpoint=lookup for=4s: status=503")
	w.size, w.wait = 32, 30*time.Second
	w.rules.ReconcileDelay = 10 * time.Second // the first lookup of an order in doubt after 1 s
	w.start()
	w.publish(request("D", "DOUBT")) // in doubt when the pause begins
	w.until("D is in doubt", time.Minute, func() bool { return len(w.log.doubts("D")) == 1 })
	w.publish(request("A", "P"))
	w.begun()
	expires := time.Now().Add(time.Second).Format(time.RFC3339Nano)
	w.publish(fmt.Sprintf(`{"outTradeNo":"E","iccid":"8988308650100524999","packageCode":"P","expiresAt":%q}`, expires))
	w.until("E has expired and D was found, in the pause", time.Minute, func() bool { return w.count("ORDER_RESULTS") == 2 })
	w.publishMany(300, "N", onePackage)
	delivered := func() int {
		c, err := w.js.Consumer(t.Context(), "ORDERS", "order-worker")
		if err != nil {
			t.Fatal(err)
		}
		return int(c.CachedInfo().Delivered.Consumer)
	}
	begun, before, busy, looks := time.Now(), delivered(), 0, 0
	var took time.Duration
	w.until("10 s have passed", time.Minute, func() bool {
		looks++
		if w.metric("orderworker_in_progress", "") > 0 {
			busy++
		}
		took = time.Since(begun)
		return took > 10*time.Second
	})
	pulled := delivered() - before
	t.Logf("%d messages were pulled in %v by %d slots; orders held a slot in %d of %d looks", pulled, took.Round(time.Millisecond), w.size, busy, looks)
	if most := w.size * (int(took/(5*time.Second)) + 2); pulled > most || pulled < w.size {
		t.Errorf("%d messages were pulled in %v, want at most %d in 5 s", pulled, took, w.size)
	}
	if 10*busy > 9*looks { // an order that waits in its slot is seen in every look
		t.Errorf("orders held a slot in %d of %d looks", busy, looks)
	}
	for _, r := range w.results() {
		switch {
		case r.OutTradeNo == "D" && r.Status == worker.Succeeded && r.Reconciled:
		case r.OutTradeNo == "E" && r.Status == worker.Failed && r.Reason == worker.Expired && r.Attempts == 0:
		default:
			t.Errorf("%+v", r)
		}
	}
}
