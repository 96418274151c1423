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
	// Event is the event about the request. Without one Status is empty: the order is open,
	// or unknown. Of a request that is known to be a conflict, but has no event yet, it has
	// outTradeNo, iccid, packageCode, status, reason and message.
	Event
	Final bool // nothing will change any more: Status is succeeded, failed or rejected
}

// stored is an event as the results stream has it.
type stored struct {
	header nats.Header
	data   []byte
}

// The headers of an event that tell which request it is about.
const (
	idHeader          = nats.MsgIdHdr
	fingerprintHeader = "Order-Fingerprint"
)

// outcome says what the events of an order mean for one of its requests. The final event
// of the order counts if it is about the same content; of another content, the request is
// a conflict. A rejected event counts if it is about this very payload, because others may
// have used the number, too.
//
// Source: contract, section 3.
func outcome(r Request, events map[worker.Status]stored) (Outcome, error) {
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

// same reports whether an event is about the order that r asks for. Only final events have
// a fingerprint, and those of early versions have none.
func same(r Request, e Event, fingerprint string) bool {
	if fingerprint != "" {
		return fingerprint == r.fingerprint()
	}
	return r.ICCID == e.ICCID && r.PackageCode == e.PackageCode
}

// state is the status for people: open where there is no event.
func (o Outcome) state() string { return cmp.Or(string(o.Status), "open") }

// String says how the order is, in one line.
func (o Outcome) String() string {
	switch {
	case o.Status == worker.Succeeded:
		return fmt.Sprintf("%s %s, order number %s", o.OutTradeNo, o.Status, o.OrderNumber)
	case o.Final:
		return fmt.Sprintf("%s %s, %s: %s", o.OutTradeNo, o.Status, o.Reason, cmp.Or(o.Message, o.Code))
	}
	return o.state()
}
