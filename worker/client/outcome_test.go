package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
	"orderworker/worker"
)

var asked = Request{OutTradeNo: "A", ICCID: "8988308650100524999", PackageCode: "P"}

// event is an event about a request, as the worker publishes it; id is its Nats-Msg-Id.
func event(t *testing.T, r Request, status worker.Status, fingerprint, id string) storedEvent {
	t.Helper()
	data, err := json.Marshal(Event{OutTradeNo: r.OutTradeNo, ICCID: r.ICCID, PackageCode: r.PackageCode, Status: status, Reason: worker.Conflict, Message: "said"})
	if err != nil {
		t.Fatal(err)
	}
	return storedEvent{nats.Header{fingerprintHeader: {fingerprint}, idHeader: {id}}, data}
}

func TestOutcome(t *testing.T) {
	one := int64(1)
	other, renewed := asked, asked
	other.PackageCode, renewed.Renew = "Q", &one
	ours := func(r Request) string {
		payload, err := r.Payload()
		if err != nil {
			t.Fatal(err)
		}
		return worker.RejectedID(r.OutTradeNo, payload)
	}
	final := func(r Request) storedEvent { return event(t, r, worker.Succeeded, r.fingerprint(), "A.succeeded") }
	rejected := func(r Request) storedEvent { return event(t, r, worker.Rejected, "", ours(r)) }
	for name, c := range map[string]struct {
		events map[worker.Status]storedEvent
		want   string // status, final, message
	}{
		"nothing":                           {nil, " false "},
		"succeeded":                         {map[worker.Status]storedEvent{worker.Succeeded: final(asked)}, "succeeded true said"},
		"failed":                            {map[worker.Status]storedEvent{worker.Failed: event(t, asked, worker.Failed, asked.fingerprint(), "")}, "failed true said"},
		"in doubt":                          {map[worker.Status]storedEvent{worker.InDoubt: event(t, asked, worker.InDoubt, "", "")}, "in_doubt false said"},
		"in doubt, then succeeded":          {map[worker.Status]storedEvent{worker.InDoubt: event(t, asked, worker.InDoubt, "", ""), worker.Succeeded: final(asked)}, "succeeded true said"},
		"another order is in doubt":         {map[worker.Status]storedEvent{worker.InDoubt: event(t, other, worker.InDoubt, "", "")}, " false "},
		"ours was rejected":                 {map[worker.Status]storedEvent{worker.Rejected: rejected(asked)}, "rejected true said"},
		"another's was rejected":            {map[worker.Status]storedEvent{worker.Rejected: rejected(other)}, " false "},
		"another's was rejected, ours sold": {map[worker.Status]storedEvent{worker.Rejected: rejected(other), worker.Succeeded: final(asked)}, "succeeded true said"},
		"ours is the conflict":              {map[worker.Status]storedEvent{worker.Rejected: rejected(asked), worker.Succeeded: final(other)}, "rejected true said"},
		"ours will be the conflict":         {map[worker.Status]storedEvent{worker.Succeeded: final(other)}, "rejected true outTradeNo: A breaks the rule: it was already used with another packageCode; that order is not touched, and this request needs a number of its own"},
		"only renew differs":                {map[worker.Status]storedEvent{worker.Succeeded: final(renewed)}, "rejected true outTradeNo: A breaks the rule: it was already used with another renew; that order is not touched, and this request needs a number of its own"},
		"an event of an early version":      {map[worker.Status]storedEvent{worker.Succeeded: event(t, asked, worker.Succeeded, "", "")}, "succeeded true said"},
		"its content is another":            {map[worker.Status]storedEvent{worker.Succeeded: event(t, other, worker.Succeeded, "", "")}, "rejected true outTradeNo: A breaks the rule: it was already used with another iccid, packageCode, renew; that order is not touched, and this request needs a number of its own"},
	} {
		o, err := outcome(asked, c.events)
		if got := fmt.Sprint(o.Status, " ", o.Final, " ", o.Message); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
	if _, err := outcome(asked, map[worker.Status]storedEvent{worker.Failed: {data: []byte("{")}}); err == nil {
		t.Error("an event that cannot be read is no error")
	}
}

// The three ways to read say the same; each is taken where the ones before are not allowed.
func TestReadModes(t *testing.T) {
	const results = "orders.package.result"
	for name, c := range map[string]struct {
		direct bool
		allow  []string
		err    error
	}{
		"batch":   {true, []string{">"}, nil},
		"direct":  {true, []string{"$JS.API.DIRECT.GET.ORDER_RESULTS.>"}, nil},
		"leader":  {false, []string{"$JS.API.DIRECT.GET.>", "$JS.API.STREAM.MSG.GET.ORDER_RESULTS"}, nil},
		"nothing": {true, []string{"orders.>"}, ErrNoResults},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := storetest.NATS(t, func(o *server.Options) {
				o.Users = []*server.User{{Username: "admin", Password: "x"}, {Username: "reader", Password: "x", Permissions: &server.Permissions{
					Publish: &server.SubjectPermission{Allow: c.allow}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
				}}}
			})
			connect := func(user string) *nats.Conn {
				nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(nc.Close)
				return nc
			}
			js, err := jetstream.New(connect("admin"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDER_RESULTS", Subjects: []string{results + ".*.*"}, AllowDirect: c.direct}); err != nil {
				t.Fatal(err)
			}
			var requests []Request
			want := ""
			statuses := []worker.Status{worker.Succeeded, worker.Failed, worker.InDoubt, ""}
			const n = 2*batchSize + 11
			for i := range n {
				r := asked
				r.OutTradeNo = fmt.Sprintf("N.%d", i)
				requests = append(requests, r)
				status := statuses[i%4]
				want += string(status) + " "
				if status == "" {
					continue
				}
				m := event(t, r, status, r.fingerprint(), "")
				if status == worker.InDoubt {
					m.header.Del(fingerprintHeader)
				}
				if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: results + "." + string(status) + fmt.Sprintf(".N%%2E%d", i), Header: m.header, Data: m.data}); err != nil {
					t.Fatal(err)
				}
			}
			client, err := New(connect("reader"), Config{})
			if err != nil {
				t.Fatal(err)
			}
			outcomes, err := client.Results(t.Context(), requests)
			if c.err != nil {
				if !errors.Is(err, c.err) {
					t.Errorf("got %v, want %v", err, c.err)
				}
				return
			}
			got := ""
			for i, o := range outcomes {
				got += string(o.Status) + " "
				if o.Status != "" && o.OutTradeNo != requests[i].OutTradeNo {
					t.Fatalf("outcome %d is about %s", i, o.OutTradeNo)
				}
			}
			if err != nil || got != want {
				t.Errorf("got %s, %v\nwant %s", got, err, want)
			}
		})
	}
}

// What would be refused is not published, and ends the sequence; what came before is stored.
func TestInvalidRequestIsNotPublished(t *testing.T) {
	nc := storetest.Connect(t, storetest.NATS(t))
	c, err := New(nc, Config{Window: 4})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := c.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.request"}})
	if err != nil {
		t.Fatal(err)
	}
	bad := asked
	bad.ICCID = "\xff"
	n, err := c.SubmitAll(t.Context(), func(yield func(Request, error) bool) {
		for i := range 20 {
			r := asked
			r.OutTradeNo = fmt.Sprint("N-", i)
			if i == 10 {
				r = bad
			}
			if !yield(r, nil) {
				return
			}
		}
	}, nil)
	info, infoErr := stream.Info(t.Context())
	if n != 10 || err == nil || !strings.Contains(err.Error(), "valid UTF-8") || infoErr != nil || info.State.Msgs != 10 {
		t.Errorf("%d stored, %v; the stream has %+v", n, err, info.State)
	}
	late := time.Date(10_001, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := (Request{OutTradeNo: "A", ICCID: asked.ICCID, PackageCode: "P", ExpiresAt: &late}).Validate(); err == nil {
		t.Error("a year that RFC 3339 cannot say is valid")
	}
}
