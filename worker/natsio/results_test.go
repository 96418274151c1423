package natsio

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/dedupe"
	"orderworker/worker"
)

// event is an event of one order.
func event(status worker.Status, no, payload string) worker.Event {
	e := worker.Event{Status: status, ID: no + "." + string(status), Subject: no, At: "2026-11-23T10:00:00.345Z", Payload: []byte(payload)}
	if status == worker.Succeeded || status == worker.Failed {
		e.Seq, e.Fingerprint, e.Account = 7, "f-i-n", "acc"
	}
	return e
}

func publish(t *testing.T, j *JetStream, events ...worker.Event) {
	t.Helper()
	for _, e := range events {
		if _, err := j.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// payloads lists the results stream as "status token payload", oldest first.
func payloads(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	s, err := js.Stream(t.Context(), "ORDER_RESULTS")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimPrefix(m.Subject, "orders.package.result.")+" "+string(m.Data))
	}
	return all
}

func wantPayloads(t *testing.T, js jetstream.JetStream, want ...string) {
	t.Helper()
	if got := payloads(t, js); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("results are\n%q, want\n%q", got, want)
	}
}

// forgetful opens streams whose duplicate window is over at once.
func forgetful(t *testing.T, js jetstream.JetStream) *JetStream {
	t.Helper()
	j := open(t, js)
	config := j.names.resultsConfig()
	config.Duplicates = 100 * time.Millisecond
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	return j
}

func TestFinalEventIsStoredOnce(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := forgetful(t, js)
	var publishers sync.WaitGroup
	for i := range 8 {
		publishers.Go(func() {
			e := event(worker.Succeeded, "A", "first")
			e.ID = fmt.Sprint("another id ", i) // not the duplicate window, but the compare-and-set
			if _, err := j.Publish(t.Context(), e); err != nil {
				t.Error(err)
			}
		})
	}
	publishers.Wait()
	publish(t, j, event(worker.Failed, "B", "b"), event(worker.Failed, "B", "other"), event(worker.Succeeded, "A", "other"))
	wantPayloads(t, js, "succeeded.A first", "failed.B b")
}

// Whoever publishes a final event learns which one the order has. A failed event is never
// stored beside a succeeded one, and no other event keeps a final one away.
func TestFinalEventThatExistsIsReturned(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := forgetful(t, js)
	publish(t, j, event(worker.InDoubt, "A", "doubt"), event(worker.Rejected, "A", "no"))
	for _, c := range []struct {
		e        worker.Event
		existing string // "": it is stored
	}{
		{event(worker.Succeeded, "A", "first"), ""},
		{event(worker.Succeeded, "A", "first"), "first"},
		{event(worker.Succeeded, "A", "second"), "first"},
		{event(worker.Failed, "A", "third"), "first"},
		{event(worker.Failed, "B", "b"), ""},
		{event(worker.Failed, "B", "c"), "b"},
		{event(worker.InDoubt, "B", "doubt"), ""},
	} {
		if existing, err := j.Publish(t.Context(), c.e); err != nil || string(existing) != c.existing {
			t.Errorf("publish %s %s: %q, %v; want %q", c.e.ID, c.e.Payload, existing, err, c.existing)
		}
	}
	wantPayloads(t, js, "in_doubt.A doubt", "rejected.A no", "succeeded.A first", "failed.B b")
	for no, want := range map[string]string{"A": "first", "B": "b"} {
		for name, r := range map[string]interface {
			Final(context.Context, string) (dedupe.FinalEvent, bool, error)
		}{"worker": j, "operator": NewResults(js, j.names)} {
			if f, found, err := r.Final(t.Context(), no); err != nil || !found || string(f.Result) != want || f.Seq != 7 || f.Account != "acc" {
				t.Errorf("%s of %s: %+v, %v, %v", name, no, f, found, err)
			}
		}
	}
}

// An operator's program reads results, and creates no stream.
func TestResultsOfAMissingStream(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	if err := js.DeleteStream(t.Context(), "ORDER_RESULTS"); err != nil {
		t.Fatal(err)
	}
	r := NewResults(js, j.names)
	_, found, err := r.Final(t.Context(), "A")
	used, usedErr := r.Used(t.Context())
	if found || used || err != nil || usedErr != nil {
		t.Errorf("found %v, %v; used %v, %v", found, err, used, usedErr)
	}
	if _, err := js.Stream(t.Context(), "ORDER_RESULTS"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the stream: %v", err)
	}
}

// Only a final says that an order was finished.
func TestResultsUsed(t *testing.T) {
	t.Parallel()
	j := open(t, newServer(t))
	for _, status := range []worker.Status{worker.Rejected, worker.InDoubt, worker.Failed} {
		if used, err := j.Used(t.Context()); used || err != nil {
			t.Fatalf("used: %v, %v", used, err)
		}
		publish(t, j, event(status, "A."+string(status), "x"))
	}
	if used, err := j.Used(t.Context()); !used || err != nil {
		t.Errorf("used: %v, %v", used, err)
	}
}

