package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/operator"
	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe/storetest"
)

// TestDeskNeverSaysNothingWasSent: of an order that may have been bought neither status nor
// list says that nothing was sent, whatever was lost or cannot be read.
func TestDeskNeverSaysNothingWasSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env   map[string]string
		lose  func(d *desk)
		state operator.State
		fails bool // something cannot be asked
	}{
		"the journal cannot be read, Redis is empty": {lose: func(d *desk) {
			d.doubt(d.store(), "A", 0)
			d.OK(d.RDB.FlushAll(t.Context()).Err())
			d.OK(d.JS.DeleteStream(t.Context(), "ORDER_JOURNAL"))
		}, state: operator.Unknown, fails: true},
		"older than the journal remembers": {env: map[string]string{"JOURNAL_TTL": "1s"}, lose: func(d *desk) {
			d.publish("A")
			time.Sleep(1100 * time.Millisecond)
		}, state: operator.InDoubt},
		"its worker died, the journal was made anew": {lose: func(d *desk) {
			c := d.claim(d.store(), "A", 0)
			_, err := d.store().Intent(t.Context(), c, time.Now().Add(-time.Minute), time.Now().Add(-time.Minute))
			d.OK(err)
			d.OK(d.JS.DeleteStream(t.Context(), "ORDER_JOURNAL"))
			d.Worker()
		}, state: operator.InDoubt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, c.env)
			c.lose(d)
			d.take(1)
			status, out, _ := d.do("status", "A")
			if want := "A  " + string(c.state) + ": "; !strings.HasPrefix(out, want) || strings.Contains(out, "nothing was sent") || (status != statusDone) != c.fails {
				t.Errorf("%d, want %q:\n%s", status, want, out)
			}
			var l operator.List
			status, out, _ = d.do("list", "--json")
			d.OK(json.Unmarshal([]byte(out), &l))
			if len(l.Orders) != 1 || l.Orders[0].State != c.state || (status != statusDone) != c.fails {
				t.Errorf("list: %d %s", status, out)
			}
			_, out, _ = d.do("list", "--state", "in_doubt")
			if !strings.Contains(out, map[bool]string{true: "not known 1", false: "in doubt 1"}[c.fails]) || strings.Contains(out, "1 order could not be looked at") != c.fails {
				t.Errorf("list --state in_doubt:\n%s", out)
			}
			if status, out, errs := d.do("cancel", "A", "--yes"); status != statusFailed {
				t.Errorf("cancel: %d %s%s", status, out, errs)
			}
		})
	}
}

// An old request that no worker was given waits, and may have been sent for an earlier one.
func TestStatusOfAnOldRequest(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"JOURNAL_TTL": "1s"})
	d.publish("A")
	time.Sleep(1100 * time.Millisecond)
	if _, out, _ := d.do("status", "A"); !strings.HasPrefix(out, "A  queued: it waits for a worker; it may have been sent: ") {
		t.Error(out)
	}
}

// TestDeskBuyingIsNotKnown: "yes" is said only where everybody was asked.
func TestDeskBuyingIsNotKnown(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	buying := func(args ...string) string {
		_, out, _ := d.do(append([]string{"list"}, args...)...)
		first, _, _ := strings.Cut(out, "\n")
		return first
	}
	_, err := d.JS.Publish(t.Context(), "$KV.ORDER_CONTROL.ORDERS", []byte("?"))
	d.OK(err)
	if got := buying(); !strings.HasPrefix(got, "buying   NOT KNOWN: the operator's word cannot be read") {
		t.Error(got)
	}
	d.OK(d.JS.DeleteStream(t.Context(), "KV_ORDER_CONTROL"))
	if got := buying(); !strings.HasPrefix(got, "buying   NOT KNOWN: the operator's word cannot be read") {
		t.Error(got)
	}
	if got := buying("--timeout=3s", "--nats-url=nats://127.0.0.1:1"); !strings.HasPrefix(got, "buying   NOT KNOWN: NATS is away") {
		t.Error(got)
	}
	d.Worker() // the bucket again
	d.Redis.Kill(t)
	if got := buying("--timeout=9s"); !strings.HasPrefix(got, "buying   NOT KNOWN: Redis") {
		t.Error(got)
	}
}

// TestStatusShowsThePause: of an order that nobody has taken too.
func TestStatusShowsThePause(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.publish("A")
	d.do("pause", "--reason", "a \x1breason", "--by", "alice", "--yes")
	_, out, _ := d.do("status", "A")
	if !strings.Contains(out, "\n  the buying is PAUSED by alice since ") || !strings.Contains(out, `a \x1breason`) || !strings.Contains(out, "next: resume") {
		t.Error(out)
	}
	if _, out, _ := d.do("status", "NOBODY"); strings.Contains(out, "PAUSED") {
		t.Error(out)
	}
}

