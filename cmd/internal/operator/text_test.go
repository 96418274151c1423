package operator

import (
	"testing"
	"time"
)

func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"3009 balance too low":      "3009 balance too low",
		"余额不足":                      "余额不足",
		"\x1b[31mred\x1b[0m":        `\x1b[31mred\x1b[0m`,
		"a\nb\tc\r\x00\x7f":         `a\x0ab\x09c\x0d\x00\x7f`,
		"\u009b31m":                 `\u009b31m`,
		"\u202eevil\u2066":          `\u202eevil\u2066`,
		"bad\xff\xc3utf8":           `bad\xff\xc3utf8`,
		"tag\U000e0041":             `tag\U000e0041`,
		"zero\u200bwidth\ufeff":     `zero\u200bwidth\ufeff`,
		"<script>alert(1)</script>": "<script>alert(1)</script>", // a page escapes it
	} {
		if got := Shown(text, 0); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Shown("abcdef", 3); got != "abc..." {
		t.Errorf("cut: %q", got)
	}
	if got := Shown("abc", 3); got != "abc" {
		t.Errorf("not cut: %q", got)
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 1234 * time.Millisecond: "1.2s", 10 * time.Second: "10s", 137 * time.Second: "2m17s", 2 * time.Minute: "2m",
		time.Hour: "1h0m", 90 * time.Minute: "1h30m", 50 * time.Hour: "2d2h", 59*time.Minute + 59*time.Second + 900*time.Millisecond: "1h0m",
	} {
		if got := ago(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
