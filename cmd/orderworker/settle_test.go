package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/storetest"
)

// bothJournals runs the test with the journal in JetStream and in Redis.
func bothJournals(t *testing.T, test func(t *testing.T, env map[string]string)) {
	for name, ttl := range map[string]string{"JetStream": "24h", "Redis": "0"} {
		t.Run("journal in "+name, func(t *testing.T) {
			t.Parallel()
			test(t, map[string]string{"JOURNAL_TTL": ttl})
		})
	}
}

func TestSettledAsBoughtIsPublishedAndNotSentAgain(t *testing.T) {
	t.Parallel()
	bothJournals(t, func(t *testing.T, env map[string]string) {
		d := newDesk(t, env, "first=1 buy: hang")
		stop := d.inDoubt("A.>")
		stop() // it looks again within seconds, which a busy machine may take for the next lines
		status, out, errs := d.do("settle", "--yes", "A.>", "--bought", "--order-number", "N-1", "--order-id=7")
		if status != statusDone || errs != "" || !strings.HasPrefix(out, "A.> is settled as bought, order number N-1: the worker publishes the result when ") {
			t.Fatalf("%d\n%s%s", status, out, errs)
		}
		if k := d.know("A.>"); k.State != "succeeded" || k.Request.State != "waiting" || len(k.Results.Events) != 1 {
			t.Errorf("before the worker looks: %+v", k)
		}
		d.redeliver("A.>")
		d.Start()
		storetest.Eventually(t, "the request is acknowledged", func() bool { return d.count("ORDERS") == 0 })

		k := d.know("A.>")
		if k.State != "succeeded" || k.Redis.Phase != dedupe.StateFinal || k.Journal.State != dedupe.StateFinal || k.Request.State != "gone" || len(k.Results.Events) != 2 {
			t.Fatalf("%+v", k)
		}
		e := k.Results.Events[1]
		got := regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`).ReplaceAllString(string(e.Event), "TIME")
		const want = `{"outTradeNo":"A.>","iccid":"8988308650100524999","packageCode":"P","status":"succeeded","code":"200",` +
			`"orderNumber":"N-1","orderId":7,"attempts":1,"reconciled":true,"receivedAt":TIME,"completedAt":TIME}`
		if e.Status != "succeeded" || e.ID != "A.>.succeeded" || got != want {
			t.Errorf("event %s\n%s\nwant\n%s", e.ID, got, want)
		}
		if received := k.Results.Events[0].Event; !bytes.Contains(received, receivedAt(t, e.Event)) {
			t.Errorf("received at another time than in\n%s\nof\n%s", e.Event, received)
		}
		if d.calls() != 1 {
			t.Errorf("%d calls, want 1", d.calls())
		}
		if status, _, errs := d.do("settle", "--yes", "A.>", "--not-bought"); status != statusFailed || !strings.Contains(errs, "it has its final result") {
			t.Errorf("settled again: %d %s", status, errs)
		}
	})
}

// receivedAt is that field of an event.
func receivedAt(t *testing.T, event []byte) []byte {
	t.Helper()
	m := regexp.MustCompile(`"receivedAt":"[^"]+"`).Find(event)
	if m == nil {
		t.Fatalf("no receivedAt in %s", event)
	}
	return m
}

func TestSettledAsNotBoughtIsSentAgain(t *testing.T) {
	t.Parallel()
	bothJournals(t, func(t *testing.T, env map[string]string) {
		d := newDesk(t, env, "first=1: hang")
		stop := d.inDoubt("A")
		stop() // as above
		status, out, errs := d.do("settle", "--yes", "--not-bought", "A")
		if status != statusDone || errs != "" || !strings.HasPrefix(out, "A is settled as not bought: the worker sends it again ") {
			t.Fatalf("%d\n%s%s", status, out, errs)
		}
		if k := d.know("A"); k.State != "waiting" || k.Journal.State != dedupe.StateReady {
			t.Errorf("before the worker looks: %+v", k)
		}
		d.redeliver("A")
		d.Start()
		storetest.Eventually(t, "the request is acknowledged", func() bool { return d.count("ORDERS") == 0 })
		bought := d.Vendor.Purchases("A")
		if k := d.know("A"); k.State != "succeeded" || len(bought) != 1 || d.calls() != 2 ||
			!strings.Contains(string(k.Redis.Result), bought[0].OrderNumber) || !strings.Contains(string(k.Redis.Result), `"reconciled":false`) {
			t.Errorf("%+v after %d calls and %d purchases, want 2 and 1", k, d.calls(), len(bought))
		}
	})
}

func TestSettledAsNotBoughtButExpired(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	d.doubt(store, "A", d.publish("A", `,"expiresAt":"2020-01-01T00:00:00Z"`))
	status, out, errs := d.do("settle", "--yes", "--not-bought", "A")
	if status != statusDone || !strings.HasPrefix(out, "A is settled as not bought, and has expired: the worker publishes it as failed") {
		t.Fatalf("%d\n%s%s", status, out, errs)
	}
	d.redeliver("A")
	d.Start()
	storetest.Eventually(t, "the request is acknowledged", func() bool { return d.count("ORDERS") == 0 })
	if k := d.know("A"); k.State != "failed" || !strings.Contains(string(k.Redis.Result), `"reason":"expired"`) || d.calls() != 0 {
		t.Errorf("%+v after %d calls", k, d.calls())
	}
}

// Refusals before the doubt count in the result.
func TestSettledCountsRefusals(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	c := d.claim(store, "A", 0)
	d.intent(store, c, -time.Minute, -time.Minute)
	d.OK(store.Wait(t.Context(), c, 2, 0))
	c = d.claim(store, "A", c.Seq)
	sent := d.intent(store, c, -time.Minute, -time.Minute)
	c.Refusals = 3 // as a resend that was refused
	d.OK(store.Doubt(t.Context(), c, sent.Doubt, time.Hour))
	if status, _, errs := d.do("settle", "--yes", "A", "--bought", "--order-number=N"); status != statusDone {
		t.Fatal(errs)
	}
	if k := d.know("A"); !strings.Contains(string(k.Journal.Result), `"attempts":4`) {
		t.Errorf("result %s, want 4 attempts", k.Journal.Result)
	}
}

// If the request named by the journal was removed, the one of the order's last delivery is
// used.
func TestSettledByAnotherRequestOfTheOrder(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	d.doubt(store, "A", 999)
	d.OK(d.RDB.HSet(t.Context(), "ORDERS:order:A", "seq", d.publish("A")).Err())
	if status, _, errs := d.do("settle", "--yes", "A", "--bought", "--order-number=N"); status != statusDone {
		t.Error(errs)
	}
}

func TestSettleRefuses(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	ctx := t.Context()
	intent := func(no string, sendBy, over time.Duration) *dedupe.Claim {
		c := d.claim(store, no, 0)
		c.Doubt = d.intent(store, c, sendBy, over).Doubt
		return c
	}
	park := func(c *dedupe.Claim) { d.OK(store.Doubt(ctx, c, c.Doubt, time.Hour)) }

	d.claim(store, "CLAIMED", 0)
	d.OK(store.Wait(ctx, intent("WAITING", 0, 0), 1, time.Hour))
	done := intent("FINAL", 0, 0)
	if _, err := store.Finish(ctx, done, []byte(`{"status":"succeeded"}`), true); err != nil {
		t.Fatal(err)
	}
	forgotten := intent("FORGOTTEN", 0, 0)
	d.OK(store.Remember(ctx, forgotten, []byte(`{"status":"failed"}`)))
	park(intent("LEAVING", time.Hour, time.Hour))
	park(intent("TRAVELLING", 0, time.Hour))
	intent("HELD", -time.Minute, -time.Minute)
	bought := intent("BOUGHT", -time.Minute, -time.Minute)
	bought.Doubt.Bought = true
	park(bought)
	d.doubt(store, "GONE", 999)
	d.doubt(store, "SOMEBODY", d.publish("ELSE"))
	d.doubt(store, "INVALID", d.publish("INVALID", `,"renew":"x"`))
	d.doubt(store, "CHANGED", d.publish("CHANGED", `,"renew":1`))
	d.publish("NEVER-TAKEN")

	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"UNKNOWN":     {nil, "settle UNKNOWN: not in doubt: nothing is known of it"},
		"NEVER-TAKEN": {nil, "nothing is known of it"},
		"CLAIMED":     {nil, "settle CLAIMED: not in doubt: it was never sent"},
		"WAITING":     {nil, "not in doubt: it waits for its next attempt"},
		"FINAL":       {nil, "not in doubt: it has its final result"},
		"FORGOTTEN":   {nil, "not in doubt: it has its final result"},
		"LEAVING":     {nil, "its request may leave until 2"},
		"TRAVELLING":  {[]string{"--upstream-timeout=1h"}, "its request may be under way until 2"},
		"HELD":        {nil, "a worker has it, for"},
		"BOUGHT":      {[]string{"--not-bought"}, "the vendor has said that it was bought"},
		"GONE":        {nil, "settle GONE: its request cannot be read (it says what was ordered, and without it the worker does not publish the result): message 999 of stream ORDERS is gone"},
		"SOMEBODY":    {[]string{"--not-bought"}, "(without it the worker does not send the order again): message"},
		"INVALID":     {nil, "is not a valid request: renew"},
		"CHANGED":     {nil, "is another order with this number"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"settle", "--yes", name}, c.args...)
			if !strings.Contains(strings.Join(args, " "), "--not-bought") {
				args = append(args, "--bought", "--order-number=N")
			}
			before, err := store.Look(ctx, name)
			d.OK(err)
			status, out, errs := d.do(args...)
			if status != statusFailed || out != "" || !strings.HasPrefix(errs, "orderworker: settle "+name+": ") || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("%d\n%s%swant 1 and %q", status, out, errs, c.want)
			}
			if after, err := store.Look(ctx, name); err != nil || after.JournalRev != before.JournalRev {
				t.Errorf("the journal went from %d to %d, %v", before.JournalRev, after.JournalRev, err)
			}
		})
	}
}

