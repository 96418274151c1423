package sandbox

import (
	"errors"
	"fmt"
	"strings"
)

// ParseRule parses the text form of a rule, which Help explains. A value that contains
// a space or a quote, or ends with a colon, must be a Go string in double quotes. The
// error names the rule, the word and its value.
func ParseRule(text string) (Rule, error) {
	r, err := parseRule(text)
	if err != nil {
		return Rule{}, fmt.Errorf("rule %q: %w", text, err)
	}
	return r, nil
}

// ParseRules parses one rule per line. It skips empty lines and lines that begin with
// "#". The error has every faulty line, with its number.
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

// conditions returns the settings before the colon, in the order of the text form.
func (r *Rule) conditions() []setting {
	return []setting{
		bindEndpoint("endpoint", &r.Endpoint),
		bindText("packageCode", &r.PackageCode),
		bindText("outTradeNo", &r.OutTradeNo),
		bindState("state", &r.State),
		bindProbability("p", &r.Probability),
		bindCount("first", &r.First),
		bindDuration("after", &r.After),
		bindDuration("for", &r.For),
		bindBuy("buy", &r.Buy, &r.BuyState),
		bindFlag("always", new(bool)), // sets nothing: the rule has no condition
	}
}

// arguments returns the settings after the colon, in the order of the text form. One
// with the name of the kind is the value of the kind itself.
func (a *Action) arguments() []setting {
	wait := Delay
	if a.Kind == Hang {
		wait = Hang
	}
	return append([]setting{
		bindCount("status", &a.Status),
		bindDuration(string(wait), &a.Wait),
		bindText("number", &a.Number),
		bindCount("repeat", &a.Repeat),
		bindCount("deep", &a.Depth),
		bindText("code", &a.Code),
		bindText("message", &a.Message),
		bindFlag("data", &a.Data),
		bindFlag("html", &a.HTML),
		bindDuration("retry-after", &a.RetryAfter),
		bindFlag("date", &a.Date),
		bindText("to", &a.To),
	}, a.Rows.settings()...)
}

// String returns the text form, which ParseRule parses into the same rule.
func (r Rule) String() string {
	head := joinWords(wordsOf(r.conditions()))
	if head == "" {
		head = "always"
	}
	return head + ": " + r.Action.String()
}

// String returns the part of a rule's text that follows the colon.
func (a Action) String() string {
	words := []word{{name: string(a.Kind)}}
	for _, arg := range wordsOf(a.arguments()) {
		if arg.name == string(a.Kind) {
			words[0] = arg
		} else {
			words = append(words, arg)
		}
	}
	return joinWords(words)
}

func joinWords(words []word) string {
	var texts []string
	for _, w := range words {
		texts = append(texts, w.String())
	}
	return strings.Join(texts, " ")
}

func parseRule(text string) (Rule, error) {
	head, tail, err := splitRule(text)
	if err != nil {
		return Rule{}, err
	}
	var r Rule
	for _, w := range head {
		condition, ok := find(r.conditions(), w.name)
		if !ok {
			return Rule{}, fmt.Errorf("%s: no such condition", w)
		}
		if err := condition.parse(w); err != nil {
			return Rule{}, err
		}
	}
	if len(tail) == 0 {
		return Rule{}, errors.New("no action after the colon")
	}
	if err := r.Action.parse(tail); err != nil {
		return Rule{}, err
	}
	return r, r.Validate()
}

// parse parses the words of an action: its kind, with or without a value, and its
// arguments. It skips the arguments of an unknown kind.
func (a *Action) parse(words []word) error {
	a.Kind = Kind(words[0].name)
	if _, known := argsOf[a.Kind]; !known {
		return nil // Validate reports it
	}
	if !words[0].hasValue {
		words = words[1:]
	}
	for _, w := range words {
		arg, ok := find(a.arguments(), w.name)
		switch {
		case !ok && (w.name == string(Hang) || w.name == string(Delay)):
			return fmt.Errorf("%s: %s has no such argument", w, a.Kind)
		case !ok:
			return fmt.Errorf("%s: no such argument", w)
		}
		if err := arg.parse(w); err != nil {
			return err
		}
	}
	return nil
}
