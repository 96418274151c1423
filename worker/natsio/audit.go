package natsio

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// rule is a setting with which an order could be lost, hidden, never delivered, or bought
// twice. It is checked against a stream or consumer that exists.
type rule[T any] struct {
	setting string              // as the nats tool names it
	bad     func(T) (any, bool) // returns the value, and whether it is bad
	why     string              // what would happen
	cure    string              // what an operator has to do
}

// faults returns one line for each rule that subject breaks; name begins the line.
func faults[T any](rules []rule[T], name string, subject T) []string {
	var all []string
	for _, r := range rules {
		if value, bad := r.bad(subject); bad {
			all = append(all, fmt.Sprintf("%s: %s is %v: %s; %s", name, r.setting, value, r.why, r.cure))
		}
	}
	return all
}

// auditedStream is a stream that exists, and the worker's settings it has to fit.
type auditedStream struct {
	jetstream.StreamConfig
	journalTTL, dedupeTTL time.Duration
}

// Audit returns what is wrong with a stream of s that exists, as Open would report it,
// in one line each. It changes nothing. A stream that s does not name has no faults.
//
// Source: contract, section 9.
func (s *Streams) Audit(got jetstream.StreamConfig) []string {
	rules := map[string][]rule[auditedStream]{s.Orders: ordersRules, s.Results: resultsRules, s.Dead: deadRules, s.Journal: journalRules, ControlStream: controlRules}
	var found []string
	for _, want := range s.all() {
		if want.Name != got.Name {
			continue
		}
		if missing := missingSubject(got, want.Subjects[0]); missing != "" {
			found = append(found, missing)
		}
		found = append(found, faults(rules[got.Name], "stream "+got.Name, auditedStream{got, s.JournalTTL, s.DedupeTTL})...)
	}
	return found
}

// AuditConsumer returns what is wrong with the consumer of the orders stream, as Audit
// does.
func (s *Streams) AuditConsumer(got jetstream.ConsumerConfig, orders jetstream.StreamConfig) []string {
	return faults(consumerRules, "consumer "+got.Name, auditedConsumer{got, orders, s.OrdersSubject, s.Concurrency, got.AckWait, time.Now()})
}

func streamRule(setting string, bad func(auditedStream) (any, bool), why, cure string) rule[auditedStream] {
	return rule[auditedStream]{setting, bad, why, cure}
}

const (
	recreate  = "it cannot be changed: recreate the stream"
	turnOff   = "turn it off"
	setToNone = "set it to -1 (no limit)"
)

// mustBeOff is the check of a setting that must be off.
func mustBeOff(on func(auditedStream) bool) func(auditedStream) (any, bool) {
	return func(c auditedStream) (any, bool) { return "on", on(c) }
}

// limitWithDiscardOld is the check of a limit at which the oldest messages are dropped
// for new ones.
func limitWithDiscardOld(limit func(auditedStream) int64) func(auditedStream) (any, bool) {
	return func(c auditedStream) (any, bool) {
		n := limit(c)
		return fmt.Sprintf("%d with discard old", n), n > 0 && c.Discard == jetstream.DiscardOld
	}
}

// The following rules apply to several streams; why differs from stream to stream.

func memoryStorage(why string) rule[auditedStream] {
	return streamRule("storage", func(c auditedStream) (any, bool) { return "memory", c.Storage == jetstream.MemoryStorage }, why, recreate+" with storage file")
}

func wrongRetention(why, cure string, bad ...jetstream.RetentionPolicy) rule[auditedStream] {
	return streamRule("retention", func(c auditedStream) (any, bool) {
		return strings.ToLower(c.Retention.String()), slices.Contains(bad, c.Retention)
	}, why, cure)
}

func limitsThatDropOldest(why string) []rule[auditedStream] {
	const cure = "set discard to new"
	return []rule[auditedStream]{
		streamRule("max_msgs", limitWithDiscardOld(func(c auditedStream) int64 { return c.MaxMsgs }), why, cure),
		streamRule("max_bytes", limitWithDiscardOld(func(c auditedStream) int64 { return c.MaxBytes }), why, cure),
	}
}

