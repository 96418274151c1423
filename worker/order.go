package worker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"orderworker/upstream"
)

// Order is the content of one order request: section 2 of the contract.
type Order struct {
	upstream.Order
	ExpiresAt *time.Time // the order is not sent after it; nil: never expires
}

// Fingerprint returns a hash each of iccid, packageCode and renew: 16 hex digits,
// with a dash between two. Of two order requests with one outTradeNo, an equal
// fingerprint makes the second one a duplicate, another one a conflict.
func (o Order) Fingerprint() string {
	renew := "none"
	if o.Renew != nil {
		renew = strconv.FormatInt(*o.Renew, 10)
	}
	var hashes []byte
	for i, field := range []string{o.ICCID, o.PackageCode, renew} {
		if i > 0 {
			hashes = append(hashes, '-')
		}
		sum := sha256.Sum256([]byte(field))
		hashes = hex.AppendEncode(hashes, sum[:8])
	}
	return string(hashes)
}

// fingerprinted names the fields of a fingerprint, in its order.
var fingerprinted = []string{"iccid", "packageCode", "renew"}

// differences returns the names of the fields in which two fingerprints differ.
func differences(a, b string) string {
	ours, theirs := strings.Split(a, "-"), strings.Split(b, "-")
	if len(ours) != len(fingerprinted) || len(theirs) != len(fingerprinted) {
		return strings.Join(fingerprinted, ", ")
	}
	var fields []string
	for i, name := range fingerprinted {
		if ours[i] != theirs[i] {
			fields = append(fields, name)
		}
	}
	return strings.Join(fields, ", ")
}

// ConflictError says in which fields an order request with that fingerprint differs from
// the one by which its number was used.
func ConflictError(outTradeNo, fingerprint, usedWith string) *InvalidError {
	return &InvalidError{Field: "outTradeNo", Value: shown([]byte(outTradeNo)), Rule: "it was already used with another " + differences(fingerprint, usedWith) + "; that order is not touched, and this request needs a number of its own"}
}

// InvalidError says which rule of section 2 of the contract a payload breaks. The
// order request is never tried again, because its payload does not change.
type InvalidError struct {
	Field string // the field, or "payload"
	Value string // the field's value, quoted and cut to 64 bytes
	Rule  string
	Err   error // of the JSON decoder; may be nil
}

func (e *InvalidError) Error() string {
	msg := fmt.Sprintf("%s: %s breaks the rule: %s", e.Field, e.Value, e.Rule)
	if e.Err != nil {
		msg += " (" + e.Err.Error() + ")"
	}
	return msg
}

// Unwrap returns the error of the JSON decoder.
func (e *InvalidError) Unwrap() error { return e.Err }

// The rules of section 2 of the contract, as a dead letter quotes them.
const (
	rulePayload     = "one JSON object in UTF-8, no repeated name, no byte-order mark, nothing after it"
	ruleOutTradeNo  = "required: a string of 1..32 printable ASCII characters, no space, no comma"
	ruleICCID       = "required: a string of 15..22 characters 0-9 A-Z a-z"
	rulePackageCode = "required: a string of 1..128 printable characters, no space"
	ruleRenew       = "a 64-bit integer"
	ruleExpiresAt   = "a string, a time of RFC 3339 such as 2026-11-23T10:00:00Z"
)

// DecodeOrder decodes and checks a payload. The error joins one *InvalidError for
// each rule that the payload breaks. Beside an error, the order has the fields
// that keep their rules: an OutTradeNo that is not empty is valid, and a rejected
// event may name it.
//
// Source: section 2 of the contract.
func DecodeOrder(payload []byte) (Order, error) {
	fields, err := readFields(payload)
	if err != nil {
		var o Order
		o.OutTradeNo = salvageOutTradeNo(payload)
		return o, &InvalidError{Field: "payload", Value: shown(payload), Rule: rulePayload, Err: err}
	}
	var (
		o    Order
		errs []error
	)
	check := func(field, rule string, ok func(jsontext.Value) bool) {
		raw := fields[field]
		if !ok(raw) {
			errs = append(errs, &InvalidError{Field: field, Value: shown(raw), Rule: rule})
		}
	}
	check("outTradeNo", ruleOutTradeNo, text(&o.OutTradeNo, validOutTradeNo))
	check("iccid", ruleICCID, text(&o.ICCID, validICCID))
	check("packageCode", rulePackageCode, text(&o.PackageCode, validPackageCode))
	check("renew", ruleRenew, func(raw jsontext.Value) bool {
		if raw == nil {
			return true
		}
		n, err := strconv.ParseInt(string(raw), 10, 64)
		o.Renew = &n
		return err == nil
	})
	check("expiresAt", ruleExpiresAt, func(raw jsontext.Value) bool {
		var s string
		return raw == nil || text(&s, func(s string) bool {
			at, ok := parseTime(s)
			o.ExpiresAt = &at
			return ok
		})(raw)
	})
	errs = append(errs, misspelt(fields)...)
	return o, errors.Join(errs...)
}

