package natsio

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
	"orderworker/worker"
)

// bury stores the dead letter of a request, and reads it.
func bury(t *testing.T, js jetstream.JetStream, j *JetStream, data string, header map[string][]string) *jetstream.RawStreamMsg {
	t.Helper()
	at := time.UnixMilli(1763978401345)
	l := worker.DeadLetter{
		Delivery: &worker.Delivery{Data: []byte(data), Header: header, Seq: 7, Stored: at.Add(-time.Second)},
		Reason:   worker.Invalid, Error: strings.Repeat("e", 1024), At: at,
	}
	for range 2 { // a reply was lost
		if err := j.PublishDead(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	s, err := js.Stream(t.Context(), "ORDERS_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
	m, err := s.GetLastMsgForSubject(t.Context(), "orders.package.dead")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDeadLetterHasWhatTheRequestHad(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	m := bury(t, js, open(t, js), "data", map[string][]string{
		"X": {"1", "2"}, "Dead-Reason": {"forged"}, "Dead-Truncated": {"forged"}, "Dead-Headers-Dropped": {"forged"},
		"Nats-Msg-Id": {"mine"}, "Dead-Nats-Msg-Id": {"forged"}, "Nats-Expected-Stream": {"OTHER"}, "nats-rollup": {"all"}, "Nats-TTL": {"1s"},
	})
	want := map[string]string{
		"X": "1,2", "Dead-Reason": "invalid", "Dead-Stream-Seq": "7", "Dead-Time": "2025-11-24T10:00:01.345Z", "Dead-Truncated": "", "Dead-Headers-Dropped": "",
		"Dead-Nats-Msg-Id": "mine", "Dead-Nats-Expected-Stream": "OTHER", "Dead-nats-rollup": "all", "Dead-Nats-TTL": "1s", "Nats-TTL": "",
	}
	for name, value := range want {
		if got := strings.Join(m.Header.Values(name), ","); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if string(m.Data) != "data" || len(m.Header.Get("Dead-Error")) != 1024 {
		t.Errorf("data %q, error of %d bytes", m.Data, len(m.Header.Get("Dead-Error")))
	}
}

// JetStream takes 64 KiB of headers, from the publisher; with ours it does not.
func TestDeadLetterOfARequestWithLongHeaders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header map[string][]string
		kept   []string
		want   string
	}{
		"one":                         {map[string][]string{"Long": {strings.Repeat("x", 65_000)}, "Short": {"s"}}, []string{"Short"}, "1"},
		"the largest":                 {map[string][]string{"A": {strings.Repeat("x", 20_000)}, "B": {strings.Repeat("x", 20_001)}, "C": {strings.Repeat("x", 20_000)}, "D": {strings.Repeat("x", 5_000)}}, []string{"A", "C", "D"}, "1"},
		"of many values":              {map[string][]string{"Many": strings.Split(strings.Repeat("x,", 7_000), ","), "A": {strings.Repeat("x", 5_000)}}, []string{"A"}, "1"},
		"the server's own":            {map[string][]string{"Nats-Mine": {strings.Repeat("x", 65_000)}, "Short": {"s"}}, []string{"Short"}, "1"},
		"with ours it is just enough": {map[string][]string{"A": {strings.Repeat("x", 64_000)}}, []string{"A"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := newServer(t)
			m := bury(t, js, open(t, js), "data", c.header)
			if got := m.Header.Get("Dead-Headers-Dropped"); got != c.want || m.Header.Get("Dead-Reason") != "invalid" || string(m.Data) != "data" {
				t.Errorf("%q headers dropped, want %q; data %q", got, c.want, m.Data)
			}
			for _, name := range c.kept {
				if m.Header.Get(name) == "" {
					t.Errorf("%s was dropped", name)
				}
			}
		})
	}
}

func TestDeadLetterIsCutToMaxPayload(t *testing.T) {
	t.Parallel()
	const most = 10_000
	js := storetest.JetStream(t, storetest.NATS(t, func(o *server.Options) { o.MaxPayload = most }))
	m := bury(t, js, open(t, js), strings.Repeat("x", most-200), map[string][]string{"X": {"1"}})
	if m.Header.Get("Dead-Truncated") != fmt.Sprint(most-200) || m.Header.Get("X") != "1" || len(m.Data) < most-2_000 {
		t.Errorf("%d bytes are left, headers %v", len(m.Data), m.Header)
	}
	if err := js.DeleteStream(t.Context(), "ORDERS_DEAD"); err != nil {
		t.Fatal(err)
	}
	m = bury(t, js, open(t, js), "data", map[string][]string{"Long": {strings.Repeat("x", most-100)}, "X": {"1"}})
	if m.Header.Get("Dead-Headers-Dropped") != "1" || m.Header.Get("X") != "1" || string(m.Data) != "data" {
		t.Errorf("data %q, headers %v", m.Data, m.Header)
	}
}