// limitPerSubject is bad with discard new too: it drops the oldest message of a subject
// unless discard_new_per_subject is on.
func limitPerSubject(why string) rule[auditedStream] {
	return streamRule("max_msgs_per_subject", func(c auditedStream) (any, bool) {
		return c.MaxMsgsPerSubject, c.MaxMsgsPerSubject > 0 && !(c.Discard == jetstream.DiscardNew && c.DiscardNewPerSubject)
	}, why, setToNone)
}

func sealed(why string) rule[auditedStream] {
	return streamRule("sealed", mustBeOff(func(c auditedStream) bool { return c.Sealed }), why, recreate)
}

func mirrorsAndSources(why string) []rule[auditedStream] {
	return []rule[auditedStream]{
		streamRule("mirror", func(c auditedStream) (any, bool) { return "set", c.Mirror != nil }, why, recreate+" without it"),
		streamRule("sources", func(c auditedStream) (any, bool) { return "set", len(c.Sources) > 0 }, why, "remove them"),
	}
}

func subjectTransform(why string) rule[auditedStream] {
	return streamRule("subject_transform", func(c auditedStream) (any, bool) { return "set", c.SubjectTransform != nil }, why, "remove it")
}

func asyncPersist(why string) rule[auditedStream] {
	return streamRule("persist_mode", func(c auditedStream) (any, bool) { return "async", c.PersistMode == jetstream.AsyncPersistMode }, why, recreate+" with persist_mode default")
}

func rollupHeaders(why string) rule[auditedStream] {
	return streamRule("allow_rollup_hdrs", mustBeOff(func(c auditedStream) bool { return c.AllowRollup }), why, turnOff)
}

func withoutAcks() rule[auditedStream] {
	return streamRule("no_ack", mustBeOff(func(c auditedStream) bool { return c.NoAck }), "no write is ever confirmed", turnOff)
}

// ordersRules are the rules of the orders stream.
//
// Source: contract, section 9, also for the three lists that follow.
var ordersRules = slices.Concat([]rule[auditedStream]{
	streamRule("max_age", func(c auditedStream) (any, bool) { return c.MaxAge, c.MaxAge > 0 }, "an older order is dropped", "set it to 0"),
	memoryStorage("orders are lost when the server restarts"),
	wrongRetention("it must be workqueue: with interest, orders are dropped while there is no consumer; with limits, finished orders are delivered again to a consumer that is recreated",
		recreate+" with retention workqueue", jetstream.InterestPolicy, jetstream.LimitsPolicy),
	limitPerSubject("all orders have one subject, and the oldest is dropped for a new one"),
	streamRule("allow_msg_ttl", mustBeOff(func(c auditedStream) bool { return c.AllowMsgTTL }), "a publisher's header drops an order", recreate+" without it"),
	rollupHeaders("a publisher's header drops all other orders"),
	subjectTransform("orders are stored under another subject"),
	sealed("no order can be acknowledged"),
	asyncPersist("an order that was acknowledged to its publisher is lost when the server dies"),
}, limitsThatDropOldest("the oldest orders are dropped when it is reached"),
	mirrorsAndSources("messages arrive that were not published to ORDERS_SUBJECT"))

// journalRules are the rules of the journal stream.
var journalRules = slices.Concat([]rule[auditedStream]{
	streamRule("max_age", func(c auditedStream) (any, bool) { return c.MaxAge, c.MaxAge > 0 && c.MaxAge < c.journalTTL },
		"a record is dropped before JOURNAL_TTL, and its order could be bought again", "set it to 0, or to more than JOURNAL_TTL"),
	memoryStorage("a restart forgets what was being sent"),
	wrongRetention("records are dropped as consumers come and go", recreate+" with retention limits", jetstream.InterestPolicy, jetstream.WorkQueuePolicy),
	streamRule("max_msgs_per_subject", func(c auditedStream) (any, bool) { return c.MaxMsgsPerSubject, c.MaxMsgsPerSubject != 1 },
		"an old record comes back when the last one expires", "set it to 1"),
	streamRule("discard_new_per_subject", mustBeOff(func(c auditedStream) bool { return c.DiscardNewPerSubject }), "an order's second record is refused", turnOff),
	streamRule("allow_msg_ttl", func(c auditedStream) (any, bool) { return "off", !c.AllowMsgTTL }, "records that carry a TTL are refused", "turn it on"),
	rollupHeaders("a header drops all other records"),
	subjectTransform("records are not found under the subject that they were written to"),
	sealed("nothing can be written"),
	asyncPersist("a record that was confirmed is lost when the server dies"),
	withoutAcks(),
}, limitsThatDropOldest("a full journal drops what is being sent"),
	mirrorsAndSources("records of somebody else replace ours"))

