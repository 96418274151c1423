package natsio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"orderworker/dedupe/storetest"
	"orderworker/worker"
)

// streamCase is a change of a good stream that is bad in one way.
type streamCase struct {
	setting string
	change  func(*jetstream.StreamConfig)
	unreal  bool // a server does not make such a stream at once
}

// discardOld is a limit that drops the oldest.
func discardOld(limit func(*jetstream.StreamConfig)) func(*jetstream.StreamConfig) {
	return func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld; limit(c) }
}

var (
	memory    = func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage }
	interest  = func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }
	workqueue = func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }
	maxMsgs   = discardOld(func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 })
	maxBytes  = discardOld(func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 })
	perSubj   = func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }
	sealIt    = func(c *jetstream.StreamConfig) { c.Sealed = true }
	noAck     = func(c *jetstream.StreamConfig) { c.NoAck = true }
	rollup    = func(c *jetstream.StreamConfig) { c.AllowRollup = true }
	async     = func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }
	mirror    = func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{Name: "OTHER"} }
	sources   = func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "OTHER"}} }
	transform = func(c *jetstream.StreamConfig) {
		c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
	}
	aged = func(age time.Duration) func(*jetstream.StreamConfig) {
		return func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = age, min(c.Duplicates, age) }
	}
)

var deadCases = []streamCase{
	{"storage", memory, false},
	{"retention", interest, false},
	{"retention", workqueue, false},
	{"max_msgs", maxMsgs, false},
	{"max_bytes", maxBytes, false},
	{"max_msgs_per_subject", discardOld(perSubj), false},
	{"max_msgs_per_subject", perSubj, false}, // discard new drops the oldest too
	{"sealed", sealIt, true},
	{"no_ack", noAck, false},
}

// tables are the rules of each stream, with a case for each.
var tables = []struct {
	name  string
	good  func(*Streams) jetstream.StreamConfig
	rules []rule[auditedStream]
	cases []streamCase
}{
	{"ORDERS", (*Streams).ordersConfig, ordersRules, []streamCase{
		{"max_age", aged(time.Hour), false},
		{"storage", memory, false},
		{"retention", interest, false},
		{"retention", func(c *jetstream.StreamConfig) { c.Retention = jetstream.LimitsPolicy }, false},
		{"max_msgs", maxMsgs, false},
		{"max_bytes", maxBytes, false},
		{"max_msgs_per_subject", discardOld(perSubj), false},
		{"max_msgs_per_subject", perSubj, false},
		{"allow_msg_ttl", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true }, false},
		{"allow_rollup_hdrs", rollup, false},
		{"subject_transform", transform, false},
		{"mirror", mirror, true},
		{"sources", sources, true},
		{"sealed", sealIt, true},
		{"persist_mode", async, false},
	}},
	{"ORDER_RESULTS", (*Streams).resultsConfig, resultsRules, append([]streamCase{
		{"max_age", aged(167 * time.Hour), false},
		{"subject_transform", transform, false},
		{"persist_mode", async, false},
	}, deadCases...)},
	{"ORDERS_DEAD", (*Streams).deadConfig, deadRules, deadCases},
	{"ORDER_JOURNAL", (*Streams).journalConfig, journalRules, []streamCase{
		{"max_age", aged(167 * time.Hour), false},
		{"storage", memory, false},
		{"retention", interest, false},
		{"retention", workqueue, false},
		{"max_msgs", maxMsgs, false},
		{"max_bytes", maxBytes, false},
		{"max_msgs_per_subject", perSubj, false},
		{"discard_new_per_subject", func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = true }, false},
		{"allow_msg_ttl", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }, false},
		{"allow_rollup_hdrs", rollup, false},
		{"subject_transform", transform, false},
		{"mirror", mirror, true},
		{"sources", sources, true},
		{"sealed", sealIt, true},
		{"persist_mode", async, true},
		{"no_ack", noAck, false},
	}},
	{ControlStream, func(s *Streams) jetstream.StreamConfig { return controlConfig(s.Replicas) }, controlRules, []streamCase{
		{"max_age", aged(167 * time.Hour), false},
		{"storage", memory, false},
		{"retention", interest, false},
		{"retention", workqueue, false},
		{"max_msgs", maxMsgs, false},
		{"max_bytes", maxBytes, false},
		{"discard_new_per_subject", func(c *jetstream.StreamConfig) { c.DiscardNewPerSubject = true }, false},
		{"subject_transform", transform, false},
		{"mirror", mirror, true},
		{"sources", sources, true},
		{"sealed", sealIt, true},
		{"persist_mode", async, true},
		{"no_ack", noAck, false},
	}},
}

