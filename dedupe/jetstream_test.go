package dedupe_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/worker/natsio"

	"github.com/nats-io/nats.go/jetstream"
)

// lossyPublisher fails a publish before or after the server has stored it.
type lossyPublisher struct {
	jetstream.JetStream
	before, after error
	times         int // how often before strikes; 0: always
}

func (p *lossyPublisher) Publish(ctx context.Context, subject string, data []byte, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	if p.before != nil {
		if p.times--; p.times == 0 {
			p.before = nil
		}
		if p.before != nil {
			return nil, p.before
		}
	}
	ack, err := p.JetStream.Publish(ctx, subject, data, opts...)
	if p.after != nil {
		return nil, p.after
	}
	return ack, err
}

func TestSubjectToken(t *testing.T) {
	for in, want := range map[string]string{
		"630000198311142676": "630000198311142676",
		"A_z-9":              "A_z-9",
		"a.b":                "a%2Eb",
		"*":                  "%2A",
		">":                  "%3E",
		"%2A":                "%252A",
		"$JS":                "%24JS",
		"\x00é":              "%00%C3%A9",
	} {
		if got := dedupe.SubjectToken(in); got != want {
			t.Errorf("SubjectToken(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSubjectToken(f *testing.F) {
	for _, s := range []string{"a", "a.b", "%2A", "*", "> <", "$", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := dedupe.SubjectToken(s)
		if strings.ContainsAny(token, ".*>$ \t\r\n\x00") || (token == "") != (s == "") {
			t.Errorf("%q is not one token of a subject", token)
		}
		if back := unescape(t, token); back != s { // so no two numbers share a token
			t.Errorf("%q comes back as %q", s, back)
		}
	})
}

func unescape(t *testing.T, token string) string {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '%' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			t.Fatalf("%q ends in half an escape", token)
		}
		hi := strings.IndexByte("0123456789ABCDEF", token[i+1])
		lo := strings.IndexByte("0123456789ABCDEF", token[i+2])
		if hi < 0 || lo < 0 {
			t.Fatalf("%q has a broken escape", token)
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String()
}

// A permanent refusal of the journal is ErrBroken. A failed compare-and-set is not.
func TestJetStreamRefusesForGood(t *testing.T) {
	small := func(c *jetstream.StreamConfig) { c.MaxMsgSize = 10 }
	full := func(c *jetstream.StreamConfig) { c.MaxBytes = 40 }
	for name, change := range map[string]func(*jetstream.StreamConfig){"max_msg_size": small, "max_bytes": full} {
		js := natsServer(t)
		cfg := jetstream.StreamConfig{Name: testStream, Subjects: []string{testSubject + ".*"}, Discard: jetstream.DiscardNew, AllowMsgTTL: true}
		change(&cfg)
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		j := natsio.NewJetStreamJournal(js, testStream, testSubject, time.Hour)
		if _, err := j.Write(t.Context(), "1", dedupe.Record{State: dedupe.StateReady, Owner: "a"}, 0); !errors.Is(err, dedupe.ErrBroken) {
			t.Errorf("%s: %v, want ErrBroken", name, err)
		}
	}
	j, js := realJournal(t)
	long := dedupe.Record{State: dedupe.StateReady, Owner: strings.Repeat("x", int(js.Conn().MaxPayload())+1)}
	if _, err := j.Write(t.Context(), "1", long, 0); !errors.Is(err, dedupe.ErrBroken) {
		t.Errorf("max_payload: %v, want ErrBroken", err)
	}
	wrong := natsio.NewJetStreamJournal(js, "OTHER", testSubject, time.Hour)
	if _, err := wrong.Write(t.Context(), "1", dedupe.Record{State: dedupe.StateReady}, 0); !errors.Is(err, dedupe.ErrBroken) {
		t.Errorf("another stream: %v, want ErrBroken", err)
	}
	if _, err := j.Write(t.Context(), "1", dedupe.Record{State: dedupe.StateReady}, 7); err == nil || errors.Is(err, dedupe.ErrBroken) {
		t.Errorf("wrong revision: %v", err)
	}
}