// names are the fields of an order request.
var names = []string{"outTradeNo", "iccid", "packageCode", "renew", "expiresAt"}

// misspelt returns an error for each field that differs from one of names only in
// case, "_" or "-". To ignore such a typing error could cost money: an order with
// "expires_at" would be bought after that time.
func misspelt(fields map[string]jsontext.Value) (errs []error) {
	plain := strings.NewReplacer("_", "", "-", "")
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if fields[field] == nil || slices.Contains(names, field) {
			continue
		}
		for _, name := range names {
			if strings.EqualFold(plain.Replace(field), name) {
				errs = append(errs, &InvalidError{Field: shown([]byte(field)), Value: shown(fields[field]), Rule: "no such field; did you mean " + name + "?"})
			}
		}
	}
	return errs
}

// readFields decodes a payload strictly. The value of a field that is null is nil:
// it counts as absent.
func readFields(payload []byte) (map[string]jsontext.Value, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(payload))
	fields, err := readObject(dec, func(map[string]jsontext.Value, string) {})
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); err == nil {
		return nil, errors.New("more JSON after the object")
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return fields, nil
}

// readObject decodes one object, and calls repeated for each name that comes
// again, which only a lenient decoder allows.
func readObject(dec *jsontext.Decoder, repeated func(fields map[string]jsontext.Value, name string)) (map[string]jsontext.Value, error) {
	first, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	if first.Kind() != '{' {
		return nil, fmt.Errorf("it is %s, not an object", kinds[first.Kind()])
	}
	fields := make(map[string]jsontext.Value)
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		if _, again := fields[key]; again {
			repeated(fields, key)
		}
		if value.Kind() == 'n' {
			value = nil
		}
		fields[key] = value.Clone()
	}
	_, err = dec.ReadToken()
	return fields, err
}

var kinds = map[jsontext.Kind]string{
	'n': "null", 't': "a boolean", 'f': "a boolean", '"': "a string", '0': "a number", '[': "an array",
}

// salvageOutTradeNo returns the outTradeNo of a payload that is not one strict
// object, so that its publisher gets a rejected event. It returns "" unless the
// payload begins with a complete object that has one valid outTradeNo.
func salvageOutTradeNo(payload []byte) string {
	payload = bytes.TrimPrefix(payload, []byte("\xef\xbb\xbf"))
	dec := jsontext.NewDecoder(bytes.NewReader(payload), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	twice := false
	fields, err := readObject(dec, func(_ map[string]jsontext.Value, name string) {
		twice = twice || name == "outTradeNo"
	})
	var no string
	if err != nil || twice || !text(&no, validOutTradeNo)(fields["outTradeNo"]) {
		return ""
	}
	return no
}

// text returns a check that accepts a valid JSON string, and stores it in into.
func text(into *string, valid func(string) bool) func(jsontext.Value) bool {
	return func(raw jsontext.Value) bool {
		if raw.Kind() != '"' {
			return false
		}
		b, err := jsontext.AppendUnquote(nil, raw)
		if err != nil || !valid(string(b)) {
			return false
		}
		*into = string(b)
		return true
	}
}

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)

// parseTime parses a time of RFC 3339, section 5.6. Unlike package time, it takes
// T and Z in either case, and leap seconds.
func parseTime(s string) (time.Time, bool) {
	s = strings.ToUpper(s)
	if !rfc3339.MatchString(s) {
		return time.Time{}, false
	}
	var leap time.Duration
	if s[17:19] == "60" {
		s, leap = s[:17]+"59"+s[19:], time.Second
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.Add(leap), err == nil
}

func validOutTradeNo(s string) bool {
	return 1 <= len(s) && len(s) <= 32 && every(s, func(r rune) bool { return '!' <= r && r <= '~' && r != ',' })
}

func validICCID(s string) bool {
	return 15 <= len(s) && len(s) <= 22 && every(s, func(r rune) bool {
		return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
	})
}

func validPackageCode(s string) bool {
	n := len([]rune(s))
	return 1 <= n && n <= 128 && every(s, func(r rune) bool { return unicode.IsPrint(r) && r != ' ' })
}

func every(s string, ok func(rune) bool) bool {
	return strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
}

// shown returns a value for an error: printable ASCII, one line, cut to 64 bytes.
func shown(raw []byte) string {
	const most = 64
	switch {
	case raw == nil:
		return "absent"
	case len(raw) > most:
		return fmt.Sprintf("%s... (%d bytes)", strconv.QuoteToASCII(string(raw[:most])), len(raw))
	case printable(raw):
		return string(raw)
	default:
		return strconv.QuoteToASCII(string(raw))
	}
}

func printable(raw []byte) bool {
	return len(raw) > 0 && !bytes.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r > '~' })
}
