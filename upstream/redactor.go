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

// redactor takes one request's secret and signature out of whatever is shown of
// its reply: a vendor may well echo what it was sent.
type redactor struct{ secret, sign string }

// hide replaces the secret and the signature (in either case).
func (r redactor) hide(s string) string {
	for _, word := range []string{r.sign, strings.ToLower(r.sign), r.secret} {
		if word != "" {
			s = strings.ReplaceAll(s, word, redacted)
		}
	}
	return s
}

// text returns s fit to be shown: redacted, without control characters, valid
// UTF-8, and cut to at most maxBytes at the end of a character.
func (r redactor) text(s string, maxBytes int) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, r.hide(s))
	return cut(s, maxBytes)
}

// snippet quotes the beginning of an unreadable reply. It hides before it cuts,
// or half a signature could stay at the end.
func (r redactor) snippet(body []byte) string {
	s := r.hide(string(body))
	return strconv.Quote(s[:min(len(s), maxSnippetBytes)])
}

// err returns err as it is where its text may be shown, else only what may be:
// net/http puts unreadable replies into its errors.
func (r redactor) err(err error) error {
	if text := r.text(err.Error(), maxMessageBytes); text != err.Error() {
		return errors.New(cut(text, maxSnippetBytes))
	}
	return err
}

func cut(s string, maxBytes int) string {
	if len(s) <= maxBytes {
		return s
	}
	for maxBytes > 0 && !utf8.RuneStart(s[maxBytes]) {
		maxBytes--
	}
	return s[:maxBytes]
}
