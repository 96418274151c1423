package client

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"orderworker/worker"
)

// Outcome is what the results stream says of one request.
type Outcome struct {
	// Event is the event about the request. If there is none, Status is empty: the order is
	// open, or was never published. If the final event of the order shows that the request
	// is a conflict, but its rejected event is not stored yet, Event has outTradeNo, iccid,
	// packageCode, status, reason and message alone.
	Event
	Final bool // Status is succeeded, failed or rejected, and will not change
}

// storedEvent is an event as the results stream has it.
type storedEvent struct {
	header nats.Header
	data   []byte
}

// The headers of an event that tell which request it is about.
const (
	idHeader          = nats.MsgIdHdr
	fingerprintHeader = "Order-Fingerprint"
)

// outcome returns what the events of an order mean for request r, which has its number. A
// final event about the same content is the request's. One about other content makes the
// request a conflict. A rejected event counts only if it is about the same payload, because
// somebody else may have used the number too.
//
// Source: contract, section 3.
func outcome(r Request, events map[worker.Status]storedEvent) (Outcome, error) {
	payload, err := r.Payload()
	if err != nil {
		return Outcome{}, err
	}
	conflict := error(nil)
	for _, status := range []worker.Status{worker.Succeeded, worker.Failed} {
		m, ok := events[status]
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal(m.data, &e); err != nil {
			return Outcome{}, fmt.Errorf("the %s event of %s: %w", status, r.OutTradeNo, err)
		}
		fingerprint := m.header.Get(fingerprintHeader)
		if same(r, e, fingerprint) {
			return Outcome{e, true}, nil
		}
		conflict = worker.ConflictError(r.OutTradeNo, r.fingerprint(), fingerprint)
	}
	if m, ok := events[worker.Rejected]; ok && m.header.Get(idHeader) == worker.RejectedID(r.OutTradeNo, payload) {
		var e Event
		if err := json.Unmarshal(m.data, &e); err != nil {
			return Outcome{}, fmt.Errorf("the rejected event of %s: %w", r.OutTradeNo, err)
		}
		return Outcome{e, true}, nil
	}
	if conflict != nil {
		return Outcome{Event{
			OutTradeNo: r.OutTradeNo, ICCID: r.ICCID, PackageCode: r.PackageCode,
			Status: worker.Rejected, Reason: worker.Conflict, Message: conflict.Error(),
		}, true}, nil
	}
	var e Event
	if m, ok := events[worker.InDoubt]; ok && json.Unmarshal(m.data, &e) == nil && same(r, e, "") {
		return Outcome{e, false}, nil
	}
	return Outcome{}, nil
}

// same reports whether event e is about the content of r. fingerprint is the event's, or
// "" if it has none: only final events have one, and those of early versions do not.
func same(r Request, e Event, fingerprint string) bool {
	if fingerprint != "" {
		return fingerprint == r.fingerprint()
	}
	return r.ICCID == e.ICCID && r.PackageCode == e.PackageCode
}

// state returns the status for messages: open if there is no event.
func (o Outcome) state() string { return cmp.Or(string(o.Status), "open") }

// String describes the outcome on one line.
func (o Outcome) String() string {
	switch {
	case o.Status == worker.Succeeded:
		return fmt.Sprintf("%s %s, order number %s", o.OutTradeNo, o.Status, o.OrderNumber)
	case o.Final:
		return fmt.Sprintf("%s %s, %s: %s", o.OutTradeNo, o.Status, o.Reason, cmp.Or(o.Message, o.Code))
	}
	return o.state()
}