// The id of an event that was deleted is still known within the duplicate
// window: the server says "stored", and stores nothing.
func TestFinalEventIsNotHiddenByTheDuplicateWindow(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	publish(t, j, event(worker.Succeeded, "A", "a"))
	s, err := js.Stream(t.Context(), "ORDER_RESULTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, j, event(worker.Succeeded, "A", "a"))
	wantPayloads(t, js, "succeeded.A a")
}

func TestRejectedEventIsStoredOncePerPayload(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	one, two := event(worker.Rejected, "A", "1"), event(worker.Rejected, "A", "2")
	one.ID, two.ID = "A.rejected.1", "A.rejected.2"
	publish(t, j, one, two, one, two)
	wantPayloads(t, js, "rejected.A 1", "rejected.A 2")
}

func TestInDoubtIsNeverStoredAfterTheFinal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, want []string }{
		"nothing":               {nil, []string{"in_doubt.A x"}},
		"rejected":              {[]string{"rejected"}, []string{"rejected.A", "in_doubt.A x"}},
		"in_doubt":              {[]string{"in_doubt"}, []string{"in_doubt.A"}},
		"in_doubt and rejected": {[]string{"in_doubt", "rejected"}, []string{"in_doubt.A", "rejected.A"}},
		"succeeded":             {[]string{"succeeded"}, []string{"succeeded.A"}},
		"failed and rejected":   {[]string{"failed", "rejected"}, []string{"failed.A", "rejected.A"}},
		"another order's":       {[]string{"succeeded.B"}, []string{"succeeded.B", "in_doubt.A x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := newServer(t)
			j := open(t, js)
			for _, subject := range c.before {
				if !strings.Contains(subject, ".") {
					subject += ".A"
				}
				if _, err := js.Publish(t.Context(), "orders.package.result."+subject, nil); err != nil {
					t.Fatal(err)
				}
			}
			publish(t, j, event(worker.InDoubt, "A", "x"))
			got := payloads(t, js)
			for i := range got {
				got[i] = strings.TrimSpace(got[i])
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("results are %q, want %q", got, c.want)
			}
		})
	}
}

func TestInDoubtLosesAgainstAFinalMeanwhile(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	j.js = &publishHook{JetStream: js, before: func() {
		if _, err := js.Publish(context.Background(), "orders.package.result.succeeded.A", nil); err != nil {
			t.Error(err)
		}
	}}
	publish(t, j, event(worker.InDoubt, "A", "x"))
	wantPayloads(t, js, "succeeded.A ")
}

func TestFinalIsFoundBehindAConflict(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	if f, found, err := j.Final(t.Context(), "A"); err != nil || found {
		t.Errorf("of nothing: %+v %v %v", f, found, err)
	}
	for _, status := range []worker.Status{worker.Succeeded, worker.Failed} {
		no := "%.>*" + string(status)
		publish(t, j, event(worker.InDoubt, no, "?"), event(status, no, "the end"), event(worker.Rejected, no, "conflict"))
		f, found, err := j.Final(t.Context(), no)
		if err != nil || !found || string(f.Result) != "the end" || f.Seq != 7 || f.Fingerprint != "f-i-n" || f.Account != "acc" {
			t.Errorf("%s: %+v %v %v", status, f, found, err)
		}
	}
	publish(t, j, event(worker.Rejected, "B", "conflict"))
	if f, found, err := j.Final(t.Context(), "B"); err != nil || found {
		t.Errorf("rejected is no end of an order: %+v %v %v", f, found, err)
	}
}

func TestResultsStreamIsMadeAgain(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	for _, ask := range []func(){
		func() {
			if _, found, err := j.Final(t.Context(), "A"); err != nil || found {
				t.Errorf("%v %v", found, err)
			}
		},
		func() { publish(t, j, event(worker.Succeeded, "A", "a")) },
		func() { publish(t, j, event(worker.InDoubt, "A", "a")) },
	} {
		if err := js.DeleteStream(t.Context(), "ORDER_RESULTS"); err != nil {
			t.Fatal(err)
		}
		ask()
		if _, err := js.Stream(t.Context(), "ORDER_RESULTS"); err != nil {
			t.Error(err)
		}
	}
}

func TestEventHeaders(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	no := `a"b%c<é`
	publish(t, j, event(worker.Failed, no, "{}"), event(worker.InDoubt, "C", "{}"))
	s, err := js.Stream(t.Context(), "ORDER_RESULTS")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "orders.package.result.failed.a%22b%25c%3C%C3%A9")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "a%22b%25c<%C3%A9.failed", "ce-type": "order.package.failed", "ce-source": "orderworker",
		"ce-time": "2026-11-23T10:00:00.345Z", "ce-subject": "a%22b%25c<%C3%A9", "ce-datacontenttype": "application/json",
		"Content-Type": "application/json", "Nats-Msg-Id": no + ".failed", "Order-Seq": "7", "Order-Fingerprint": "f-i-n", "Order-Account": "acc",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	m, err = s.GetLastMsgForSubject(t.Context(), "orders.package.result.in_doubt.C")
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Order-Seq") != "" || m.Header.Get("Order-Account") != "" {
		t.Errorf("an in_doubt has headers of a final: %v", m.Header)
	}
}

