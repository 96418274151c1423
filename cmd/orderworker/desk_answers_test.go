package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/operator"
	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe/storetest"
	"orderworker/upstream/sandbox"
)

// until waits until what a command prints matches every pattern.
func (d *desk) until(args string, patterns ...string) {
	d.T.Helper()
	var out string
	storetest.Eventually(d.T, args+" has "+strings.Join(patterns, " and "), func() bool {
		_, out, _ = d.do(strings.Fields(args)...)
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(out) {
				return false
			}
		}
		return true
	})
}

const clockPattern = `\d\d:\d\d:\d\d`

// TestDeskTellsOfAVendorThatIsUnclear: while the vendor answers HTTP 503 to everything, and
// before that is a pause, the list says so, and each order in doubt why it stays so.
func TestDeskTellsOfAVendorThatIsUnclear(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"UPSTREAM_RECONCILE": "lookup"}, "always: status=503", "endpoint=lookup always: status=503")
	d.StartTelling()
	if _, out, _ := d.do("list"); strings.Contains(out, "vendor ") || strings.Contains(out, "lookups ") {
		t.Errorf("nothing was asked yet:\n%s", out)
	}
	d.publish("A")
	since := clockPattern + ` \([^)]+\); last ` + clockPattern
	d.until("list", `^buying   yes\n`, `\nvendor   no clear answer to the last orders since `+since+`: HTTP 503\n`, `\nlookups  the last ones proved nothing since `+since+`: HTTP 503\n`,
		`\nA +in_doubt .* asked `+clockPattern+`: HTTP 503`)
	d.until("status A", `^A  in_doubt: .*; last lookup at `+clockPattern+`: HTTP 503`, `\n  vendor: no clear answer to the last orders since `, `\n  lookups: the last ones proved nothing since `,
		`\nredis .*, last lookup \S+: HTTP 503`)
}

// TestDeskTellsOfABlindLookup: an order that stays in doubt because the lookup does not show
// the control number is shown with that, and "not found" is not more than it is.
func TestDeskTellsOfABlindLookup(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"UPSTREAM_RECONCILE": "lookup", "RECONCILE_DELAY": "3s"}, "packageCode=LOST always: refuse code=500")
	d.StartTelling()
	d.Publish(apptest.OrderRequest("BK-7", "GOOD", ""))
	storetest.Eventually(t, "BK-7 is bought", func() bool { return d.know("BK-7").State == "succeeded" })
	time.Sleep(3100 * time.Millisecond) // it may be the control number from now on
	mode, err := sandbox.ParseLookupMode("hide=*")
	d.OK(err)
	d.OK(d.Vendor.SetLookupMode(mode))
	d.Publish(apptest.OrderRequest("A", "LOST", ""))
	const blind = "control number BK-7 is not shown"
	d.until("list", `\nlookups  the last ones proved nothing since .*: `+blind, `\nA +in_doubt .* asked `+clockPattern+`: control number BK-7 is not`)
	d.until("status A --ask-vendor", `; last lookup at `+clockPattern+`: `+blind, `\n  lookups: the last ones proved nothing since `, `\nvendor   not found, proves nothing by itself.*the workers' last lookups proved nothing since .*`+blind)
	if k := d.know("A", "--ask-vendor"); k.Vendor == nil || k.Vendor.Answer != "missing" || strings.Contains(k.Vendor.Why, "since") {
		t.Errorf("what the workers tell is in another field of the JSON: %+v", k.Vendor)
	}
	d.OK(d.Vendor.SetLookupMode(sandbox.LookupMode{}))
	storetest.Eventually(t, "lookups prove again", func() bool { _, out, _ := d.do("list"); return !strings.Contains(out, "proved nothing") })
}