// TestDeskListsWhatIsNotPublished: a cancelled order is listed until a worker has published it.
func TestDeskListsWhatIsNotPublished(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.claim(d.store(), "A", 0)
	d.take(1)
	if status, _, errs := d.do("cancel", "A", "--yes"); status != statusDone {
		t.Fatal(errs)
	}
	for _, args := range [][]string{{"list"}, {"list", "--state", "failed"}} {
		if _, out, _ := d.do(args...); !strings.Contains(out, "A       failed  ") || !strings.Contains(out, "publish\n") {
			t.Errorf("%v:\n%s", args, out)
		}
	}
	if _, out, _ := d.do("status", "A"); !strings.Contains(out, ", cancelled by an operator, failed, cancelled") || strings.Contains(out, "settled") {
		t.Error(out)
	}
	if _, out, _ := d.do("list", "--state", "succeeded"); strings.Contains(out, "A       ") {
		t.Error(out)
	}
	// Its request is still in the stream: it was not acknowledged yet.
	_, err := d.JS.Publish(t.Context(), "orders.package.result.failed.A", []byte(`{"outTradeNo":"A","status":"failed","reason":"cancelled"}`))
	d.OK(err)
	if _, out, _ := d.do("list"); strings.Contains(out, "A       ") {
		t.Errorf("its event is published, and it is listed as not finished:\n%s", out)
	}
	if _, out, _ := d.do("list", "--state", "failed"); strings.Count(out, "A       ") != 1 || strings.Contains(out, "publish\n") {
		t.Errorf("of those that failed it is one:\n%s", out)
	}
}

// The event that says what became of an order is shown, however many rejected ones there are.
func TestStatusFindsTheFinalEventAmongMany(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	for i := range 101 {
		_, err := d.JS.Publish(t.Context(), "orders.package.result.rejected.A", fmt.Appendf(nil, `{"outTradeNo":"A","status":"rejected","message":"%d"}`, i))
		d.OK(err)
	}
	_, err := d.JS.Publish(t.Context(), "orders.package.result.succeeded.A", []byte(`{"outTradeNo":"A","status":"succeeded","orderNumber":"X1"}`))
	d.OK(err)
	if _, out, _ := d.do("status", "A"); !strings.HasPrefix(out, "A  succeeded") || strings.Count(out, "order number X1") != 2 {
		t.Error(out)
	}
}

// What the vendor says cannot turn the direction of writing.
func TestStatusShowsTheVendorsTextHarmlessly(t *testing.T) {
	t.Parallel()
	d := newDesk(t, map[string]string{"BACKOFF_INITIAL": "1h", "BACKOFF_MAX": "1h"}, "outTradeNo=A always: refuse code=\"77\u202egnilles\"", "outTradeNo=B always: refuse code=\"41002\" message=\"\u202e\"")
	d.Start()
	for no, state := range map[string]string{"A": "waiting", "B": "failed"} {
		d.publish(no)
		storetest.Eventually(t, no+" is refused", func() bool { return d.know(no).State == state })
		if _, out, _ := d.do("status", no); strings.Contains(out, "\u202e") || !strings.Contains(out, `\u202e`) {
			t.Errorf("%q", out)
		}
	}
}

// TestDeskSaysWhatItHasNotSearched: a list that is cut says so, and does not say that there is
// nothing.
func TestDeskSaysWhatItHasNotSearched(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	const all = 1100 // over a window of sequences, which is read whole
	const card = "8988308650100520000"
	for i := range all {
		iccid := "8988308650100524999"
		if i == 0 {
			iccid = card
		}
		msg := nats.NewMsg("orders.package.dead")
		msg.Data = fmt.Appendf(nil, `{"outTradeNo":"M-%d","iccid":"%s","packageCode":"P"}`, i, iccid)
		_, err := d.JS.PublishAsync("orders.package.request", msg.Data, jetstream.WithStallWait(time.Minute))
		d.OK(err)
		msg.Header.Set("Dead-Reason", map[bool]string{true: "conflict", false: "invalid"}[i < 50])
		_, err = d.JS.PublishMsgAsync(msg, jetstream.WithStallWait(time.Minute))
		d.OK(err)
	}
	select {
	case <-d.JS.PublishAsyncComplete():
	case <-time.After(2 * time.Minute):
		t.Fatal("the messages are not stored")
	}
	desk, err := operator.Open(t.Context(), d.Settings())
	d.OK(err)
	defer desk.Close()
	desk.ScanLimit = 1000
	var out bytes.Buffer
	letters, err := desk.Dead(t.Context(), "conflict", 0)
	d.OK(err)
	d.OK(letters.Print(&out))
	if !strings.Contains(out.String(), "0 of 1100 dead letters; ") || !strings.Contains(out.String(), " were not searched") {
		t.Errorf("%s", &out)
	}
	out.Reset()
	if err := desk.Card(t.Context(), card).Print(&out, 8); err != nil || !strings.Contains(out.String(), "among those that were searched") || !strings.Contains(out.String(), " order requests were not searched") {
		t.Errorf("%v: %s", err, &out)
	}
}

