package dedupe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Record is the journal's one record of an order. Times have millisecond
// precision; SendBy and Over are rounded up, so that what is written is never earlier
// than what was meant.
type Record struct {
	State       State      `json:"state"`
	Fingerprint string     `json:"fingerprint"`
	Account     string     `json:"account,omitempty"` // under which the last attempt was made, or may be made next
	Owner       string     `json:"owner"`             // who wrote it; unique per delivery
	Seq         uint64     `json:"seq"`               // stream sequence of the request
	Expires     *time.Time `json:"expires,omitempty"` // of that request; nil: never, or not known
	Progress
	SendBy time.Time       `json:"sendBy,omitzero"`  // StateIntent
	Over   time.Time       `json:"over,omitzero"`    // StateIntent: every request that was sent so far has ended by then; zero: not known
	Since  time.Time       `json:"since,omitzero"`   // StateIntent: when the oldest open attempt was written down
	Due    time.Time       `json:"due,omitzero"`     // StateReady
	Open   bool            `json:"open,omitempty"`   // StateIntent: an earlier attempt than this is still in doubt
	Bought bool            `json:"bought,omitempty"` // StateIntent: bought, the number is not known yet
	Exists bool            `json:"exists,omitempty"` // StateIntent: the vendor said that the number exists
	Result json.RawMessage `json:"result,omitempty"` // StateFinal
}

// Journal is the durable memory: one record per order, and no write but over
// the revision that the writer knows.
type Journal interface {
	// Read returns the order's record and its revision. A State of "" means
	// there is none; the revision is what Write has to replace, mostly 0.
	Read(ctx context.Context, outTradeNo string) (Record, uint64, error)
	// Write replaces the record whose revision is rev (0: there is none) and
	// returns the new revision. ErrLost: another record stands there. Any
	// other error means that the record may have been written. Safe to repeat:
	// a record equal to r is r, since Owner is unique.
	Write(ctx context.Context, outTradeNo string, r Record, rev uint64) (uint64, error)
	// Created is when the journal was made: nothing older is known to it. Zero
	// where that does not matter.
	Created(ctx context.Context) (time.Time, error)
	// Used reports whether anything was ever written, expired or not.
	Used(ctx context.Context) (bool, error)
}

// encode gives a record's one spelling, for comparison byte by byte. The Result,
// which must be compact JSON, goes in as it is: encoding/json would read it once
// more for nothing.
func encode(r Record) ([]byte, error) {
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

// decode refuses a state it does not know: taking it for "nothing" could send twice.
func decode(b []byte) (Record, error) {
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
