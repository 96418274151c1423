package upstream

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxCodeBytes    = 128
	maxMessageBytes = 1024
	maxSnippetBytes = 256
)

// redactor removes the secret and the signature of one request from every text that
// is shown of its answer, because a vendor may echo what it was sent.
type redactor struct{ secret, sign string }

// hide replaces the secret, and the signature in upper and in lower case.
func (r redactor) hide(s string) string {
	for _, word := range []string{r.sign, strings.ToLower(r.sign), r.secret} {
		if word != "" {
			s = strings.ReplaceAll(s, word, redacted)
		}
	}
	return s
}

// text returns s as it may be shown: redacted, valid UTF-8 without control
// characters, and cut to at most maxBytes after a whole character.
func (r redactor) text(s string, maxBytes int) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, r.hide(s))
	return cut(s, maxBytes)
}

// snippet quotes the beginning of an unreadable reply. It redacts before it cuts:
// otherwise half a signature could remain at the end.
func (r redactor) snippet(body []byte) string {
	s := r.hide(string(body))
	return strconv.Quote(s[:min(len(s), maxSnippetBytes)])
}

// err returns err unchanged if its text may be shown, and otherwise an error with
// the redacted text: net/http puts unreadable replies into its errors.
func (r redactor) err(err error) error {
	if text := r.text(err.Error(), maxMessageBytes); text != err.Error() {
		return errors.New(cut(text, maxSnippetBytes))
	}
	return err
}

// cut returns the beginning of s, at most maxBytes long, with whole characters.
func cut(s string, maxBytes int) string {
	if len(s) <= maxBytes {
		return s
	}
	for maxBytes > 0 && !utf8.RuneStart(s[maxBytes]) {
		maxBytes--
	}
	return s[:maxBytes]
}