// TestDeskShowsWhatItHasRead: a list that runs out of time counts every order, and shows the
// letters that it has.
func TestDeskShowsWhatItHasRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	const all = 300
	for i := range all {
		payload := fmt.Appendf(nil, `{"outTradeNo":"M-%d","iccid":"8988308650100524999","packageCode":"P"}`, i)
		for _, subject := range []string{"orders.package.request", "orders.package.dead"} {
			_, err := d.JS.PublishAsync(subject, payload, jetstream.WithStallWait(time.Minute))
			d.OK(err)
		}
	}
	<-d.JS.PublishAsyncComplete()
	d.take(all)
	// untilWhole runs a command with more and more time until it is done, after it was cut in
	// its middle at least once: with a quarter more each time it is cut about ten times.
	untilWhole := func(check func(out string) (begun bool), args ...string) {
		cut := 0
		for timeout := 50 * time.Millisecond; ; timeout += timeout / 4 {
			status, out, _ := d.do(append(args, "--timeout", timeout.String())...)
			begun := check(out)
			if status == statusDone && cut > 0 {
				return
			}
			if status == statusDone { // it was not cut in its middle: again, from less
				timeout /= 3
			}
			if begun {
				cut++
			}
		}
	}
	untilWhole(func(out string) bool {
		var l operator.List
		d.OK(json.Unmarshal([]byte(out), &l))
		c := l.Counts
		sum := c.Queued + c.InProgress + c.Waiting + c.InDoubt + c.Paused + c.Unknown + c.Uncounted
		if sum > 0 && sum != all {
			t.Errorf("%d of %d orders are counted: %+v", sum, all, c)
		}
		return sum > 0
	}, "list", "--json")
	untilWhole(func(out string) bool { return strings.Count(out, "M-") > 0 }, "dead", "list", "--limit", "1000")
}

// An order that was told as failed and bought after all says so, and what to do.
func TestStatusShowsTwoFinals(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	for subject, event := range map[string]string{"failed.A": `{"outTradeNo":"A","status":"failed","reason":"expired"}`, "succeeded.A": `{"outTradeNo":"A","status":"succeeded","orderNumber":"X1"}`, "succeeded.B": `{"outTradeNo":"B","status":"succeeded","orderNumber":"X2"}`} {
		_, err := d.JS.Publish(t.Context(), "orders.package.result."+subject, []byte(event))
		d.OK(err)
	}
	const both = "an event said before that it had failed: tell those who read it"
	if _, out, _ := d.do("status", "A"); !strings.HasPrefix(out, "A  succeeded: bought; "+both) {
		t.Error(out)
	}
	if _, out, _ := d.do("status", "B"); strings.Contains(out, both) {
		t.Error(out)
	}
}

// A worker that has just started raises no alarm; one that cannot read the operator's word
// does.
func TestDeskListsWorkersThatStart(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	tell := func(id string, figures vitals.Figures) {
		figures.ID, figures.At = id, time.Now().UTC()
		value, err := json.Marshal(figures)
		d.OK(err)
		d.OK(d.RDB.HSet(t.Context(), "ORDERS:workers", id, value).Err())
	}
	for _, c := range []struct {
		first, second vitals.Figures
		want          string
	}{
		{vitals.Figures{Starting: true}, vitals.Figures{Starting: true}, "buying   starting: no worker has read the operator's word yet\n"},
		{vitals.Figures{Starting: true}, vitals.Figures{}, "buying   yes\n"},
		{vitals.Figures{Starting: true}, vitals.Figures{Unread: "away"}, "buying   NOT KNOWN: worker 2 sends nothing: away\n"},
	} {
		tell("1", c.first)
		tell("2", c.second)
		if _, out, _ := d.do("list"); !strings.HasPrefix(out, c.want) {
			t.Errorf("%s\nwant %s", out, c.want)
		}
	}
}
