package natsio

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// rules are those of the streams, by name.
func (s *Streams) rules() map[string][]rule[judged] {
	return map[string][]rule[judged]{s.Orders: ordersRules, s.Results: resultsRules, s.Dead: deadRules, s.Journal: journalRules}
}

// Audit lists what is wrong with an existing stream of s, as Open would say, and
// makes and alters nothing. A stream that s does not name has no faults.
//
// Source: contract, section 9.
func (s *Streams) Audit(got jetstream.StreamConfig) []string {
	var found []string
	for _, want := range s.all() {
		if want.Name != got.Name {
			continue
		}
		if missing := missingSubject(got, want.Subjects[0]); missing != "" {
			found = append(found, missing)
		}
		found = append(found, faults(s.rules()[got.Name], "stream "+got.Name, judged{got, s.JournalTTL, s.DedupeTTL})...)
	}
	return found
}

// AuditConsumer lists what is wrong with the existing consumer of the orders
// stream, as Audit does.
func (s *Streams) AuditConsumer(got jetstream.ConsumerConfig, orders jetstream.StreamConfig) []string {
	return faults(consumerRules, "consumer "+got.Name, judgedConsumer{got, orders, s.OrdersSubject, s.Concurrency, got.AckWait, time.Now()})
}