// Each rule has a case that no other rule finds.
func TestStreamRules(t *testing.T) {
	t.Parallel()
	for _, table := range tables {
		good := table.good(&names)
		of := func(c jetstream.StreamConfig) auditedStream {
			return auditedStream{c, names.JournalTTL, names.DedupeTTL}
		}
		if all := faults(table.rules, table.name, of(good)); len(all) > 0 {
			t.Errorf("%s as the worker makes it: %v", table.name, all)
		}
		seen := map[string]bool{}
		for _, c := range table.cases {
			seen[c.setting] = true
			bad := good
			c.change(&bad)
			if all := faults(table.rules, table.name, of(bad)); len(all) != 1 || !strings.HasPrefix(all[0], table.name+": "+c.setting+" is ") {
				t.Errorf("%s, %s: %q", table.name, c.setting, all)
			}
		}
		for _, r := range table.rules {
			if !seen[r.setting] || r.why == "" || r.cure == "" {
				t.Errorf("%s: the rule about %s has no case, or does not say why or what to do", table.name, r.setting)
			}
		}
	}
}

func TestStreamRulesLetPass(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rules  []rule[auditedStream]
		good   jetstream.StreamConfig
		change func(*jetstream.StreamConfig)
	}{
		"orders, a limit with discard new":     {ordersRules, names.ordersConfig(), func(c *jetstream.StreamConfig) { c.MaxMsgs, c.MaxBytes = 5, 5 }},
		"orders, discard new per subject":      {ordersRules, names.ordersConfig(), func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 5, true }},
		"orders, discard old without a limit":  {ordersRules, names.ordersConfig(), func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }},
		"results, kept for JOURNAL_TTL":        {resultsRules, names.resultsConfig(), aged(168 * time.Hour)},
		"results, for ever":                    {resultsRules, names.resultsConfig(), aged(0)},
		"journal, kept for JOURNAL_TTL":        {journalRules, names.journalConfig(), aged(168 * time.Hour)},
		"journal, a limit with discard new":    {journalRules, names.journalConfig(), func(c *jetstream.StreamConfig) { c.MaxMsgs, c.MaxBytes = 5, 5 }},
		"results, DEDUPE_TTL":                  {resultsWarnings, names.resultsConfig(), aged(720 * time.Hour)},
		"results, for ever, is not short":      {resultsWarnings, names.resultsConfig(), aged(0)},
		"results, under JOURNAL_TTL, is fault": {resultsWarnings, names.resultsConfig(), aged(time.Hour)},
	} {
		c.change(&c.good)
		if all := faults(c.rules, name, auditedStream{c.good, names.JournalTTL, names.DedupeTTL}); len(all) > 0 {
			t.Error(all)
		}
	}
	short := names.resultsConfig()
	short.MaxAge = 719 * time.Hour
	if all := faults(resultsWarnings, "R", auditedStream{short, names.JournalTTL, names.DedupeTTL}); len(all) != 1 || !strings.Contains(all[0], "DEDUPE_TTL") {
		t.Errorf("results that are kept for less than DEDUPE_TTL: %q", all)
	}
}

// goodConsumer is the consumer as the worker makes it.
func goodConsumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: "order-worker", FilterSubject: "orders.package.request", AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: names.AckWait, MaxDeliver: -1, MaxAckPending: -1,
	}
}

var consumerCases = []struct {
	setting string
	change  func(*jetstream.ConsumerConfig)
	unreal  bool // of a work queue, or another ack wait than when the worker started
}{
	{"max_deliver", func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 }, false},
	{"ack_policy", func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckNonePolicy }, true},
	{"ack_policy", func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckAllPolicy }, true},
	{"backoff", func(c *jetstream.ConsumerConfig) { c.BackOff = []time.Duration{5 * time.Second, time.Minute} }, false},
	{"deliver_policy", func(c *jetstream.ConsumerConfig) { c.DeliverPolicy = jetstream.DeliverNewPolicy }, true},
	{"headers_only", func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true }, false},
	{"max_ack_pending", func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 99_999 }, false},
	{"max_batch", func(c *jetstream.ConsumerConfig) { c.MaxRequestBatch = 63 }, false},
	{"filter_subject", func(c *jetstream.ConsumerConfig) { c.FilterSubject = "orders.package.>" }, false},
	{"filter_subject", func(c *jetstream.ConsumerConfig) { c.FilterSubject = "orders.package.other" }, false},
	{"filter_subject", func(c *jetstream.ConsumerConfig) {
		c.FilterSubject, c.FilterSubjects = "", []string{"orders.package.request", "orders.package.other"}
	}, false},
	{"filter_subject", func(c *jetstream.ConsumerConfig) { c.FilterSubject = "" }, false}, // the stream has two subjects
	{"pause_until", func(c *jetstream.ConsumerConfig) { at := time.Now().Add(1000 * time.Hour); c.PauseUntil = &at }, false},
	{"ack_wait", func(c *jetstream.ConsumerConfig) { c.AckWait = time.Second }, true},
}