// deadRules are the rules of the dead-letter stream.
var deadRules = slices.Concat([]rule[auditedStream]{
	memoryStorage("a restart drops them"),
	wrongRetention("they are dropped as consumers come and go", recreate+" with retention limits", jetstream.InterestPolicy, jetstream.WorkQueuePolicy),
	limitPerSubject("the oldest are dropped when it is reached"),
	sealed("nothing can be written"),
	withoutAcks(),
}, limitsThatDropOldest("the oldest are dropped when it is reached"))

// resultsRules are the rules of the results stream: its events record which orders are
// finished.
var resultsRules = slices.Concat(deadRules, []rule[auditedStream]{
	streamRule("max_age", func(c auditedStream) (any, bool) { return c.MaxAge, c.MaxAge > 0 && c.MaxAge < c.journalTTL },
		"an event is dropped before JOURNAL_TTL, while it is the record that its order is finished", "set it to 0, or to DEDUPE_TTL"),
	subjectTransform("events are not found under the subject of their order"),
	asyncPersist("an event that was confirmed is lost when the server dies"),
})

// resultsWarnings are rules of the results stream with which no order is lost.
var resultsWarnings = []rule[auditedStream]{
	streamRule("max_age", func(c auditedStream) (any, bool) {
		return c.MaxAge, c.MaxAge >= c.journalTTL && c.MaxAge > 0 && c.MaxAge < c.dedupeTTL
	},
		"an event is dropped before DEDUPE_TTL", "set it to 0, or to DEDUPE_TTL"),
}

// journalWarnings are rules of the journal stream whose breach can lose an operator's
// verdict, but lets no order be sent twice while workers run.
var journalWarnings = []rule[auditedStream]{
	streamRule("max_age", func(c auditedStream) (any, bool) { return c.MaxAge, c.MaxAge >= c.journalTTL && c.MaxAge > 0 },
		"what an operator has settled or cancelled is dropped after it, even where no worker has published it", "set it to 0"),
}

// controlRules are the rules of the bucket with the operator's word.
var controlRules = slices.Concat([]rule[auditedStream]{
	streamRule("max_age", func(c auditedStream) (any, bool) { return c.MaxAge, c.MaxAge > 0 }, "a pause ends before the operator says so", "set it to 0"),
	memoryStorage("a restart ends the operator's pause"),
	wrongRetention("the operator's pause is dropped as consumers come and go", recreate+" with retention limits", jetstream.InterestPolicy, jetstream.WorkQueuePolicy),
	streamRule("discard_new_per_subject", mustBeOff(func(c auditedStream) bool { return c.DiscardNewPerSubject }), "an operator can neither pause nor resume when the history is full", turnOff),
	subjectTransform("the operator's word is not found under the key that it was written to"),
	sealed("no operator can pause or resume"),
	asyncPersist("a pause that was confirmed is lost when the server dies"),
	withoutAcks(),
}, limitsThatDropOldest("the operator's pause is dropped when it is reached"),
	mirrorsAndSources("somebody else's word replaces the operator's"))

// auditedConsumer is a consumer that exists, and what it has to fit.
type auditedConsumer struct {
	jetstream.ConsumerConfig
	stream      jetstream.StreamConfig
	subject     string // ORDERS_SUBJECT
	concurrency int
	ackWait     time.Duration // the consumer's when this worker started
	now         time.Time
}

// longPause is how far away pause_until may be: a longer pause is a mistake.
const longPause = 24 * time.Hour

