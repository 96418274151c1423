package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// word is one word of the text of a rule or of a lookup mode: name, or name=value.
type word struct {
	name, value string
	hasValue    bool
}

// String returns w as it is written in a rule.
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

// splitRule splits a rule into the words before and after the first colon that ends a
// word.
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

// readWords reads words up to the end or, with inHead, up to the first colon that ends
// a word. No word may occur twice.
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

// nextWord reads one word and, with inHead, the colon that ends it.
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
			return word{}, false, "", fmt.Errorf("%s: the value's quotes are not closed, or contain a wrong escape", bare)
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