// TestDeskOfAnAccountsPause: one state word for one state in list and status, and what is next
// is the end of the pause, which no operator can resume.
func TestDeskOfAnAccountsPause(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	c := d.claim(store, "HANDED-BACK", 0)
	d.OK(store.Release(t.Context(), c))
	c = d.claim(store, "REFUSED", 0)
	d.intent(store, c, time.Hour, time.Hour)
	d.OK(store.Wait(t.Context(), c, 1, 5*time.Second))
	c = d.claim(store, "LATER", 0)
	d.intent(store, c, time.Hour, time.Hour)
	d.OK(store.Wait(t.Context(), c, 1, 2*time.Hour))
	d.claim(store, "CLAIMED", 0)
	d.intent(store, d.claim(store, "SENDING", 0), time.Hour, time.Hour)
	d.take(5)
	d.publish("QUEUED")
	now := time.Now().UTC()
	d.Tell(vitals.Figures{Started: now, Pause: &vitals.Pause{Since: now, Cause: "account", Why: "refused", Code: "502", Message: "ip", NextProbe: now.Add(time.Hour)}})
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
	d := newDesk(t, map[string]string{"UPSTREAM_RECONCILE": "lookup"})
	deskStates(d)
	d.Redis.Kill(t)
	_, out, _ := d.do("list", "--timeout=9s")
	if !regexp.MustCompile(`\nDOUBT .* unknown \(Redis is away\)\n`).MatchString(out) || !regexp.MustCompile(`\nWAITING .* `+clockPattern+` send\n`).MatchString(out) {
		t.Errorf("the journal alone knows when WAITING is due:\n%s", out)
	}
	if _, out, _ := d.do("status", "DOUBT", "--timeout=9s"); !strings.Contains(out, "when it goes on is unknown (Redis is away)\n") || strings.Contains(out, "(in ") {
		t.Error(out)
	}
	var l operator.List
	_, out, _ = d.do("list", "--json", "--timeout=9s", "--state=in_doubt")
	if d.OK(json.Unmarshal([]byte(out), &l)); len(l.Orders) != 1 || !l.Orders[0].Next.At.IsZero() {
		t.Error(out)
	}
}

// TestDeskOfAnAnsweredDoubt: an order whose request was answered unclearly is in doubt at once,
// though by its time it may still be under way; the command that settles it waits for that.
func TestDeskOfAnAnsweredDoubt(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	c := d.claim(store, "A", 0)
	d.OK(store.Doubt(t.Context(), c, d.intent(store, c, time.Hour, 2*time.Hour).Doubt, time.Minute))
	d.take(1)
	for args, want := range map[string][2]string{
		"list":     {"in progress 0   waiting 0   in doubt 1", " settle\n"},
		"status A": {"A  in_doubt: it may have been bought; see orderworker settle\n", "; next: settle\n"},
	} {
		if _, out, _ := d.do(strings.Fields(args)...); !strings.Contains(out, want[0]) || !strings.Contains(out, want[1]) || strings.Contains(out, "under way") {
			t.Errorf("%s: %q is missing in\n%s", args, want, out)
		}
	}
	if status, _, errs := d.do("settle", "A", "--not-bought", "--yes"); status != statusFailed || !strings.Contains(errs, "its request may leave until") {
		t.Errorf("settle: %d %s", status, errs)
	}
}

// TestDeskOfAPauseThatEnds: when a pause ends by itself is told of each order that it holds,
// and that nobody knows whether it buys of each order that would be sent.
func TestDeskOfAPauseThatEnds(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.publish("A")
	d.do("pause", "--reason=r", "--for=1h", "--yes")
	d.until("list", `\nA +queued .* `+clockPattern+` resume\n`)
	d.until("status A", `; the pause ends `+clockPattern+` \(in [^)]+\), or when somebody resumes\n`, `next: `+clockPattern+` resume\n`)
	_, err := d.JS.Publish(t.Context(), "$KV.ORDER_CONTROL.ORDERS", []byte("?"))
	d.OK(err)
	d.until("list", `^buying   NOT KNOWN: the operator's word`, `\nA +queued .* unknown \(whether it buys is not known\)\n`)
	d.until("status A", `; when it goes on is unknown \(whether it buys is not known\)\n`, `\n  the buying is NOT KNOWN: the operator's word`, `next: unknown\n`)
}
