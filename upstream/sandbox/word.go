package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// word is one word of a rule's text: name, or name=value.
type word struct {
	name, value string
	hasValue    bool
}

// String returns w as it stands in a rule.
func (w word) String() string {
	switch {
	case !w.hasValue:
		return w.name
	case w.needsQuotes():
		return w.name + "=" + strconv.Quote(w.value)
	default:
		return w.name + "=" + w.value
	}
}

func (w word) needsQuotes() bool {
	odd := func(r rune) bool { return r == '"' || unicode.IsSpace(r) || !strconv.IsPrint(r) }
	return w.value == "" || strings.HasSuffix(w.value, ":") || !utf8.ValidString(w.value) || strings.ContainsFunc(w.value, odd)
}

// wordList collects the words that are set.
type wordList []word

func (l *wordList) value(name, value string, isSet bool) {
	if isSet {
		*l = append(*l, word{name: name, value: value, hasValue: true})
	}
}

func (l *wordList) flag(name string, isSet bool) {
	if isSet {
		*l = append(*l, word{name: name})
	}
}

func (w word) flag(to *bool) error {
	if w.hasValue {
		return fmt.Errorf("%s: %s takes no value", w, w.name)
	}
	*to = true
	return nil
}

func (w word) text(to *string) error {
	if w.value == "" {
		return fmt.Errorf("%s: needs a value", w)
	}
	*to = w.value
	return nil
}

func (w word) state(to *string) error {
	if _, err := stateOf(w.value); err != nil {
		return fmt.Errorf("%s: must be 0 (waiting), 1 (in use) or 2 (finished)", w)
	}
	*to = w.value
	return nil
}

func (w word) integer(to *int) error {
	n, err := strconv.Atoi(w.value)
	if err != nil || n < 1 {
		return fmt.Errorf("%s: must be an integer of at least 1", w)
	}
	*to = n
	return nil
}

func (w word) duration(to *time.Duration) error {
	d, err := time.ParseDuration(w.value)
	if err != nil || d <= 0 {
		return fmt.Errorf("%s: must be a duration over 0, such as 300ms or 2s", w)
	}
	*to = d
	return nil
}

// splitRule splits a rule at the first colon that ends a word, and both parts into words.
func splitRule(text string) (head, tail []word, err error) {
	head, rest, colon, err := readWords(text, true)
	if err == nil && !colon {
		err = errors.New(`no ":" after a word, between conditions and action`)
	}
	if err == nil {
		tail, err = splitWords(rest)
	}
	return head, tail, err
}

// splitWords splits text into words.
func splitWords(text string) ([]word, error) {
	words, _, _, err := readWords(text, false)
	return words, err
}

// readWords reads words, none of them twice, up to the end or, with inHead, to the
// first colon that ends a word.
func readWords(text string, inHead bool) (words []word, rest string, colon bool, err error) {
	for rest = strings.TrimLeftFunc(text, unicode.IsSpace); rest != "" && !colon; rest = strings.TrimLeftFunc(rest, unicode.IsSpace) {
		var w word
		if w, colon, rest, err = nextWord(rest, inHead); err != nil {
			return nil, "", false, err
		}
		if w == (word{}) { // a colon alone
			continue
		}
		if slices.ContainsFunc(words, func(other word) bool { return other.name == w.name }) {
			return nil, "", false, fmt.Errorf("%s: %s is there twice", w, w.name)
		}
		words = append(words, w)
	}
	return words, rest, colon, nil
}

// nextWord takes one word off text, and with inHead the colon that ends it.
func nextWord(text string, inHead bool) (w word, colon bool, rest string, err error) {
	end := strings.IndexFunc(text, unicode.IsSpace)
	if end < 0 {
		end = len(text)
	}
	bare := text[:end]
	name, value, hasValue := strings.Cut(bare, "=")
	if hasValue && strings.HasPrefix(value, `"`) {
		quoted, err := strconv.QuotedPrefix(text[len(name)+1:])
		if err != nil {
			return word{}, false, "", fmt.Errorf("%s: the value's quotes are not closed, or hold a wrong escape", bare)
		}
		rest = text[len(name)+1+len(quoted):]
		if inHead {
			rest, colon = strings.CutPrefix(rest, ":")
		}
		if rest != "" && !startsWithSpace(rest) {
			return word{}, false, "", fmt.Errorf("%s=%s: a space must follow the quotes", name, quoted)
		}
		value, err = strconv.Unquote(quoted)
		return word{name, value, true}, colon, rest, err
	}
	if strings.Contains(bare, `"`) {
		return word{}, false, "", fmt.Errorf("%s: a value with a quote in it must stand in quotes", bare)
	}
	if inHead {
		bare, colon = strings.CutSuffix(bare, ":")
		name, value, hasValue = strings.Cut(bare, "=")
	}
	return word{name, value, hasValue}, colon, text[end:], nil
}

func startsWithSpace(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsSpace(r)
}
