package sandbox

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind is what an Action does. Help has the table of kinds and arguments.
type Kind string

// The kinds. A kind with a star answers code "200", so it buys the order with or
// without Rule.Buy. So does Delay, unless the vendor is closed before it ends. All
// others buy only with Rule.Buy.
const (
	Pass      Kind = "pass"      // * the usual answer, so that no later rule decides
	Refuse    Kind = "refuse"    // HTTP 200 with another code
	Status    Kind = "status"    // an HTTP status from 300 up, with a JSON body or an HTML page
	Throttle  Kind = "throttle"  // HTTP 429, with Retry-After in seconds or as a date
	Hang      Kind = "hang"      // no answer until the caller gives up
	Delay     Kind = "delay"     // the usual answer, later, even if the caller has given up
	Reset     Kind = "reset"     // a TCP reset in place of the answer
	Shut      Kind = "close"     // an orderly close in place of the answer
	Cut       Kind = "cut"       // the connection is closed in the middle of the body
	Oversized Kind = "oversized" // a valid body of more than 2 MiB
	Deep      Kind = "deep"      // a valid body with nested arrays, deeper than many decoders allow
	Rows      Kind = "rows"      // the rows of a lookup, in the rule's own mode
	NotJSON   Kind = "notjson"   // HTTP 200 with an HTML page
	NoData    Kind = "nodata"    // * code "200" and no data; for a lookup it means that nothing was found
	NoNumber  Kind = "nonumber"  // * code "200", and data without orderNumber
	Number    Kind = "number"    // * code "200", with the rule's text as every orderNumber
	Numeric   Kind = "numeric"   // * the usual answer, with code as a number
	Redirect  Kind = "redirect"  // HTTP 302
)

// Action is what a rule does to a call instead of the usual answer. A field that the
// Kind does not use must be zero.
type Action struct {
	Kind       Kind
	Status     int           // Status: required
	Wait       time.Duration // Delay: required; Hang: at most this long, default MaxHang
	Code       string        // Refuse: default CodeRefused; Throttle: default CodeThrottled; Status: default none at all
	Message    string        // Refuse, Throttle, Status
	Data       bool          // Refuse, Status: the answer has the data of a purchase too, with its orderNumber; only with Rule.Buy
	HTML       bool          // Status: an HTML page instead of JSON, without code and message
	RetryAfter time.Duration // Throttle: rounded up to seconds; 0 = no such header
	Date       bool          // Throttle: RetryAfter as an HTTP date
	To         string        // Redirect: the Location; default "/moved", which does not exist
	Number     string        // Number: required
	Repeat     int           // Number: how many times in a row; 0 means once
	Depth      int           // Deep: default DefaultDepth
	Rows       LookupMode    // Rows: instead of the vendor's mode
}

// DefaultDepth is more than the 10,000 levels that encoding/json allows.
const DefaultDepth = 20_000

// maxHostileBytes is the most bytes that Number or Deep adds to an answer.
const maxHostileBytes = 16 << 20

// MaxHang is the longest time of a Hang without a Wait.
const MaxHang = time.Minute

// argsOf has the arguments that each kind takes. An argument with the name of the kind
// is the value of the kind itself.
var argsOf = map[Kind][]string{
	Refuse:   {"code", "message", "data"},
	Status:   {"status", "code", "message", "data", "html"},
	Throttle: {"code", "message", "retry-after", "date"},
	Hang:     {"hang"},
	Delay:    {"delay"},
	Redirect: {"to"},
	Number:   {"number", "repeat"},
	Deep:     {"deep"},
	Rows:     modeWords,
	Pass:     nil, Reset: nil, Shut: nil, Cut: nil, Oversized: nil, NotJSON: nil, NoData: nil, NoNumber: nil, Numeric: nil,
}

// validate returns every fault of a, with the field and its value.
func (a Action) validate() []error {
	takes, known := argsOf[a.Kind]
	if !known {
		return []error{fmt.Errorf("action %q: must be one of %s", a.Kind, strings.Join(kindNames(), ", "))}
	}
	var found faults
	for _, arg := range wordsOf(a.arguments()) {
		found.add(!slices.Contains(takes, arg.name), "%s: %s has no such argument", arg, a.Kind)
	}
	found.add(a.Kind == Status && (a.Status < 300 || a.Status > 599 || a.Status == http.StatusNotModified),
		"status=%d: must be within 300..599 and not 304, which has no body", a.Status)
	found.add(a.Kind == Delay && a.Wait <= 0 || a.Wait < 0, "%s=%v: must be over 0", a.Kind, a.Wait)
	found.add((a.Kind == Refuse || a.Kind == Throttle) && a.Code == CodeSuccess, "code=%s: that means success", a.Code)
	found.add(a.HTML && (a.Code != "" || a.Message != "" || a.Data), "html: a page has neither code nor message nor data")
	found.add(a.RetryAfter < 0, "retry-after=%v: must be over 0", a.RetryAfter)
	found.add(a.Kind == Number && a.Number == "", "number: needs a value")
	found.add(a.Repeat < 0 || a.Number != "" && a.Repeat > maxHostileBytes/len(a.Number), "repeat=%d: must be at least 1, and make %d bytes at most", a.Repeat, maxHostileBytes)
	found.add(a.Depth < 0 || a.Depth > maxHostileBytes/2, "deep=%d: must be within 1..%d", a.Depth, maxHostileBytes/2)
	found.add(a.Date && a.RetryAfter == 0, "date: only together with retry-after")
	return append(found, a.Rows.validate()...)
}

func kindNames() []string {
	var names []string
	for kind := range argsOf {
		names = append(names, string(kind))
	}
	slices.Sort(names)
	return names
}
