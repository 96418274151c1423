package sandbox

import (
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of the fields. Source: upstream/VENDOR.md, "orderPackage" and "Batch lookup".
const (
	maxOutTradeNoChars = 32
	maxLookupNumbers   = 50
	maxLookupPageSize  = 50 // assumed: as many as there can be numbers
	maxLookupPage      = 1 << 20
)

// system has the parameters of every call.
type system struct {
	appKey, sign     string
	timestamp, nonce int64
}

// checkFields returns the fields of a call, or the refusal of the first one that is
// missing or wrong, and last of one that is unknown.
func checkFields(endpoint Endpoint, f fields) (system, request, *refusal) {
	t := taker{left: maps.Clone(f)}
	s := system{
		appKey:    t.text("appkey"),
		timestamp: t.integer("timestamp", 1_000_000_000, 9_999_999_999),
		nonce:     t.integer("nonce", 10_000, 99_999),
		sign:      t.text("sign"),
	}
	req := request{endpoint: endpoint}
	if endpoint == EndpointOrder {
		req.iccid = t.documented("iccid", CodeICCIDEmpty, CodeICCIDFormat, isICCID)
		req.packageCode = t.documented("packageCode", CodePackage, CodePackage, isPackageCode)
		req.outTradeNo = t.text("outTradeNo")
		req.renew = t.optionalInteger("renew", math.MinInt64, math.MaxInt64)
		if n := utf8.RuneCountInString(req.outTradeNo); n > maxOutTradeNoChars {
			t.refuse("outTradeNo has %d characters, at most %d", n, maxOutTradeNoChars)
		}
	} else {
		t.lookup(&req)
	}
	t.unknown()
	if t.first == nil && !isSign(s.sign) {
		t.first = refusef(CodeSign, "sign is not 40 upper-case hex digits")
	}
	return s, req, t.first
}

// taker takes one field after another out of left, and keeps the first refusal. So
// the code that reads the fields is a list without error handling.
type taker struct {
	left  fields
	first *refusal
}

func (t *taker) refuse(format string, args ...any) {
	if t.first == nil {
		t.first = refusef(CodeField, format, args...)
	}
}

// text takes a string that must not be missing or empty.
func (t *taker) text(name string) string {
	value, ok := t.left[name]
	delete(t.left, name)
	s, isString := value.(string)
	switch {
	case !ok:
		t.refuse("%s is missing", name)
	case !isString:
		t.refuse("%s is not a string", name)
	case s == "":
		t.refuse("%s is empty", name)
	}
	return s
}

// documented takes a string whose faults have codes of the vendor: empty if it is
// missing or empty, and wrong if it is no string or has a wrong format.
func (t *taker) documented(name, empty, wrong string, wellFormed func(string) bool) string {
	value := t.left[name]
	delete(t.left, name)
	s, isString := value.(string)
	switch {
	case t.first != nil:
	case value == nil || s == "" && isString:
		t.first = refusef(empty, "%s is missing or empty", name)
	case !isString || !wellFormed(s):
		t.first = refusef(wrong, "%s (%v) has a wrong format", name, value)
	}
	return s
}

// integer takes an integer within low..high that must not be missing.
func (t *taker) integer(name string, low, high int64) int64 {
	n := t.optionalInteger(name, low, high)
	if n == nil {
		t.refuse("%s is missing", name)
		return 0
	}
	return *n
}

// optionalInteger takes an integer within low..high; nil: it is missing.
func (t *taker) optionalInteger(name string, low, high int64) *int64 {
	value, ok := t.left[name]
	if !ok {
		return nil
	}
	delete(t.left, name)
	n, isInteger := value.(int64)
	switch {
	case !isInteger:
		t.refuse("%s is not an integer", name)
	case n < low || n > high:
		t.refuse("%s (%d) is not within %d..%d", name, n, low, high)
	}
	return &n
}

// unknown refuses the fields that were not taken.
func (t *taker) unknown() {
	if len(t.left) > 0 {
		t.refuse("unknown fields: %s", strings.Join(slices.Sorted(maps.Keys(t.left)), ", "))
	}
}

// lookup takes the fields of a lookup.
func (t *taker) lookup(req *request) {
	_, byOutTradeNo := t.left["outTradeNoArrStr"]
	_, byOrderNumber := t.left["orderNumberArrStr"]
	switch {
	case byOutTradeNo && byOrderNumber:
		t.refuse("outTradeNoArrStr and orderNumberArrStr are both there, only one may be")
	case byOrderNumber:
		req.orderNumbers = t.numbers("orderNumberArrStr")
	default:
		req.outTradeNos = t.numbers("outTradeNoArrStr")
	}
	req.state = t.optionalInteger("state", math.MinInt64, math.MaxInt64)
	req.page, req.pageSize = 1, maxLookupPageSize
	if page := t.optionalInteger("page", 1, maxLookupPage); page != nil {
		req.page = *page
	}
	if size := t.optionalInteger("pageSize", 1, maxLookupPageSize); size != nil {
		req.pageSize = *size
	}
}

// numbers takes a comma-separated list of 1 to 50 numbers, and returns each once.
func (t *taker) numbers(name string) []string {
	listed := strings.Split(t.text(name), ",")
	if len(listed) > maxLookupNumbers {
		t.refuse("%s has %d numbers, at most %d", name, len(listed), maxLookupNumbers)
		return nil
	}
	var once []string
	for _, number := range listed {
		if number == "" || strings.Contains(number, " ") || utf8.RuneCountInString(number) > maxOutTradeNoChars {
			t.refuse("%s holds %q, which is no number", name, number)
		}
		if !slices.Contains(once, number) {
			once = append(once, number)
		}
	}
	return once
}

// isICCID reports whether s has the format of a card's number: 15 to 22 letters or
// digits. Source: contract, section 2.
func isICCID(s string) bool {
	letter := func(r rune) bool { return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }
	return len(s) >= 15 && len(s) <= 22 && !strings.ContainsFunc(s, func(r rune) bool { return !letter(r) })
}

// isPackageCode reports whether s has the format of a package's code: up to 128
// printable characters, without spaces. Source: contract, section 2.
func isPackageCode(s string) bool {
	return utf8.RuneCountInString(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) })
}

func isSign(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789ABCDEF") == ""
}
