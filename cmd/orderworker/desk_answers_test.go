package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"orderworker/cmd/internal/app"
	"orderworker/cmd/internal/operator"
	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe/storetest"
	"orderworker/upstream/sandbox"
)

// startTelling is start for a worker that tells Redis of itself.
func (d *desk) startTelling() {
	d.t.Helper()
	w := d.worker()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { app.PublishVitals(ctx, d.rdb, "ORDERS", w) })
	all.Go(func() {
		if err := w.Run(ctx); err != nil {
			d.t.Errorf("worker: %v", err)
		}
	})
	d.t.Cleanup(func() { cancel(); all.Wait() })
}

// tell tells Redis of a worker until the test ends.
func (d *desk) tell(f vitals.Figures) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { vitals.Publish(ctx, d.rdb, "ORDERS", "w7", func() vitals.Figures { return f }) })
	d.t.Cleanup(func() { cancel(); all.Wait() })
	storetest.Eventually(d.t, "the worker is told of", func() bool { return d.rdb.HLen(context.Background(), "ORDERS:workers").Val() == 1 })
}

// until waits until what a command prints matches every pattern.
func (d *desk) until(args string, patterns ...string) {
	d.t.Helper()
	var out string
	storetest.Eventually(d.t, args+" has "+strings.Join(patterns, " and "), func() bool {
		_, out, _ = d.do(strings.Fields(args)...)
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(out) {
				return false
			}
		}
		return true
	})
}

// publishFor stores a request for a package.
func (d *desk) publishFor(no, code string) {
	d.t.Helper()
	_, err := d.js.Publish(d.t.Context(), "orders.package.request", fmt.Appendf(nil, `{"outTradeNo":%q,"iccid":"8988308650100524999","packageCode":%q}`, no, code))
	d.ok(err)
}

const clockPattern = `\d\d:\d\d:\d\d`

// TestDeskTellsOfAVendorThatIsUnclear: while the vendor answers HTTP 503 to everything, and
// before that is a pause, the list says so, and each order in doubt why it stays so.
func TestDeskTellsOfAVendorThatIsUnclear(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"UPSTREAM_RECONCILE": "lookup"}, "always: status=503", "endpoint=lookup always: status=503")
	d.startTelling()
	if _, out, _ := d.do("list"); strings.Contains(out, "vendor ") || strings.Contains(out, "lookups ") {
		t.Errorf("nothing was asked yet:\n%s", out)
	}
	d.publish("A")
	since := clockPattern + ` \([^)]+\); last ` + clockPattern
	d.until("list", `^buying   yes\n`, `\nvendor   no clear answer to orders since `+since+`: HTTP 503\n`, `\nlookups  prove nothing since `+since+`: HTTP 503\n`,
		`\nA +in_doubt .* HTTP 503 \(asked `+clockPattern+`\)`)
	d.until("status A", `^A  in_doubt: .*; last lookup: HTTP 503 \(asked `+clockPattern+`\)`, `\n  vendor: no clear answer to orders since `, `\n  lookups: prove nothing since `,
		`\nredis .*, last lookup \S+: HTTP 503`)
}

// TestDeskTellsOfABlindLookup: an order that stays in doubt because the lookup does not show
// the control number is shown with that, and "not found" is not more than it is.
func TestDeskTellsOfABlindLookup(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"UPSTREAM_RECONCILE": "lookup", "RECONCILE_DELAY": "3s"}, "packageCode=LOST always: refuse code=500")
	d.startTelling()
	d.publishFor("BK-7", "GOOD")
	storetest.Eventually(t, "BK-7 is bought", func() bool { return d.know("BK-7").State == "succeeded" })
	time.Sleep(3100 * time.Millisecond) // it may be the control number from now on
	mode, err := sandbox.ParseLookupMode("hide=*")
	d.ok(err)
	d.ok(d.vendor.SetLookupMode(mode))
	d.publishFor("A", "LOST")
	const blind = "control number BK-7 is not shown"
	d.until("list", `\nlookups  prove nothing since .*: `+blind, `\nA +in_doubt .* `+blind)
	d.until("status A --ask-vendor", `; last lookup: `+blind, `\n  lookups: prove nothing since `, `\nvendor   not found, proves nothing by itself.*the workers' lookups prove nothing since .*`+blind)
	d.ok(d.vendor.SetLookupMode(sandbox.LookupMode{}))
	storetest.Eventually(t, "lookups prove again", func() bool { _, out, _ := d.do("list"); return !strings.Contains(out, "prove nothing") })
}

