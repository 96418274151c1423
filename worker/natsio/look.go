package natsio

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Audit lists what is wrong with an existing stream of s, as Open would say, and
// makes and alters nothing. A stream that s does not name has no faults.
//
// Source: contract, section 9.
func (s *Streams) Audit(got jetstream.StreamConfig) []string {
	var faults []string
	for _, want := range []jetstream.StreamConfig{s.ordersConfig(), s.resultsConfig(), s.deadConfig()} {
		if want.Name != got.Name {
			continue
		}
		for _, subject := range want.Subjects {
			if !slices.ContainsFunc(got.Subjects, func(has string) bool { return covers(has, subject) }) {
				faults = append(faults, fmt.Sprintf("stream %s: its subjects are %v, without %s; add it: nats stream edit %s --subjects '%s'",
					got.Name, got.Subjects, subject, got.Name, strings.Join(append(slices.Clone(got.Subjects), subject), ",")))
			}
		}
	}
	if got.Name == s.Orders {
		faults = append(faults, auditOrders(got)...)
	}
	return faults
}

// AuditConsumer lists what is wrong with the existing consumer, as Audit does.
func (s *Streams) AuditConsumer(got jetstream.ConsumerConfig) []string {
	faults := auditConsumer(got)
	for _, filter := range append(slices.Clone(got.FilterSubjects), got.FilterSubject) {
		if filter != "" && !covers(filter, s.OrdersSubject) {
			faults = append(faults, fmt.Sprintf("consumer %s: it filters %s, not %s", got.Name, filter, s.OrdersSubject))
		}
	}
	return faults
}