// minAckPending is the least max_ack_pending: orders that wait for their next attempt
// count against it.
const minAckPending = 100_000

// consumerRules are the rules of the orders consumer. Open refuses a push consumer
// before they apply.
var consumerRules = []rule[auditedConsumer]{
	{"max_deliver", func(c auditedConsumer) (any, bool) { return c.MaxDeliver, c.MaxDeliver > 0 }, "an order is stuck for ever when it is reached", "set it to -1"},
	{"ack_policy", func(c auditedConsumer) (any, bool) { return c.AckPolicy, c.AckPolicy != jetstream.AckExplicitPolicy },
		"orders are dropped before they are done", "delete the consumer: the worker makes it with ack policy explicit"},
	{"backoff", func(c auditedConsumer) (any, bool) { return c.BackOff, len(c.BackOff) > 0 }, "it distorts the waits of orders", "remove it"},
	{"deliver_policy", func(c auditedConsumer) (any, bool) {
		return c.DeliverPolicy, c.DeliverPolicy != jetstream.DeliverAllPolicy
	},
		"older orders are never delivered", "delete the consumer: the worker makes it with deliver policy all"},
	{"headers_only", func(c auditedConsumer) (any, bool) { return "on", c.HeadersOnly }, "every order comes without its payload, and is rejected", "turn it off"},
	{"max_ack_pending", func(c auditedConsumer) (any, bool) {
		return c.MaxAckPending, c.MaxAckPending > 0 && c.MaxAckPending < minAckPending
	},
		"new orders wait behind those that wait for their next attempt", "set it to -1"},
	{"max_batch", func(c auditedConsumer) (any, bool) {
		return c.MaxRequestBatch, c.MaxRequestBatch > 0 && c.MaxRequestBatch < c.concurrency
	},
		"it is less than CONCURRENCY", "set it to 0 (no limit)"},
	{"filter_subject", func(c auditedConsumer) (any, bool) {
		filters := c.filters()
		return fmt.Sprint(filters), slices.ContainsFunc(filters, func(f string) bool { return f != c.subject }) || len(filters) == 0
	}, "other messages are delivered, or orders are not", "set it to ORDERS_SUBJECT alone"},
	{"pause_until", func(c auditedConsumer) (any, bool) {
		return c.PauseUntil, c.PauseUntil != nil && c.PauseUntil.Sub(c.now) > longPause
	}, "no order is delivered until then", "resume it: nats consumer resume"},
	{"ack_wait", func(c auditedConsumer) (any, bool) { return c.AckWait, c.AckWait > 0 && c.AckWait != c.ackWait },
		"this worker started with another", "restart it"},
}

// filters returns the subjects that the consumer delivers.
func (c *auditedConsumer) filters() []string {
	switch {
	case c.FilterSubject != "":
		return []string{c.FilterSubject}
	case len(c.FilterSubjects) > 0:
		return c.FilterSubjects
	}
	return c.stream.Subjects
}

// minMajor and minMinor are the oldest version that may be used. In older ones a
// publisher can call the JetStream API with the server's permissions, by the reply
// subject of a publish.
const minMajor, minMinor = 2, 12

// missingSubject returns a fault if the stream does not store every subject that want
// matches, and "" if it does.
func missingSubject(c jetstream.StreamConfig, want string) string {
	if slices.ContainsFunc(c.Subjects, func(has string) bool { return Covers(has, want) }) {
		return ""
	}
	cure := fmt.Sprintf("add it: nats stream edit %s --subjects '%s'", c.Name, strings.Join(append(slices.Clone(c.Subjects), want), ","))
	if c.Mirror != nil {
		cure = "a mirror has none: recreate the stream without it"
	}
	return fmt.Sprintf("stream %s: its subjects are %v, without %s; %s", c.Name, c.Subjects, want, cure)
}

// oldServer returns a fault if the server's version is too old, and "" if it is not.
func oldServer(version string) string {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err == nil && (major > minMajor || major == minMajor && minor >= minMinor) {
		return ""
	}
	return fmt.Sprintf("NATS: version is %s: a publisher can make the server write where the publisher may not; use %d.%d or newer", version, minMajor, minMinor)
}
