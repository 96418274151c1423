// Package text has the small forms of text that commands share.
package text

import (
	"fmt"
	"strings"
)

// OneLine returns the message of err without line breaks, which joined errors have.
func OneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Counted returns n with the noun, in the plural unless n is 1: "1 refusal", "2 refusals".
func Counted(n int, noun string) string {
	return fmt.Sprintf("%d %s", n, Noun(n, noun, noun+"s"))
}

// Noun returns one if n is 1, and otherwise many.
func Noun(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
