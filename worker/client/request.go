package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"orderworker/upstream"
	"orderworker/worker"
)

// Request is one order request: section 2 of the contract. Each OutTradeNo is bought at
// most once.
type Request struct {
	OutTradeNo  string     `json:"outTradeNo"`
	ICCID       string     `json:"iccid"`
	PackageCode string     `json:"packageCode"`
	Renew       *int64     `json:"renew,omitempty"`
	ExpiresAt   *time.Time `json:"expiresAt,omitempty"` // the order is not sent after this time; nil: it never expires
}

// Decode reads a request from the payload of a message, by the worker's own rules. The
// error joins one *worker.InvalidError for each broken rule; the returned request then has
// the valid fields.
func Decode(payload []byte) (Request, error) {
	o, err := worker.DecodeOrder(payload)
	return Request{OutTradeNo: o.OutTradeNo, ICCID: o.ICCID, PackageCode: o.PackageCode, Renew: o.Renew, ExpiresAt: o.ExpiresAt}, err
}

// Validate returns an error that joins one *worker.InvalidError for each rule that the
// request breaks. The rules are those that the worker applies.
func (r Request) Validate() error {
	_, err := r.Payload()
	return err
}

// Payload returns the request as it is published. Equal requests have equal payloads.
// Its error is that of Validate.
func (r Request) Payload() ([]byte, error) {
	var errs []error
	for _, field := range []struct{ name, value string }{{"outTradeNo", r.OutTradeNo}, {"iccid", r.ICCID}, {"packageCode", r.PackageCode}} {
		if !utf8.ValidString(field.value) { // the encoder would replace what is not UTF-8
			errs = append(errs, &worker.InvalidError{Field: field.name, Value: strconv.QuoteToASCII(field.value), Rule: "valid UTF-8"})
		}
	}
	if r.ExpiresAt != nil {
		at := r.ExpiresAt.UTC()
		r.ExpiresAt = &at
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil { // a year that RFC 3339 cannot express
		errs = append(errs, &worker.InvalidError{Field: "expiresAt", Value: r.ExpiresAt.String(), Rule: "a time of RFC 3339", Err: err})
		return nil, errors.Join(errs...)
	}
	payload := bytes.TrimRight(b.Bytes(), "\n")
	if len(errs) == 0 {
		_, err := worker.DecodeOrder(payload)
		return payload, err
	}
	return nil, errors.Join(errs...)
}

// fingerprint returns the hash of the content by which the worker tells a duplicate from
// a conflict.
func (r Request) fingerprint() string {
	return worker.Order{Order: upstream.Order{OutTradeNo: r.OutTradeNo, ICCID: r.ICCID, PackageCode: r.PackageCode, Renew: r.Renew}}.Fingerprint()
}