func TestConsumerRules(t *testing.T) {
	t.Parallel()
	of := func(c jetstream.ConsumerConfig, subjects ...string) auditedConsumer {
		return auditedConsumer{c, jetstream.StreamConfig{Subjects: subjects}, "orders.package.request", 64, names.AckWait, time.Now()}
	}
	two := []string{"orders.package.request", "orders.package.other"}
	if all := faults(consumerRules, "C", of(goodConsumer(), two...)); len(all) > 0 {
		t.Errorf("as the worker makes it: %v", all)
	}
	seen := map[string]bool{}
	for _, c := range consumerCases {
		seen[c.setting] = true
		bad := goodConsumer()
		c.change(&bad)
		if all := faults(consumerRules, "C", of(bad, two...)); len(all) != 1 || !strings.HasPrefix(all[0], "C: "+c.setting+" is ") {
			t.Errorf("%s: %q", c.setting, all)
		}
	}
	for _, r := range consumerRules {
		if !seen[r.setting] || r.why == "" || r.cure == "" {
			t.Errorf("the rule about %s has no case, or does not say why or what to do", r.setting)
		}
	}
	soon := time.Now().Add(time.Hour)
	for name, change := range map[string]func(*jetstream.ConsumerConfig){
		"no filter on a stream of orders alone": func(c *jetstream.ConsumerConfig) { c.FilterSubject = "" },
		"a short pause":                         func(c *jetstream.ConsumerConfig) { c.PauseUntil = &soon },
		"limits that are high enough":           func(c *jetstream.ConsumerConfig) { c.MaxAckPending, c.MaxRequestBatch = 100_000, 64 },
	} {
		c := goodConsumer()
		change(&c)
		if all := faults(consumerRules, "C", of(c, "orders.package.request")); len(all) > 0 {
			t.Errorf("%s: %v", name, all)
		}
	}
}

// wantLossy looks for a fault that begins with want, at the start and, with a
// warning, where it is allowed.
func wantLossy(t *testing.T, js jetstream.JetStream, want string) {
	t.Helper()
	_, err := Open(t.Context(), js, names, zerolog.Nop())
	lossy, ok := errors.AsType[*worker.LossyError](err)
	if !ok || !slices.ContainsFunc(lossy.Faults, func(f string) bool { return strings.HasPrefix(f, want) }) {
		t.Errorf("%v, want %s", err, want)
	}
	var log bytes.Buffer
	j := openLossy(t, js, zerolog.New(&log))
	if !strings.Contains(log.String(), `{"level":"warn","fault":"`+want) {
		t.Errorf("%s, want a warning of %s", &log, want)
	}
	before := log.Len()
	if _, err := j.Pending(t.Context()); err != nil || log.Len() != before || j.Ready(t.Context()) != nil {
		t.Errorf("what is allowed is said again: %v %s", err, log.Bytes()[before:])
	}
}

// A real server makes such streams, and says what they are like.
func TestExistingStreamsAreJudged(t *testing.T) {
	t.Parallel()
	for _, table := range tables {
		for _, c := range table.cases {
			if c.unreal {
				continue
			}
			t.Run(table.name+" "+c.setting, func(t *testing.T) {
				t.Parallel()
				js := newServer(t)
				config := table.good(&names)
				c.change(&config)
				if _, err := js.CreateStream(t.Context(), config); err != nil {
					t.Fatal(err)
				}
				wantLossy(t, js, "stream "+table.name+": "+c.setting+" is ")
			})
		}
	}
}

func TestExistingConsumersAreJudged(t *testing.T) {
	t.Parallel()
	for i, c := range consumerCases {
		if c.unreal {
			continue
		}
		t.Run(fmt.Sprint(c.setting, i), func(t *testing.T) {
			t.Parallel()
			js := newServer(t)
			stream := names.ordersConfig()
			stream.Subjects = append(stream.Subjects, "orders.package.other")
			if _, err := js.CreateStream(t.Context(), stream); err != nil {
				t.Fatal(err)
			}
			consumer := goodConsumer()
			c.change(&consumer)
			if _, err := js.CreateConsumer(t.Context(), "ORDERS", consumer); err != nil {
				t.Fatal(err)
			}
			wantLossy(t, js, "consumer order-worker: "+c.setting+" is ")
		})
	}
}

