package dedupe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Record is the journal's record of an order. Times have a precision of one
// millisecond; SendBy and Over are rounded up, so that no reader takes a request for
// over too early.
type Record struct {
	State       State      `json:"state"`
	Fingerprint string     `json:"fingerprint"`
	Account     string     `json:"account,omitempty"` // account of the last or the next attempt
	Owner       string     `json:"owner"`             // the claim that wrote the record
	Seq         uint64     `json:"seq"`               // stream sequence of the order request
	Expires     *time.Time `json:"expires,omitempty"` // its expiresAt; nil: never, or not known
	Progress
	SendBy      time.Time       `json:"sendBy,omitzero"`  // StateIntent: no byte of the request leaves after this
	Over        time.Time       `json:"over,omitzero"`    // StateIntent: every request so far has ended by this time; zero: not known
	Since       time.Time       `json:"since,omitzero"`   // StateIntent: when the oldest open attempt was journalled
	Due         time.Time       `json:"due,omitzero"`     // StateReady: when the next attempt may start
	EarlierOpen bool            `json:"open,omitempty"`   // StateIntent: an earlier attempt is open too
	Parked      time.Time       `json:"parked,omitzero"`  // StateIntent: when it was parked in doubt; zero: it expires
	Bought      bool            `json:"bought,omitempty"` // StateIntent: the vendor said that it was bought, without an orderNumber
	Exists      bool            `json:"exists,omitempty"` // StateIntent: the vendor said that the number exists
	Result      json.RawMessage `json:"result,omitempty"` // StateFinal: compact JSON
}

// Journal is a durable store with one record per order. A write names the revision
// that it replaces.
type Journal interface {
	// Read returns the order's record and its revision. The State "" means that there
	// is no record; the revision is still the one that Write has to replace, and need
	// not be 0.
	Read(ctx context.Context, outTradeNo string) (Record, uint64, error)
	// Write replaces the record of revision rev (0: there is none) and returns the new
	// revision. ErrLost: the revision is another. After any other error the record may
	// have been written. Write is safe to repeat: a stored record that equals r counts
	// as written, since Owner is unique.
	Write(ctx context.Context, outTradeNo string, r Record, rev uint64) (uint64, error)
	// Created returns when the journal was created: it knows nothing older. Zero means
	// that it does not matter.
	Created(ctx context.Context) (time.Time, error)
	// Used reports whether any record was ever written, expired or not.
	Used(ctx context.Context) (bool, error)
}

// Lifetime returns how long a journal keeps r, if it keeps a final for ttl; 0: until r is
// replaced.
//
// A final expires after ttl, except an operator's: until a worker publishes it, nothing else
// keeps the order from being sent, and there may be no worker for longer than that. An intent has to expire too, since it is what a success that was
// bought at once leaves in the journal. It lives longer than a final: while it exists, nobody
// takes the order for one that was never sent. An intent that is parked in doubt, and ready,
// do not expire, because their orders are unfinished.
func (r Record) Lifetime(ttl time.Duration) time.Duration {
	switch {
	case ttl == 0, r.ByOperator():
		return 0
	case r.State == StateFinal:
		return ttl
	case r.State == StateIntent && r.Parked.IsZero():
		return ttl + intentMargin
	}
	return 0
}

// ByOperator reports whether an operator's ruling wrote r.
func (r Record) ByOperator() bool { return strings.HasPrefix(r.Owner, operatorPrefix) }

// intentMargin is how much longer an intent lives than a final. It is more than a request to
// the vendor and a short outage of a store take, however short the TTL is.
const intentMargin = time.Hour

// Encode returns r as JSON. Equal records have equal bytes. The Result must be compact
// JSON; it is appended as it is, which saves encoding/json from scanning it again.
func (r Record) Encode() ([]byte, error) {
	result := r.Result
	r.Result = nil
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("encode journal record: %w", err)
	}
	data := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(result) > 0 {
		data = append(data[:len(data)-1], `,"result":`...)
		data = append(append(data, result...), '}')
	}
	return data, nil
}

// DecodeRecord parses what Encode returned. The error wraps ErrBroken. An unknown state
// is an error: an order whose record was ignored could be sent twice.
func DecodeRecord(b []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("decode journal record: %w: %w", ErrBroken, err)
	}
	switch r.State {
	case StateIntent, StateReady, StateFinal:
		return r, nil
	}
	return Record{}, fmt.Errorf("decode journal record: %w: unknown state %q", ErrBroken, r.State)
}
