package dedupe

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// lossyPublisher fails a publish before it is done, or after.
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

func TestEnsureJournal(t *testing.T) {
	ctx := t.Context()
	js := natsServer(t)
	for range 2 {
		if err := EnsureJournal(ctx, js, testStream, testSubject, 1); err != nil {
			t.Fatal(err)
		}
	}
	s, err := js.Stream(ctx, testStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	if errs := AuditJournal(cfg, testSubject); len(errs) > 0 {
		t.Errorf("our own stream: %v", errs)
	}
	if cfg.Discard != jetstream.DiscardNew || cfg.AllowDirect {
		t.Errorf("discard %v, allow_direct %v", cfg.Discard, cfg.AllowDirect)
	}

	// An existing stream stays as it is.
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "OLD", Subjects: []string{"old.>"}, MaxAge: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := EnsureJournal(ctx, js, "OLD", "old", 1); err != nil {
		t.Fatal(err)
	}
	s, err = js.Stream(ctx, "OLD")
	if err != nil || s.CachedInfo().Config.MaxAge != time.Hour {
		t.Errorf("the old stream was altered: %v", err)
	}
	if err := EnsureJournal(ctx, js, "CLASH", testSubject, 1); err == nil || !strings.Contains(err.Error(), "CLASH") {
		t.Errorf("a stream that cannot be created: %v", err)
	}
	js.Conn().Close()
	if err := EnsureJournal(ctx, js, "GONE", "gone", 1); err == nil {
		t.Error("no error without a server")
	}
}

func TestAuditJournal(t *testing.T) {
	good := func() jetstream.StreamConfig {
		return jetstream.StreamConfig{Name: testStream, Subjects: []string{testSubject + ".*"}, Storage: jetstream.FileStorage,
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 1, AllowMsgTTL: true}
	}
	for setting, spoil := range map[string]func(*jetstream.StreamConfig){
		"max_age":                 func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"max_msgs is":             func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 10, jetstream.DiscardOld },
		"max_bytes":               func(c *jetstream.StreamConfig) { c.MaxBytes, c.Discard = 10, jetstream.DiscardOld },
		"max_msgs_per_subject":    func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = -1 },
		"discard_new_per_subject": func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = true },
		"storage":                 func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"retention":               func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"allow_msg_ttl":           func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false },
		"no_ack":                  func(c *jetstream.StreamConfig) { c.NoAck = true },
		"sealed":                  func(c *jetstream.StreamConfig) { c.Sealed = true },
		"mirror":                  func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{} },
		"sources":                 func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{}} },
		"subject_transform":       func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} },
		"subjects":                func(c *jetstream.StreamConfig) { c.Subjects = []string{testSubject, "orders.*"} },
	} {
		t.Run(setting, func(t *testing.T) {
			cfg := good()
			spoil(&cfg)
			errs := AuditJournal(cfg, testSubject)
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), setting) || !strings.Contains(errs[0].Error(), testStream) {
				t.Errorf("got %v, want one error that names %s", errs, setting)
			}
		})
	}
	for _, subjects := range [][]string{{testSubject + ".*"}, {"other", "orders.>"}, {">"}, {"*.journal.*"}} {
		cfg := good()
		cfg.Subjects = subjects
		cfg.MaxMsgs, cfg.MaxBytes = 10, 10 // discard new: no loss
		if errs := AuditJournal(cfg, testSubject); len(errs) > 0 {
			t.Errorf("subjects %q: %v", subjects, errs)
		}
	}
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
		if got := SubjectToken(in); got != want {
			t.Errorf("SubjectToken(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSubjectToken(f *testing.F) {
	for _, s := range []string{"a", "a.b", "%2A", "*", "> <", "$", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := SubjectToken(s)
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

func TestAPIPrefix(t *testing.T) {
	nc := natsServer(t).Conn()
	plain, err1 := jetstream.New(nc)
	domain, err2 := jetstream.NewWithDomain(nc, "hub")
	prefix, err3 := jetstream.NewWithAPIPrefix(nc, "acc.JS.API")
	for want, js := range map[string]jetstream.JetStream{"$JS.API.": plain, "$JS.hub.API.": domain, "acc.JS.API.": prefix} {
		if got := apiPrefix(js); got != want {
			t.Errorf("prefix %q, want %q (%v, %v, %v)", got, want, err1, err2, err3)
		}
	}
}
