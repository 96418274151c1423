package natsio

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// rule is a setting by which an order could be lost, hidden, starved, or bought
// twice. It is judged by what of an existing stream or consumer the server says.
type rule[T any] struct {
	setting string              // as the nats tool spells it
	bad     func(T) (any, bool) // its value, and whether that is bad
	why     string              // what would happen
	cure    string              // what to do about it
}

// faults lists what is bad about what, in one line each.
func faults[T any](rules []rule[T], what string, of T) []string {
	var all []string
	for _, r := range rules {
		if value, bad := r.bad(of); bad {
			all = append(all, fmt.Sprintf("%s: %s is %v: %s; %s", what, r.setting, value, r.why, r.cure))
		}
	}
	return all
}

// judged is an existing stream, with the settings of the worker that it is judged by.
type judged struct {
	jetstream.StreamConfig
	journal, dedupeTTL time.Duration
}

// streamRule makes a rule of a condition.
func streamRule(setting string, bad func(judged) (any, bool), why, cure string) rule[judged] {
	return rule[judged]{setting, bad, why, cure}
}

const (
	anew      = "it cannot be changed: make the stream anew"
	turnOff   = "turn it off"
	setToNone = "set it to -1 (no limit)"
)

// on is a setting that must be off.
func on(is func(judged) bool) func(judged) (any, bool) {
	return func(c judged) (any, bool) { return "on", is(c) }
}

// limit is a number that must not be limited where the oldest messages leave for new ones.
func limit(number func(judged) int64) func(judged) (any, bool) {
	return func(c judged) (any, bool) {
		n := number(c)
		return fmt.Sprintf("%d with discard old", n), n > 0 && c.Discard == jetstream.DiscardOld
	}
}

// Rules that several streams have in common; what happens is each one's own.
func inMemory(why string) rule[judged] {
	return streamRule("storage", func(c judged) (any, bool) { return "memory", c.Storage == jetstream.MemoryStorage }, why, anew+" with storage file")
}

func retained(why, cure string, bad ...jetstream.RetentionPolicy) rule[judged] {
	return streamRule("retention", func(c judged) (any, bool) {
		return strings.ToLower(c.Retention.String()), slices.Contains(bad, c.Retention)
	}, why, cure)
}

func dropsOldest(why string) []rule[judged] {
	const cure = "set discard to new"
	return []rule[judged]{
		streamRule("max_msgs", limit(func(c judged) int64 { return c.MaxMsgs }), why, cure),
		streamRule("max_bytes", limit(func(c judged) int64 { return c.MaxBytes }), why, cure),
	}
}

// perSubject drops the oldest message of a subject with discard new, too.
func perSubject(why string) rule[judged] {
	return streamRule("max_msgs_per_subject", func(c judged) (any, bool) {
		return c.MaxMsgsPerSubject, c.MaxMsgsPerSubject > 0 && !(c.Discard == jetstream.DiscardNew && c.DiscardNewPerSubject)
	}, why, setToNone)
}

func sealed(why string) rule[judged] {
	return streamRule("sealed", on(func(c judged) bool { return c.Sealed }), why, anew)
}

func mirrors(why string) []rule[judged] {
	return []rule[judged]{
		streamRule("mirror", func(c judged) (any, bool) { return "set", c.Mirror != nil }, why, anew+" without it"),
		streamRule("sources", func(c judged) (any, bool) { return "set", len(c.Sources) > 0 }, why, "remove them"),
	}
}

func transforms(why string) rule[judged] {
	return streamRule("subject_transform", func(c judged) (any, bool) { return "set", c.SubjectTransform != nil }, why, "remove it")
}

func persistsLate(why string) rule[judged] {
	return streamRule("persist_mode", func(c judged) (any, bool) { return "async", c.PersistMode == jetstream.AsyncPersistMode }, why, anew+" with persist_mode default")
}

func rollsUp(why string) rule[judged] {
	return streamRule("allow_rollup_hdrs", on(func(c judged) bool { return c.AllowRollup }), why, turnOff)
}

func unconfirmed() rule[judged] {
	return streamRule("no_ack", on(func(c judged) bool { return c.NoAck }), "no write is ever confirmed", turnOff)
}