// What a limit refuses comes back as such, and what may heal does not.
func TestRefusedForGood(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	long := event(worker.Succeeded, "A", strings.Repeat("x", int(js.Conn().MaxPayload())+1))
	if _, err := j.Publish(t.Context(), long); !errors.Is(err, worker.ErrRefused) {
		t.Errorf("longer than max_payload: %v", err)
	}
	config := j.names.resultsConfig()
	config.MaxMsgSize = 1000
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Publish(t.Context(), event(worker.Succeeded, "A", strings.Repeat("x", 2000))); !errors.Is(err, worker.ErrRefused) {
		t.Errorf("longer than max_msg_size: %v", err)
	}
	publish(t, j, event(worker.Succeeded, "A", "a"))
	config.MaxMsgs = 1
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Publish(t.Context(), event(worker.Succeeded, "B", "b")); !errors.Is(err, worker.ErrRefused) {
		t.Errorf("a full stream: %v", err)
	}
	js.Conn().Close()
	if _, err := j.Publish(t.Context(), event(worker.Succeeded, "C", "c")); err == nil || errors.Is(err, worker.ErrRefused) {
		t.Errorf("no connection: %v", err)
	}
}

// The stream of an earlier version has one subject per status.
func TestResultsStreamWithoutTheSubjectOfAnOrder(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDER_RESULTS", Subjects: []string{"orders.package.result.*"}}); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), js, names, zerolog.Nop())
	const cure = "nats stream edit ORDER_RESULTS --subjects 'orders.package.result.*,orders.package.result.*.*'"
	if !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), cure) {
		t.Fatalf("%v, want %s", err, cure)
	}
	if _, err := js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "ORDER_RESULTS", Subjects: []string{"orders.package.result.*", "orders.package.result.*.*"}}); err != nil {
		t.Fatalf("the cure: %v", err)
	}
	publish(t, open(t, js), event(worker.Succeeded, "A", "a"))
}

func TestSold(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	j := open(t, js)
	j.names.Account = "acc"
	sold := func(no, code, account string) time.Time {
		e := event(worker.Succeeded, no, fmt.Sprintf(`{"outTradeNo":%q,"code":%q,"orderNumber":"N-%s"}`, no, code, no))
		e.Account = account
		publish(t, j, e)
		publish(t, j, event(worker.Failed, "x"+no, "{}"), event(worker.Rejected, "y"+no, "{}"))
		m, _, err := readLeader(t.Context(), j.js, "ORDER_RESULTS", get{LastFor: j.names.ResultSubject("succeeded", no)})
		if err != nil {
			t.Fatal(err)
		}
		return m.Time
	}
	want := func(before time.Time, no string) {
		t.Helper()
		got, found, err := j.FindControl(t.Context(), before)
		if err != nil || found != (no != "") || found && (got.OutTradeNo != no || got.OrderNumber != "N-"+no) {
			t.Errorf("%+v %v %v, want %q", got, found, err, no)
		}
	}
	want(time.Now(), "")
	var at []time.Time
	for i := range 20 {
		at = append(at, sold(fmt.Sprint(i), "200", "acc"))
	}
	want(at[0], "") // strictly before
	for i := 1; i < len(at); i++ {
		want(at[i], fmt.Sprint(i-1))
	}
	want(time.Now(), "19")
	for i := range 3 {
		verdict := event(worker.Succeeded, fmt.Sprint("verdict", i), `{"outTradeNo":"V","code":"200","orderNumber":"N"}`)
		verdict.Account, verdict.Operator = "acc", true
		publish(t, j, verdict)
		sold(fmt.Sprint("codeless", i), "", "acc")
		sold(fmt.Sprint("other", i), "200", "another account")
	}
	want(time.Now(), "19")
	sold("unknown", "200", "")
	want(time.Now(), "unknown")
	publish(t, j, event(worker.Succeeded, "found", `{"outTradeNo":"found","code":"200","orderNumber":"N-found","reconciled":true}`))
	want(time.Now(), "unknown") // what a lookup found does not go before what was sold
}

// Where lookups found all that was bought, the newest of that is the control.
func TestSoldByLookupsAlone(t *testing.T) {
	t.Parallel()
	j := open(t, newServer(t))
	j.names.Account = "acc"
	for _, no := range []string{"1", "2"} {
		publish(t, j, event(worker.Succeeded, no, fmt.Sprintf(`{"outTradeNo":%q,"code":"200","orderNumber":"N","reconciled":true}`, no)))
	}
	if got, found, err := j.FindControl(t.Context(), time.Now()); err != nil || !found || got.OutTradeNo != "2" {
		t.Errorf("%+v, %v, %v", got, found, err)
	}
}

// publishHook does something before the first publish.
type publishHook struct {
	jetstream.JetStream
	once   sync.Once
	before func()
}

func (h *publishHook) PublishMsg(ctx context.Context, m *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	h.once.Do(h.before)
	return h.JetStream.PublishMsg(ctx, m, opts...)
}