// Nothing can be done with these at all, allowed or not.
func TestUnfitStreams(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*testing.T, jetstream.JetStream) error
		want    string
	}{
		"mirror": {func(t *testing.T, js jetstream.JetStream) error {
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}}); err != nil {
				return err
			}
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Mirror: &jetstream.StreamSource{Name: "OTHER"}})
			return err
		}, "recreate the stream"},
		"another subject": {func(t *testing.T, js jetstream.JetStream) error {
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"a", "b"}})
			return err
		}, "nats stream edit ORDERS --subjects 'a,b,orders.package.request'"},
		"journal": {func(t *testing.T, js jetstream.JetStream) error {
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDER_JOURNAL", Subjects: []string{"orders.journal.x"}})
			return err
		}, "nats stream edit ORDER_JOURNAL --subjects 'orders.journal.x,orders.journal.*'"},
		"the subject is another stream's": {func(t *testing.T, js jetstream.JetStream) error {
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"orders.>"}})
			return err
		}, "subjects overlap"},
		"push consumer": {func(t *testing.T, js jetstream.JetStream) error {
			if _, err := js.CreateStream(t.Context(), names.ordersConfig()); err != nil {
				return err
			}
			_, err := js.CreatePushConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "order-worker", DeliverSubject: "x", AckPolicy: jetstream.AckExplicitPolicy})
			return err
		}, "nats consumer rm ORDERS order-worker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := newServer(t)
			if err := c.prepare(t, js); err != nil {
				t.Fatal(err)
			}
			names := names
			names.AllowLossy = true
			if _, err := Open(t.Context(), js, names, zerolog.Nop()); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// What is altered under a worker shows in Pending, and in Ready.
func TestStreamsThatAreAlteredAreReported(t *testing.T) {
	t.Parallel()
	alter := func(config jetstream.StreamConfig, change func(*jetstream.StreamConfig)) func(*testing.T, jetstream.JetStream) error {
		return func(t *testing.T, js jetstream.JetStream) error {
			change(&config)
			_, err := js.UpdateStream(t.Context(), config)
			return err
		}
	}
	for want, change := range map[string]func(*testing.T, jetstream.JetStream) error{
		"stream ORDERS: max_age is":              alter(names.ordersConfig(), aged(time.Hour)),
		"stream ORDERS: sealed is":               alter(names.ordersConfig(), sealIt),
		"stream ORDERS_DEAD: max_msgs is":        alter(names.deadConfig(), maxMsgs),
		"stream ORDER_RESULTS: max_age is":       alter(names.resultsConfig(), aged(time.Hour)),
		"stream ORDER_JOURNAL: max_bytes is":     alter(names.journalConfig(), maxBytes),
		"stream ORDER_RESULTS: its subjects are": alter(names.resultsConfig(), func(c *jetstream.StreamConfig) { c.Subjects = []string{"other"} }),
		"stream ORDER_JOURNAL: it is gone": func(t *testing.T, js jetstream.JetStream) error {
			return js.DeleteStream(t.Context(), "ORDER_JOURNAL")
		},
		"consumer order-worker: ack_wait is": func(t *testing.T, js jetstream.JetStream) error {
			c := goodConsumer()
			c.AckWait *= 2
			_, err := js.UpdateConsumer(t.Context(), "ORDERS", c)
			return err
		},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			js := newServer(t)
			j := open(t, js)
			if _, err := j.Pending(t.Context()); err != nil || j.Ready(t.Context()) != nil {
				t.Fatalf("as it was made: %v %v", err, j.Ready(t.Context()))
			}
			if err := change(t, js); err != nil {
				t.Fatal(err)
			}
			_, err := j.Pending(t.Context())
			lossy, ok := errors.AsType[*worker.LossyError](err)
			if !ok || !strings.Contains(fmt.Sprint(lossy.Faults), want) || j.Ready(t.Context()) == nil {
				t.Errorf("%v, ready: %v; want %s", err, j.Ready(t.Context()), want)
			}
		})
	}
}