// ordersRules are those of the requests.
//
// Source: contract, section 9, as the three lists that follow.
var ordersRules = slices.Concat([]rule[judged]{
	streamRule("max_age", func(c judged) (any, bool) { return c.MaxAge, c.MaxAge > 0 }, "an older order is dropped", "set it to 0"),
	inMemory("orders are lost when the server restarts"),
	retained("it must be workqueue: with interest orders are dropped while there is no consumer, with limits orders that are done are delivered again to a consumer that is made anew",
		anew+" with retention workqueue", jetstream.InterestPolicy, jetstream.LimitsPolicy),
	perSubject("all orders have one subject, and the oldest is dropped for a new one"),
	streamRule("allow_msg_ttl", on(func(c judged) bool { return c.AllowMsgTTL }), "a publisher's header drops an order", anew+" without it"),
	rollsUp("a publisher's header drops all other orders"),
	transforms("orders are stored under another subject"),
	sealed("no order can be acknowledged"),
	persistsLate("an order that was acknowledged to its publisher is lost when the server dies"),
}, dropsOldest("the oldest orders are dropped when it is reached"),
	mirrors("messages come in by another way than ORDERS_SUBJECT"))

// journalRules are those of the journal.
var journalRules = slices.Concat([]rule[judged]{
	streamRule("max_age", func(c judged) (any, bool) { return c.MaxAge, c.MaxAge > 0 && c.MaxAge < c.journal },
		"a record is dropped before JOURNAL_TTL, and its order could be bought again", "set it to 0, or to more than JOURNAL_TTL"),
	inMemory("a restart forgets what was being sent"),
	retained("records leave as consumers come and go", anew+" with retention limits", jetstream.InterestPolicy, jetstream.WorkQueuePolicy),
	streamRule("max_msgs_per_subject", func(c judged) (any, bool) { return c.MaxMsgsPerSubject, c.MaxMsgsPerSubject != 1 },
		"an old record comes back when the last one expires", "set it to 1"),
	streamRule("discard_new_per_subject", on(func(c judged) bool { return c.DiscardNewPerSubject }), "an order's second record is refused", turnOff),
	streamRule("allow_msg_ttl", func(c judged) (any, bool) { return "off", !c.AllowMsgTTL }, "records that carry a TTL are refused", "turn it on"),
	rollsUp("a header drops all other records"),
	transforms("records are not found under the subject that they were written to"),
	sealed("nothing can be written"),
	persistsLate("a record that was confirmed is lost when the server dies"),
	unconfirmed(),
}, dropsOldest("a full journal drops what is being sent"),
	mirrors("records of somebody else replace ours"))

// deadRules are those of the dead letters.
var deadRules = slices.Concat([]rule[judged]{
	inMemory("a restart drops them"),
	retained("they leave as consumers come and go", anew+" with retention limits", jetstream.InterestPolicy, jetstream.WorkQueuePolicy),
	perSubject("the oldest are dropped when it is reached"),
	sealed("nothing can be written"),
	unconfirmed(),
}, dropsOldest("the oldest are dropped when it is reached"))

// resultsRules are those of the results, which are the record that an order is finished.
var resultsRules = slices.Concat(deadRules, []rule[judged]{
	streamRule("max_age", func(c judged) (any, bool) { return c.MaxAge, c.MaxAge > 0 && c.MaxAge < c.journal },
		"an event is dropped before JOURNAL_TTL, while it is the record that its order is finished", "set it to 0, or to DEDUPE_TTL"),
	transforms("events are not found under the subject of their order"),
	persistsLate("an event that was confirmed is lost when the server dies"),
})

// resultsWarnings are about the results too, but lose no order.
var resultsWarnings = []rule[judged]{
	streamRule("max_age", func(c judged) (any, bool) {
		return c.MaxAge, c.MaxAge >= c.journal && c.MaxAge > 0 && c.MaxAge < c.dedupeTTL
	},
		"an event is dropped before DEDUPE_TTL", "set it to 0, or to DEDUPE_TTL"),
}

// judgedConsumer is an existing consumer, with what it is judged by.
type judgedConsumer struct {
	jetstream.ConsumerConfig
	stream      jetstream.StreamConfig
	subject     string // of orders
	concurrency int
	ackWait     time.Duration // when this worker started
	now         time.Time
}