func TestSettleWithoutItsJournal(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.doubt(d.store(), "A", 0)
	stream, err := d.JS.Stream(t.Context(), "ORDER_JOURNAL")
	d.OK(err)
	d.OK(stream.Purge(t.Context()))
	status, out, errs := d.do("settle", "--yes", "A", "--bought", "--order-number=N")
	if status != statusDone || !strings.Contains(errs, "the journal has nothing of A") || !strings.Contains(errs, "JOURNAL_TTL") {
		t.Errorf("%d\n%s%s", status, out, errs)
	}
	if k := d.know("A"); k.Journal == nil || k.Journal.State != dedupe.StateFinal {
		t.Errorf("%+v", k)
	}
}

func TestSettleUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args string
		want []string // a line each
	}{
		"no verdict":          {"A", []string{"--bought or --not-bought: exactly one of them"}},
		"both":                {"A --bought --not-bought --order-number=N", []string{"--bought or --not-bought: exactly one of them"}},
		"no number":           {"A --bought", []string{"--order-number is not given"}},
		"empty number":        {"A --bought --order-number=", []string{"--order-number is not given"}},
		"number not allowed":  {"A --not-bought --order-number=N --order-id=7", []string{`--order-number ("N") is not allowed`, "--order-id (7) is not allowed"}},
		"wrong number and id": {"A --bought --order-number=a\u00a0b --order-id=0", []string{"--order-number (", "--order-id (0) must be more than 0"}},
		"id is no number":     {"A --bought --order-number=N --order-id=x", []string{`--order-id ("x") is not a whole number`}},
		"all at once": {"a,b --order-id=-1 --timeout=0s --nats-url=x --redis-url=x --orders-stream=a.b --upstream-timeout=0s", []string{
			"OUT_TRADE_NO (\"a,b\") must be", "--timeout (0s) must be", "NATS_URL ", "ORDERS_STREAM ", "REDIS_URL ", "UPSTREAM_TIMEOUT ", "--bought or", "--order-id (-1)"}},
		"long": {strings.Repeat("x", 33) + " --not-bought", []string{"OUT_TRADE_NO "}},
		"none": {"--not-bought", []string{`expected "<OUT_TRADE_NO>"`}},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"BACKOFF_MAX": "wrong", "UPSTREAM_RATE": "wrong", "UPSTREAM_SECRET": "hunter2"} // not its business
			status, out, errs := orderworker(t, env, append([]string{"settle"}, strings.Fields(strings.ReplaceAll(c.args, "\u00a0", "\x00"))...)...)
			if status != statusUsage || out != "" || strings.Count(errs, "\n") != len(c.want) {
				t.Errorf("%d\n%s%swant 2 and %d lines", status, out, errs, len(c.want))
			}
			for _, want := range c.want {
				if !strings.Contains(errs, "orderworker: "+want) {
					t.Errorf("%q is not in\n%s", want, errs)
				}
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	for name, c := range map[string]struct {
		answer   string
		yes      bool
		terminal bool
		asked    bool
		ok       bool
	}{
		"yes":              {answer: "yes\n", terminal: true, asked: true, ok: true},
		"loud yes, no end": {answer: " YES", terminal: true, asked: true, ok: true},
		"y":                {answer: "y\n", terminal: true, asked: true},
		"nothing":          {answer: "\n", terminal: true, asked: true},
		"closed":           {terminal: true, asked: true},
		"no":               {answer: "no\nyes\n", terminal: true, asked: true},
		"--yes":            {answer: "no\n", yes: true, terminal: true, ok: true},
		"no terminal":      {answer: "yes\n"},
		"no one, --yes":    {answer: "no\n", yes: true, ok: true},
	} {
		var errs bytes.Buffer
		std := &std{err: &errs, in: strings.NewReader(c.answer), isTerminal: func() bool { return c.terminal }}
		err := confirm(t.Context(), std, c.yes, "Really?")
		if (err == nil) != c.ok || strings.Contains(errs.String(), "Really?") != c.asked {
			t.Errorf("%s: %v, said %q", name, err, errs.String())
		}
	}
}