// TestDeskOfAnAccountsPause: one state word for one state in list and status, and what is next
// is the end of the pause, which no operator can resume.
func TestDeskOfAnAccountsPause(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	c := d.claim(store, "HANDED-BACK", 0)
	d.ok(store.Release(t.Context(), c))
	c = d.claim(store, "REFUSED", 0)
	d.intent(store, c, time.Hour, time.Hour)
	d.ok(store.Wait(t.Context(), c, 1, 5*time.Second))
	c = d.claim(store, "LATER", 0)
	d.intent(store, c, time.Hour, time.Hour)
	d.ok(store.Wait(t.Context(), c, 1, 2*time.Hour))
	d.claim(store, "CLAIMED", 0)
	d.intent(store, d.claim(store, "SENDING", 0), time.Hour, time.Hour)
	d.take(5)
	d.publish("QUEUED")
	now := time.Now().UTC()
	d.tell(vitals.Figures{Started: now, Pause: &vitals.Pause{Since: now, Cause: "account", Why: "refused", Code: "502", Message: "ip", NextProbe: now.Add(time.Hour)}})
	_, listed, _ := d.do("list")
	for no, want := range map[string][2]string{
		"HANDED-BACK": {"paused", "probe"}, "REFUSED": {"paused", "probe"}, "LATER": {"waiting", "send"},
		"CLAIMED": {"claimed", "-"}, "SENDING": {"claimed", "-"}, "QUEUED": {"queued", "probe"},
	} {
		if !regexp.MustCompile(`\n` + no + ` +` + want[0] + ` .* (\S+ )?` + want[1] + `\n`).MatchString(listed) {
			t.Errorf("%s is not %v:\n%s", no, want, listed)
		}
		_, out, _ := d.do("status", no)
		if !strings.HasPrefix(out, no+"  "+want[0]+": ") || strings.Contains(out, "next: ") && !regexp.MustCompile(`next: `+clockPattern+` `+want[1]+`\n`).MatchString(out) ||
			!strings.Contains(out, "\n  the buying is PAUSED since ") {
			t.Errorf("want %v:\n%s", want, out)
		}
		if k := d.know(no); k.State != want[0] {
			t.Errorf("%s: %s, want %s", no, k.State, want[0])
		}
	}
}

// TestDeskOfWhatIsSettled: what an operator has settled is told of as that until a worker
// has published it.
func TestDeskOfWhatIsSettled(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.doubt(d.store(), "A", 0)
	d.doubt(d.store(), "B", 0)
	d.take(2)
	for _, args := range []string{"settle A --bought --order-number=N1 --yes", "settle B --not-bought --yes"} {
		if status, _, errs := d.do(strings.Fields(args)...); status != statusDone {
			t.Fatal(errs)
		}
	}
	d.until("list", `\nA +succeeded .* settled as bought, not published yet +publish\n`, `\nB +waiting .* settled as not bought, not sent again yet +`+clockPattern+` send\n`)
	d.until("status A", `^A  succeeded: bought; settled as bought, not published yet\n`, `next: publish\n`)
	d.until("status B", `^B  waiting: not bought so far`, `settled +an operator said that it was not bought; next: `+clockPattern+` send\n`)
}

// TestDeskInventsNoTime: what comes next, and when, is unknown while the store is away that
// knows it.
func TestDeskInventsNoTime(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	deskStates(d)
	d.redis.Kill(t)
	_, out, _ := d.do("list", "--timeout=9s")
	if !regexp.MustCompile(`\nDOUBT .* unknown \(Redis is away\)\n`).MatchString(out) || !regexp.MustCompile(`\nWAITING .* `+clockPattern+` send\n`).MatchString(out) {
		t.Errorf("the journal alone knows when WAITING is due:\n%s", out)
	}
	if _, out, _ := d.do("status", "DOUBT", "--timeout=9s"); !strings.Contains(out, "when it goes on is unknown (Redis is away)\n") || strings.Contains(out, "(in ") {
		t.Error(out)
	}
	var l operator.List
	_, out, _ = d.do("list", "--json", "--timeout=9s", "--state=in_doubt")
	if d.ok(json.Unmarshal([]byte(out), &l)); len(l.Orders) != 1 || !l.Orders[0].Next.At.IsZero() {
		t.Error(out)
	}
}
