package upstream

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, " 12 ": 12 * time.Second, "300": 5 * time.Minute, "301": 5 * time.Minute,
		"99999999999999999999": 5 * time.Minute, "-1": 0, "+5": 0, "1.5": 0, "soon": 0, "1s": 0,
		"Mon, 23 Nov 2026 10:00:30 GMT":  30 * time.Second,
		"Monday, 23-Nov-26 10:00:30 GMT": 30 * time.Second,
		"Mon, 23 Nov 2026 09:59:30 GMT":  0,
		"Mon, 23 Nov 2026 11:00:00 GMT":  5 * time.Minute,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", header, got, want)
		}
	}
}

func TestMessagesAreRedactedAndCut(t *testing.T) {
	hide := redactor{secret: testSecret, sign: strings.Repeat("A1", 20)}
	for name, c := range map[string]struct{ in, want string }{
		"plain":                {"insufficient balance 余额不足", "insufficient balance 余额不足"},
		"control characters":   {"a\x00b\nc\x7fd\u0085e", "a b c d e"},
		"broken UTF-8":         {"a\xffb", "a\ufffdb"},
		"secret and sign":      {"x" + testSecret + "y" + hide.sign + strings.ToLower(hide.sign), "x[redacted]y[redacted][redacted]"},
		"long":                 {strings.Repeat("x", 1025), strings.Repeat("x", 1024)},
		"long, wide":           {strings.Repeat("流", 400), strings.Repeat("流", 341)},
		"sign across the edge": {strings.Repeat("x", 1020) + hide.sign, strings.Repeat("x", 1020) + "[red"},
	} {
		got := hide.text(c.in, maxMessageBytes)
		if got != c.want || !utf8.ValidString(got) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	got := hide.snippet([]byte(strings.Repeat("\x00", 250) + hide.sign + "tail"))
	if want := `"` + strings.Repeat(`\x00`, 250) + `[redac"`; got != want {
		t.Errorf("snippet = %s, want %s", got, want)
	}
}

// FuzzClassify checks that no answer makes classify panic, and that it is a success
// only if an independent parser finds code 200 and an orderNumber.
func FuzzClassify(f *testing.F) {
	for _, body := range []string{success, `{"code":200,"data":{"orderNumber":1}}`, `{"code":"1"}`, `{"code":"200","code":"1"}`,
		`<html>`, ``, `{"code":2e2,"data":{"orderNumber":"x"}} x`, `{"code":" 200","data":{"orderNumber":"x"}}`} {
		for _, status := range []int{200, 201, 302, 400, 429, 500} {
			f.Add(status, "1", []byte(body))
		}
	}
	codes := DefaultCodes()
	f.Fuzz(func(t *testing.T, status int, header string, body []byte) {
		hide := redactor{secret: testSecret, sign: strings.Repeat("A1", 20)}
		r, e := classify(answer{status: status, retryAfter: header, body: body}, codes, hide, time.Now())
		_, _ = readPage(r)
		if e == nil {
			if _, ok := purchase(r, hide); ok && !saysBought(status, body) {
				t.Errorf("HTTP %d %q counts as bought", status, body)
			}
			return
		}
		checkQuiet(t, e, hide.sign)
		switch {
		case (e.Class == Refused || e.Class == Account) && (status != 200 && status/100 != 4 || saysBought(200, body)):
			t.Errorf("HTTP %d %q is refused", status, body)
		case e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter || e.RetryAfter > 0 && e.Class != Throttled:
			t.Errorf("%v waits %v", e, e.RetryAfter)
		case e.Class == Unreachable, (e.Bought || e.Exists) && e.Class != Ambiguous, e.Permanent && e.Class != Refused:
			t.Errorf("HTTP %d %q is %v", status, body, e)
		}
	})
}

func saysBought(status int, body []byte) bool {
	var fields map[string]any
	if status != 200 || json.Unmarshal(body, &fields) != nil {
		return false
	}
	code, isText := fields["code"].(string)
	number, isNumber := fields["code"].(float64)
	data, _ := fields["data"].(map[string]any)
	ordered := data["orderNumber"] != nil && data["orderNumber"] != ""
	return ordered && (isText && strings.TrimSpace(code) == "200" || isNumber && number == 200)
}