func TestSignalEndsTheQuestion(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	nobody, end := io.Pipe()
	defer end.Close()
	cancel(io.ErrClosedPipe)
	err := confirm(ctx, &std{err: io.Discard, in: nobody, isTerminal: func() bool { return true }}, false, "Really?")
	if err == nil || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("got %v", err)
	}
}

// typist is a terminal whose user does something before the answer is typed.
type typist struct {
	io.Reader
	first func()
}

func (r *typist) Read(p []byte) (int, error) {
	if r.first != nil {
		r.first()
		r.first = nil
	}
	return r.Reader.Read(p)
}

func TestSettleAsksOnATerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	store := d.store()
	for name, c := range map[string]struct {
		args      []string
		answer    string
		meanwhile func(no string)
		question  []string
		err       string
	}{
		"YES": {[]string{"--bought", "--order-number=N", "--order-id=7"}, "yes\n", nil,
			[]string{"package P for iccid 8988308650100524999, received 2", "attempt 1, 0 refusals", "WAS BOUGHT, order number N, order id 7.", "cannot be taken back"}, ""},
		"NO":        {[]string{"--not-bought"}, "no\n", nil, []string{"NOT BOUGHT", "sends it to the vendor again", "bought twice"}, "settle NO: not confirmed, nothing was written"},
		"SENT":      {[]string{"--not-bought"}, "yes\n", func(no string) { d.resend(store, no) }, []string{"NOT BOUGHT"}, "it has changed meanwhile, nothing was written"},
		"SETTLED":   {[]string{"--not-bought"}, "yes\n", func(no string) { d.do("settle", "--yes", no, "--bought", "--order-number=N") }, []string{"NOT BOUGHT"}, "not in doubt: it has its final result"},
		"REDISLESS": {[]string{"--not-bought"}, "yes\n", func(no string) { d.RDB.Del(t.Context(), "ORDERS:order:"+no) }, []string{"NOT BOUGHT"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d.doubt(store, name, 0)
			cli := d.parsed(append([]string{"settle", name}, c.args...)...)
			in := &typist{Reader: strings.NewReader(c.answer)}
			if c.meanwhile != nil {
				in.first = func() { c.meanwhile(name) }
			}
			var out, errs bytes.Buffer
			err := cli.Settle.Run(t.Context(), &std{out: &out, err: &errs, in: in, isTerminal: func() bool { return true }})
			for _, want := range c.question {
				if !strings.Contains(errs.String(), want) {
					t.Errorf("the question lacks %q:\n%s", want, errs.String())
				}
			}
			if c.err == "" && (err != nil || out.Len() == 0) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v and %q, want %q", err, out.String(), c.err)
			}
		})
	}
}

