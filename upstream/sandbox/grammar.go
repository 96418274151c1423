package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ParseRule reads the text form of a rule, which Help explains. A value with a
// space, a quote or a final colon in it stands in double quotes, as in Go. The
// error names the rule, the word and its value.
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
	var head wordList
	head.value("endpoint", endpointWords[r.Endpoint], r.Endpoint != "")
	head.value("packageCode", r.PackageCode, r.PackageCode != "")
	head.value("outTradeNo", r.OutTradeNo, r.OutTradeNo != "")
	head.value("state", r.State, r.State != "")
	head.value("p", strconv.FormatFloat(r.Probability, 'g', -1, 64), r.Probability != 0)
	head.value("first", strconv.Itoa(r.First), r.First != 0)
	head.value("after", r.After.String(), r.After != 0)
	head.value("for", r.For.String(), r.For != 0)
	head.flag("buy", r.Buy && r.BuyState == "")
	head.value("buy", r.BuyState, r.BuyState != "")
	head.flag("always", len(head) == 0)
	return joinWords(head) + ": " + r.Action.String()
}

func joinWords(words []word) string {
	var texts []string
	for _, w := range words {
		texts = append(texts, w.String())
	}
	return strings.Join(texts, " ")
}

// String returns the part of a rule's text that follows the colon.
func (a Action) String() string {
	words := []word{{name: string(a.Kind)}}
	for _, arg := range a.args() {
		if arg.name == string(a.Kind) {
			words[0] = arg
		} else {
			words = append(words, arg)
		}
	}
	return joinWords(words)
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
		r.Buy = true
		if w.hasValue {
			err = w.state(&r.BuyState)
		}
	case "state":
		err = w.state(&r.State)
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
	case "number":
		err = w.text(&a.Number)
	case "repeat":
		err = w.integer(&a.Repeat)
	case "deep":
		err = w.integer(&a.Depth)
	case "hang", "delay":
		if w.name != string(a.Kind) {
			return fmt.Errorf("%s: %s has no such argument", w, a.Kind)
		}
		err = w.duration(&a.Wait)
	case "code":
		err = w.text(&a.Code)
	case "message":
		err = w.text(&a.Message)
	case "data":
		err = w.flag(&a.Data)
	case "html":
		err = w.flag(&a.HTML)
	case "retry-after":
		err = w.duration(&a.RetryAfter)
	case "date":
		err = w.flag(&a.Date)
	case "to":
		err = w.text(&a.To)
	default:
		var known bool
		if known, err = a.Rows.set(w); !known {
			err = fmt.Errorf("%s: no such argument", w)
		}
	}
	return err
}