// longPause is a pause that nobody waits for.
const longPause = 24 * time.Hour

// minAckPending is how many orders must be able to wait for their next attempt.
const minAckPending = 100_000

// consumerRules are those of the consumer that hands out orders. A push consumer
// cannot be opened at all.
var consumerRules = []rule[judgedConsumer]{
	{"max_deliver", func(c judgedConsumer) (any, bool) { return c.MaxDeliver, c.MaxDeliver > 0 }, "an order is stuck for ever when it is reached", "set it to -1"},
	{"ack_policy", func(c judgedConsumer) (any, bool) { return c.AckPolicy, c.AckPolicy != jetstream.AckExplicitPolicy },
		"orders are dropped before they are done", "delete the consumer: the worker makes it with ack policy explicit"},
	{"backoff", func(c judgedConsumer) (any, bool) { return c.BackOff, len(c.BackOff) > 0 }, "it distorts the waits of orders", "remove it"},
	{"deliver_policy", func(c judgedConsumer) (any, bool) {
		return c.DeliverPolicy, c.DeliverPolicy != jetstream.DeliverAllPolicy
	},
		"older orders are never delivered", "delete the consumer: the worker makes it with deliver policy all"},
	{"headers_only", func(c judgedConsumer) (any, bool) { return "on", c.HeadersOnly }, "every order comes without its payload, and is rejected", "turn it off"},
	{"max_ack_pending", func(c judgedConsumer) (any, bool) {
		return c.MaxAckPending, c.MaxAckPending > 0 && c.MaxAckPending < minAckPending
	},
		"new orders starve behind those that wait", "set it to -1"},
	{"max_batch", func(c judgedConsumer) (any, bool) {
		return c.MaxRequestBatch, c.MaxRequestBatch > 0 && c.MaxRequestBatch < c.concurrency
	},
		"it is less than CONCURRENCY", "set it to 0 (no limit)"},
	{"filter_subject", func(c judgedConsumer) (any, bool) {
		filters := c.filters()
		return fmt.Sprint(filters), slices.ContainsFunc(filters, func(f string) bool { return f != c.subject }) || len(filters) == 0
	}, "other messages are handed out, or orders are not", "set it to ORDERS_SUBJECT alone"},
	{"pause_until", func(c judgedConsumer) (any, bool) {
		return c.PauseUntil, c.PauseUntil != nil && c.PauseUntil.Sub(c.now) > longPause
	}, "no order is handed out until then", "resume it: nats consumer resume"},
	{"ack_wait", func(c judgedConsumer) (any, bool) { return c.AckWait, c.AckWait > 0 && c.AckWait != c.ackWait },
		"this worker started with another", "restart it"},
}

// filters are the subjects that the consumer hands out.
func (c *judgedConsumer) filters() []string {
	switch {
	case c.FilterSubject != "":
		return []string{c.FilterSubject}
	case len(c.FilterSubjects) > 0:
		return c.FilterSubjects
	}
	return c.stream.Subjects
}

// minMajor, minMinor is the first version whose reply subjects cannot be used by a
// publisher to call the API with the server's authority.
const minMajor, minMinor = 2, 12

// missingSubject says that what want matches is not stored in a stream, "" for it is.
func missingSubject(c jetstream.StreamConfig, want string) string {
	if slices.ContainsFunc(c.Subjects, func(has string) bool { return Covers(has, want) }) {
		return ""
	}
	cure := fmt.Sprintf("add it: nats stream edit %s --subjects '%s'", c.Name, strings.Join(append(slices.Clone(c.Subjects), want), ","))
	if c.Mirror != nil {
		cure = "a mirror has none: make the stream anew without it"
	}
	return fmt.Sprintf("stream %s: its subjects are %v, without %s; %s", c.Name, c.Subjects, want, cure)
}

// oldServer says what is wrong with a server's version, "" for nothing.
func oldServer(version string) string {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err == nil && (major > minMajor || major == minMajor && minor >= minMinor) {
		return ""
	}
	return fmt.Sprintf("NATS: version is %s: a publisher can have the server write where it may not itself; use %d.%d or newer", version, minMajor, minMinor)
}