// resend makes a second attempt, as a worker with the policy resend does. It ends in doubt
// too.
func (d *desk) resend(store *dedupe.Store, no string) {
	d.OK(d.RDB.HSet(d.T.Context(), "ORDERS:order:"+no, "due", 0).Err())
	k, err := store.Look(d.T.Context(), no)
	d.OK(err)
	c, err := store.Claim(d.T.Context(), dedupe.Order{OutTradeNo: no, Fingerprint: k.Cache.Fingerprint, Seq: k.Cache.Seq}, store.NewOwner(), true)
	d.OK(err)
	d.OK(store.Doubt(d.T.Context(), c, d.intent(store, c, -time.Minute, -time.Minute).Doubt, time.Hour))
}

func TestSettleNeedsItsServers(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.doubt(d.store(), "A", 0)
	d.Redis.Kill(t)
	for name, args := range map[string][]string{
		"Redis is away":    nil,
		"NATS is away":     {"--nats-url=nats://127.0.0.1:1"},
		"NATS says naught": {"--nats-url=nats://" + taken(t)},
		"no such stream":   {"--journal-stream=NONE"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := d.do(append([]string{"settle", "--yes", "A", "--not-bought", "--timeout=300ms"}, args...)...)
			if status != statusFailed || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "orderworker: settle A: ") {
				t.Errorf("%d\n%s%swant 1 and one line", status, out, errs)
			}
		})
	}
}
