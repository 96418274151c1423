package natsio

import (
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// auditOrders lists what could drop an unacknowledged order from its stream.
func auditOrders(c jetstream.StreamConfig) []string {
	var faults []string
	fault := func(setting string, value any, why string) {
		faults = append(faults, fmt.Sprintf("stream %s: %s is %v: %s", c.Name, setting, value, why))
	}
	if c.MaxAge > 0 {
		fault("max_age", c.MaxAge, "it must be 0, an order is dropped when it is older")
	}
	if c.Storage == jetstream.MemoryStorage {
		fault("storage", "memory", "it must be file, orders are lost when the server restarts")
	}
	if c.Retention == jetstream.InterestPolicy {
		fault("retention", "interest", "it must be workqueue or limits, orders are dropped while there is no consumer")
	}
	if c.Discard == jetstream.DiscardOld {
		for setting, limit := range map[string]int64{"max_msgs": c.MaxMsgs, "max_bytes": c.MaxBytes, "max_msgs_per_subject": c.MaxMsgsPerSubject} {
			if limit > 0 {
				fault(setting, limit, "with discard old the oldest orders are dropped when it is reached; set discard to new")
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// auditConsumer lists what could keep an order from ever being delivered again.
func auditConsumer(c jetstream.ConsumerConfig) []string {
	var faults []string
	fault := func(setting string, value any, why string) {
		faults = append(faults, fmt.Sprintf("consumer %s: %s is %v: %s", c.Name, setting, value, why))
	}
	if c.MaxDeliver > 0 {
		fault("max_deliver", c.MaxDeliver, "it must be -1, an order is stuck for ever when it is reached")
	}
	if c.AckPolicy != jetstream.AckExplicitPolicy {
		fault("ack_policy", c.AckPolicy, "it must be explicit, orders would be dropped before they are done")
	}
	if len(c.BackOff) > 0 {
		fault("backoff", c.BackOff, "it must be empty, it distorts the waits of orders")
	}
	if c.DeliverPolicy != jetstream.DeliverAllPolicy {
		fault("deliver_policy", c.DeliverPolicy, "it must be all, older orders are never delivered")
	}
	return faults
}
