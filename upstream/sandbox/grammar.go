package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ParseRule reads the text form of a rule:
//
//	{condition} ":" action {argument}
//
// Conditions and arguments are words, "name" or "name=value", with spaces between
// them, in any order. A value with a space, a quote or a final colon in it stands
// in double quotes, as in Go. For example:
//
//	packageCode=BAD-*: refuse code=3001 message="no such package"
//	outTradeNo=T-* first=1 buy: hang
//	endpoint=lookup p=0.2: status=503 html
//	after=10s for=20s: throttle retry-after=2s
//	always: delay=300ms
//
// The conditions, all of which must fit:
//
//	always                      no condition; the same as nothing before the colon
//	endpoint=order|lookup|any   default order
//	packageCode=PATTERN         as in path.Match; "*" also spans "/"; orders only
//	outTradeNo=PATTERN          for a lookup: one of the outTradeNos it asks for
//	p=0.25                      a share of the calls, the same ones in every run with one seed
//	first=2                     the first 2 calls of each outTradeNo that no earlier rule took
//	after=10s, for=20s          from 10 s after the rules were set, for 20 s
//	buy                         not a condition: enter the purchase in the book, then act; orders only
//
// The actions:
//
//	refuse     code= message=                     HTTP 200 with another code (default 3000)
//	status=503 code= message= | html              that HTTP status (300..599), a JSON body or an HTML page
//	throttle   code= message= retry-after= date   HTTP 429; Retry-After in seconds, or as a date
//	hang[=5s]                                     no answer until the caller gives up, for at most so long (default 1m)
//	delay=2s                                      the usual answer, later; it buys even when the caller has gone
//	reset                                         a TCP reset
//	close                                         an orderly close without an answer
//	cut                                           the connection is closed in the middle of the body
//	oversized                                     a valid body of over 2 MiB
//	notjson                                       HTTP 200 with an HTML page
//	nodata                                        code 200 without data (bought; in a lookup: none found)
//	nonumber                                      code 200, data without orderNumber (bought)
//	numeric                                       the usual answer with the number 200 as its code (bought)
//	redirect   to=URL                             HTTP 302
//
// The error names the rule, the word and its value.
func ParseRule(text string) (Rule, error) {
	r, err := parseRule(text)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", text, err)
	}
	return r, nil
}

// ParseRules reads one rule per line; empty lines and lines that start with "#"
// are left out. The error reports every faulty line by its number.
func ParseRules(text string) ([]Rule, error) {
	var rules []Rule
	var errs []error
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r, err := ParseRule(line)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		rules = append(rules, r)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return rules, nil
}

// String returns the text form, which ParseRule reads back as the same rule.
func (r Rule) String() string {
	var head []string
	add := func(name, value string, isSet bool) {
		if isSet {
			head = append(head, word{name: name, value: value, hasValue: true}.String())
		}
	}
	add("endpoint", endpointWords[r.Endpoint], r.Endpoint != "")
	add("packageCode", r.PackageCode, r.PackageCode != "")
	add("outTradeNo", r.OutTradeNo, r.OutTradeNo != "")
	add("p", strconv.FormatFloat(r.Probability, 'g', -1, 64), r.Probability != 0)
	add("first", strconv.Itoa(r.First), r.First != 0)
	add("after", r.After.String(), r.After != 0)
	add("for", r.For.String(), r.For != 0)
	if r.Buy {
		head = append(head, "buy")
	}
	if len(head) == 0 {
		head = append(head, "always")
	}
	return strings.Join(head, " ") + ": " + r.Action.String()
}

// String returns the part of a rule's text that follows the colon.
func (a Action) String() string {
	words := []string{string(a.Kind)}
	for _, arg := range a.args() {
		if arg.name == string(a.Kind) {
			words[0] = arg.String()
		} else {
			words = append(words, arg.String())
		}
	}
	return strings.Join(words, " ")
}

func parseRule(text string) (Rule, error) {
	head, tail, err := splitRule(text)
	if err != nil {
		return Rule{}, err
	}
	var r Rule
	for _, w := range head {
		if err := r.set(w); err != nil {
			return Rule{}, err
		}
	}
	if len(tail) == 0 {
		return Rule{}, errors.New("no action after the colon")
	}
	r.Action.Kind = Kind(tail[0].name)
	if _, known := argsOf[r.Action.Kind]; known {
		err = r.Action.setAll(tail)
	}
	if err != nil {
		return Rule{}, err
	}
	return r, r.Validate()
}

// set sets the condition that w names.
func (r *Rule) set(w word) (err error) {
	switch w.name {
	case "always":
		err = w.flag(new(bool))
	case "buy":
		err = w.flag(&r.Buy)
	case "endpoint":
		var ok bool
		if r.Endpoint, ok = endpointOf(w.value); !ok {
			err = fmt.Errorf("%s: must be order, lookup or any", w)
		}
	case "packageCode":
		err = w.text(&r.PackageCode)
	case "outTradeNo":
		err = w.text(&r.OutTradeNo)
	case "p":
		r.Probability, err = strconv.ParseFloat(w.value, 64)
		if err != nil || !(r.Probability > 0 && r.Probability <= 1) {
			err = fmt.Errorf("%s: must be a number over 0 and at most 1", w)
		}
	case "first":
		err = w.integer(&r.First)
	case "after":
		err = w.duration(&r.After)
	case "for":
		err = w.duration(&r.For)
	default:
		err = fmt.Errorf("%s: no such condition", w)
	}
	return err
}

// setAll sets every argument; the first word may be the kind with a value or without.
func (a *Action) setAll(words []word) error {
	if !words[0].hasValue {
		words = words[1:]
	}
	for _, w := range words {
		if err := a.set(w); err != nil {
			return err
		}
	}
	return nil
}

// set sets the argument that w names.
func (a *Action) set(w word) (err error) {
	switch w.name {
	case "status":
		err = w.integer(&a.Status)
	case "hang", "delay":
		if w.name != string(a.Kind) {
			return fmt.Errorf("%s: %s has no such argument", w, a.Kind)
		}
		err = w.duration(&a.Wait)
	case "code":
		err = w.text(&a.Code)
	case "message":
		err = w.text(&a.Message)
	case "html":
		err = w.flag(&a.HTML)
	case "retry-after":
		err = w.duration(&a.RetryAfter)
	case "date":
		err = w.flag(&a.Date)
	case "to":
		err = w.text(&a.To)
	default:
		err = fmt.Errorf("%s: no such argument", w)
	}
	return err
}
