package worker

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	"orderworker/upstream"
)

// Status is how an order stands: section 3 of the contract.
type Status string

// All but InDoubt are final.
const (
	Succeeded Status = "succeeded" // bought
	Failed    Status = "failed"    // certainly not bought, and never will be
	Rejected  Status = "rejected"  // never sent to the vendor
	InDoubt   Status = "in_doubt"  // asked about for long; the final result follows
)

// Reason says why an order failed or was rejected.
type Reason string

// The reasons of section 3 of the contract; Invalid and Conflict are those of a dead letter too.
const (
	PermanentCode     Reason = "permanent_code"
	AttemptsExhausted Reason = "attempts_exhausted"
	Expired           Reason = "expired"
	Invalid           Reason = "invalid"
	Conflict          Reason = "conflict"
)

// Result is the event that tells the world how an order ended.
type Result struct {
	OutTradeNo  string `json:"outTradeNo"`
	ICCID       string `json:"iccid,omitempty"`
	PackageCode string `json:"packageCode,omitempty"`
	Status      Status `json:"status"`
	Reason      Reason `json:"reason,omitempty"`
	Code        string `json:"code,omitempty"`
	Message     string `json:"message,omitempty"`
	OrderNumber string `json:"orderNumber,omitempty"`
	OrderID     int64  `json:"orderId,omitempty"`
	Attempts    int    `json:"attempts"`   // answers that settled something: refusals, and one for a success
	Reconciled  bool   `json:"reconciled"` // found by the lookup
	ReceivedAt  Time   `json:"receivedAt"` // when the request was stored in its stream
	CompletedAt Time   `json:"completedAt"`
}

// Time is written in UTC to the millisecond, as in 2026-11-23T10:00:00.123Z.
type Time struct{ time.Time }

const timeFormat = "2006-01-02T15:04:05.000Z"

// MarshalText writes the time.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON writes the time as a string.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

func (t Time) String() string { return t.UTC().Format(timeFormat) }

// Event is one message for the results stream.
type Event struct {
	Status  Status
	ID      string // Nats-Msg-Id: the stream drops a second one within its duplicate window
	Subject string // ce-subject: the outTradeNo
	At      string // ce-time
	Trace   string // traceparent: our span's, or without traces the request's; "" without one
	Payload []byte

	// Of the request that a final event ends; headers of the event.
	Seq         uint64 // in its stream
	Fingerprint string
	Account     string // of the vendor, a hash of appkey and base URL
	Operator    bool   // an operator said so: such a purchase is no control number
}

// event wraps a result that was encoded before, so that an event that is
// published again after a crash is the same event, byte for byte.
func event(payload []byte) (Event, error) {
	var r Result
	if err := json.Unmarshal(payload, &r); err != nil {
		return Event{}, err
	}
	return r.event(payload), nil
}

// event is r's, encoded as payload.
func (r Result) event(payload []byte) Event {
	return Event{
		Status:  r.Status,
		ID:      r.OutTradeNo + "." + string(r.Status),
		Subject: r.OutTradeNo,
		At:      r.CompletedAt.String(),
		Payload: payload,
	}
}

// encode writes the result as JSON, as the contract's example has it.
func (r Result) encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		panic(err) // strings, numbers and times: there is nothing to fail
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// result begins the result of an order.
func result(o Order, status Status, attempts int, received, now time.Time) Result {
	return Result{
		OutTradeNo: o.OutTradeNo, ICCID: o.ICCID, PackageCode: o.PackageCode,
		Status: status, Attempts: attempts,
		ReceivedAt: Time{received}, CompletedAt: Time{now},
	}
}

func (r Result) bought(p upstream.Purchase) Result {
	r.Code, r.Message, r.OrderNumber, r.OrderID = p.Code, p.Message, p.OrderNumber, p.OrderID
	return r
}

// cut shortens s to at most n bytes, at the boundary of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
