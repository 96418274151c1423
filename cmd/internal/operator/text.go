package operator

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Shown returns text for a terminal or a page: everything that is not a printable
// character (control characters, escape sequences, marks that turn the direction of
// writing, bytes that are not UTF-8) is shown as an escape of Go, such as \x1b. What is
// longer than most characters is cut; 0: nothing is.
func Shown(text string, most int) string {
	var b strings.Builder
	n := 0
	for len(text) > 0 {
		if most > 0 && n >= most {
			b.WriteString("...")
			break
		}
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		text = text[size:]
		n++
	}
	return b.String()
}

// ago is a duration for people: two units at most, such as 2m17s.
func ago(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return whole(d.Round(time.Second))
	case d < 48*time.Hour:
		return whole(d.Round(time.Minute))
	default:
		days := d / (24 * time.Hour)
		return fmt.Sprintf("%dd%dh", days, (d-days*24*time.Hour)/time.Hour)
	}
}

// whole is a duration without seconds if there are none: 1h0m, 2m.
func whole(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		return strings.TrimSuffix(text, "0s")
	}
	return text
}

// clock is a moment for people who read a list now: the time alone if it is on the day
// of now, else with its date. It is in UTC, as everything in logs and events is.
func clock(t, now time.Time) string {
	switch t, now = t.UTC(), now.UTC(); {
	case t.IsZero():
		return "-"
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return t.Format("15:04:05")
	default:
		return t.Format("2006-01-02 15:04:05")
	}
}