func TestStreamsThatAreMadeAreLogged(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	opened := func() string {
		var log bytes.Buffer
		if _, err := Open(t.Context(), js, names, zerolog.New(&log)); err != nil {
			t.Fatal(err)
		}
		return log.String()
	}
	log := opened()
	if strings.Count(log, "\n") != 5 || strings.Count(log, `"message":"stream created"`) != 5 || !strings.Contains(log, `"retention":"WorkQueue"`) || strings.Contains(log, "warn") {
		t.Errorf("the first day: %s", log)
	}
	s, err := js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	if w := s.CachedInfo().Config.Duplicates; w != shortestWindow {
		t.Errorf("the duplicate window of orders is %v: a corrected request vanishes in it", w)
	}
	if log = opened(); log != "" {
		t.Errorf("nothing is made: %s", log)
	}
	request(t, js, "A")
	if err := js.DeleteStream(t.Context(), "ORDER_JOURNAL"); err != nil {
		t.Fatal(err)
	}
	if log = opened(); strings.Count(log, "\n") != 2 || !strings.Contains(log, `"level":"warn"`) || !strings.Contains(log, "unfinished orders are in doubt") {
		t.Errorf("a journal that is made beside an unfinished order: %s", log)
	}
}

func TestResultsKeptForLessThanDedupeTTLIsAWarning(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := names.resultsConfig()
	config.MaxAge = 200 * time.Hour
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := Open(t.Context(), js, names, zerolog.New(&log)); err != nil || !strings.Contains(log.String(), "DEDUPE_TTL") {
		t.Errorf("%v %s", err, &log)
	}
}

func TestOldServer(t *testing.T) {
	t.Parallel()
	for version, old := range map[string]bool{
		"2.12.0": false, "2.15.2": false, "2.12.0-RC.1": false, "3.0.0": false, "2.11.11": true, "2.9.0": true, "1.4.0": true, "": true, "x": true,
	} {
		if got := oldServer(version); (got != "") != old {
			t.Errorf("%q: %q", version, got)
		}
	}
}

// older stands before a server and says that it is an older one.
func older(t *testing.T, addr string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", addr)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() { _, _ = io.Copy(there, client); _ = there.Close() }()
			go func() {
				buf := make([]byte, 32<<10)
				for {
					n, err := there.Read(buf)
					if err != nil {
						break
					}
					_, _ = client.Write(bytes.ReplaceAll(buf[:n], []byte(`"version":"2.1`), []byte(`"version":"2.9.1`))) // in every INFO
				}
				_ = client.Close()
			}()
		}
	}()
	return "nats://" + l.Addr().String()
}

func TestOldServerIsRefused(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(older(t, storetest.NATS(t).Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	wantLossy(t, js, "NATS: version is 2.9.1")
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*jetstream.StreamConfig){
		"as the worker makes the stream": func(*jetstream.StreamConfig) {},
		"beside another subject":         func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "orders.other") },
		"finished requests are kept":     func(c *jetstream.StreamConfig) { c.Retention = jetstream.LimitsPolicy },
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); testBacklog(t, change) })
	}
}

func testBacklog(t *testing.T, change func(*jetstream.StreamConfig)) {
	js := newServer(t)
	stream := names.ordersConfig()
	change(&stream)
	if _, err := js.CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	j := openLossy(t, js, zerolog.Nop())
	want := func(pending, ackPending, oldest uint64) {
		t.Helper()
		storetest.Eventually(t, fmt.Sprintf("%d pending, %d not acknowledged, message %d is the oldest", pending, ackPending, oldest), func() bool {
			b, err := j.Pending(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var at time.Time
			if oldest > 0 {
				m, found, err := readLeader(t.Context(), j.js, "ORDERS", get{Seq: oldest})
				if err != nil || !found {
					return false
				}
				at = m.Time
			}
			return b.Pending == pending && b.AckPending == ackPending && b.Oldest.Equal(at)
		})
	}
	want(0, 0, 0)
	first := uint64(1)
	if len(stream.Subjects) > 1 {
		if _, err := js.Publish(t.Context(), "orders.other", nil); err != nil { // is nobody's order
			t.Fatal(err)
		}
		first++
		want(0, 0, 0)
	}
	request(t, js, "first")
	request(t, js, "second")
	want(2, 0, first)
	all := pull(t, j, 2)
	want(0, 2, first)
	ack(t, all[1])
	want(0, 1, first)
	request(t, js, "third")
	ack(t, all[0])
	want(1, 0, first+2)
}

// TestJournalWithAnAgeLimitWarns: what an operator decided would be dropped with it.
func TestJournalWithAnAgeLimitWarns(t *testing.T) {
	t.Parallel()
	js := newServer(t)
	config := names.journalConfig()
	config.MaxAge = 2 * names.JournalTTL
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if _, err := Open(t.Context(), js, names, zerolog.New(&log)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "what an operator has settled or cancelled is dropped after it") {
		t.Errorf("no warning: %s", &log)
	}
}
