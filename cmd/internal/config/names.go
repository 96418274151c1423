package config

import (
	"slices"
	"strings"
	"unicode"
)

// checkStreams reports names that NATS does not accept, and names that are used twice.
func (s *Settings) checkStreams(f *Faults) {
	names := []struct{ name, value string }{
		{"ORDERS_STREAM", s.OrdersStream},
		{"RESULTS_STREAM", s.ResultsStream},
		{"DEAD_STREAM", s.DeadStream},
		{"JOURNAL_STREAM", s.JournalStream},
	}
	for i, n := range names {
		checkName(f, n.name, n.value)
		for _, other := range names[:i] {
			if n.value == other.value {
				f.Add(n.name, "(%q) is %s as well: each needs a stream of its own", n.value, other.name)
			}
		}
	}
	checkName(f, "ORDERS_CONSUMER", s.OrdersConsumer)
	AtLeast(f, "ORDERS_ACK_WAIT", s.OrdersAckWait, minAckWait, ": a heartbeat must go out every quarter of it")
	if s.JournalTTL < minJournalTTL && s.JournalTTL != 0 {
		f.Add("JOURNAL_TTL", "(%v) must be 0 (no journal) or at least %v", s.JournalTTL, minJournalTTL)
	}

	// Results and journal records are published below their subject, so no other
	// subject may be there: its stream would store them, or NATS would refuse it.
	subjects := []struct {
		name, value string
		parent      bool
	}{
		{"ORDERS_SUBJECT", s.OrdersSubject, false},
		{"RESULTS_SUBJECT", s.ResultsSubject, true},
		{"DEAD_SUBJECT", s.DeadSubject, false},
		{"JOURNAL_SUBJECT", s.JournalSubject, true},
	}
	for i, n := range subjects {
		checkSubject(f, n.name, n.value)
		for _, other := range subjects[:i] {
			switch {
			case n.value == other.value:
				f.Add(n.name, "(%q) is %s as well: each needs a subject of its own", n.value, other.name)
			case other.parent && strings.HasPrefix(n.value, other.value+"."),
				n.parent && strings.HasPrefix(other.value, n.value+"."):
				f.Add(n.name, "(%q) and %s (%q) lie one under the other", n.value, other.name, other.value)
			}
		}
	}
}

// checkName reports what cannot be the name of a stream or consumer.
//
// Source: https://docs.nats.io/running-a-nats-service/nats_admin/jetstream_admin/naming.
func checkName(f *Faults, name, value string) {
	if value == "" || len(value) > 255 || strings.ContainsFunc(value, func(r rune) bool {
		return strings.ContainsRune(`.*>/\`, r) || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}) {
		f.Add(name, `(%q) must be 1 to 255 printable characters without space . * > / \`, value)
	}
}

// checkSubject reports what is not a subject without wildcards, or is NATS's own.
func checkSubject(f *Faults, name, value string) {
	if strings.ContainsFunc(value, func(r rune) bool {
		return strings.ContainsRune("*>", r) || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}) || slices.Contains(strings.Split(value, "."), "") || value[0] == '$' {
		f.Add(name, "(%q) must be words joined by dots, without space, * or >, and not begin with $", value)
	}
}
