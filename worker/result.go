package worker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
	"unicode/utf8"

	"orderworker/upstream"
)

// Status is how far an order is, as an event tells it: section 3 of the contract.
type Status string

// The statuses. All but InDoubt are final.
const (
	Succeeded Status = "succeeded" // bought
	Failed    Status = "failed"    // certainly not bought, and never will be
	Rejected  Status = "rejected"  // never sent to the vendor
	InDoubt   Status = "in_doubt"  // in doubt for long; the final result follows
)

// final reports whether an event of that status ends its order.
func (s Status) final() bool { return s == Succeeded || s == Failed }

// Reason says why an order failed or was rejected.
type Reason string

// The reasons of section 3 of the contract. A dead letter has Invalid or Conflict.
const (
	PermanentCode     Reason = "permanent_code"
	AttemptsExhausted Reason = "attempts_exhausted"
	Expired           Reason = "expired"
	Cancelled         Reason = "cancelled"
	Invalid           Reason = "invalid"
	Conflict          Reason = "conflict"
)

// Result is the content of an event: section 3 of the contract.
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
	Attempts    int    `json:"attempts"`   // refusals, and one for a success
	Reconciled  bool   `json:"reconciled"` // found by the lookup
	ReceivedAt  Time   `json:"receivedAt"` // when the request was stored in its stream
	CompletedAt Time   `json:"completedAt"`
}

// Time is a time that is written in UTC to the millisecond, such as
// 2026-11-23T10:00:00.123Z.
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
	Trace   string // traceparent of the span or, without a tracer, of the request; "" for none
	Payload []byte

	// Of a final event, for its headers.
	Seq         uint64 // stream sequence of the request that it ends
	Fingerprint string
	Account     string // of the vendor, a hash of appkey and base URL
	Operator    bool   // an operator settled the order: the purchase is no control number
}

// event returns the event of a result that was encoded before. An event that is
// published again after a crash is the same, byte for byte.
func event(payload []byte) (Event, error) {
	var r Result
	if err := json.Unmarshal(payload, &r); err != nil {
		return Event{}, err
	}
	return r.event(payload), nil
}

// RejectedID returns the Nats-Msg-Id of the rejected event of an order request: one for
// each payload, so that a publisher can tell whether the event is about its own.
//
// Source: contract, section 3.
func RejectedID(outTradeNo string, payload []byte) string {
	sum := sha256.Sum256(payload)
	return outTradeNo + "." + string(Rejected) + "." + hex.EncodeToString(sum[:16])
}

// event returns r's event; payload is r, encoded.
func (r Result) event(payload []byte) Event {
	return Event{
		Status:  r.Status,
		ID:      r.OutTradeNo + "." + string(r.Status),
		Subject: r.OutTradeNo,
		At:      r.CompletedAt.String(),
		Payload: payload,
	}
}

// encode returns the result as JSON, like the example in section 3 of the contract.
func (r Result) encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		panic(err) // never: strings, numbers and times can be encoded
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// result returns a result without what its status adds.
func result(o Order, status Status, attempts int, received, now time.Time) Result {
	return Result{
		OutTradeNo: o.OutTradeNo, ICCID: o.ICCID, PackageCode: o.PackageCode,
		Status: status, Attempts: attempts,
		ReceivedAt: Time{received}, CompletedAt: Time{now},
	}
}

// bought returns r with the purchase p.
func (r Result) bought(p upstream.Purchase) Result {
	r.Code, r.Message, r.OrderNumber, r.OrderID = p.Code, p.Message, p.OrderNumber, p.OrderID
	return r
}

// SettledResult returns the final result, encoded, of an order in doubt that an
// operator has settled as bought: the same as if the lookup had found p. refusals
// is the number before; received is when the request was stored in its stream.
//
// Source: contract, section 3.
func SettledResult(o Order, p upstream.Purchase, refusals int, received, now time.Time) []byte {
	r := result(o, Succeeded, refusals+1, received, now).bought(p)
	r.Reconciled = true
	return r.encode()
}

// CancelledResult returns the result of an order that an operator has cancelled, before
// anything of it was bought. refusals is the number so far, and code and message are of
// the last of them.
//
// Source: contract, section 3.
func CancelledResult(o Order, refusals int, code, message string, received, now time.Time) []byte {
	r := result(o, Failed, refusals, received, now)
	r.Reason, r.Code, r.Message = Cancelled, code, message
	return r.encode()
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
