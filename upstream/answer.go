package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is an HTTP answer that was read whole.
type answer struct {
	status     int
	retryAfter string // the header, as it came
	body       []byte // one byte more than maxBodyBytes where it is too large
}

// throttle is the set of vendor codes and HTTP statuses that mean "too fast".
type throttle map[string]bool

func newThrottle(codes []string) (throttle, error) {
	t := throttle{strconv.Itoa(http.StatusTooManyRequests): true}
	for _, code := range codes {
		switch code = strings.TrimSpace(code); code {
		case "":
			return nil, errors.New("throttle codes: one is empty")
		case codeOK:
			// It would make every purchase look like one to be sent again.
			return nil, errors.New(`throttle codes: "200" is the code of a success`)
		}
		t[code] = true
	}
	return t, nil
}

// classify is pure: every rule about what an answer means is in this switch. It
// returns the reply where its code is "200", else what the answer means.
//
// Source: contract, section 7.
func classify(a answer, slow throttle, hide redactor, now time.Time) (reply, *Error) {
	if len(a.body) > maxBodyBytes {
		return reply{}, &Error{Class: Ambiguous, Code: statusCode(a.status),
			Err: fmt.Errorf("HTTP %d: a body of more than %d bytes", a.status, maxBodyBytes)}
	}
	r, broken := readReply(a.body)
	refusable := a.status == http.StatusOK || a.status >= 400 && a.status < 500
	as := func(class Class, err error) (reply, *Error) {
		e := &Error{Class: class, Code: hide.text(r.code, maxCodeBytes), Message: hide.text(r.message, maxMessageBytes), Err: err}
		if broken != nil {
			e.Code = ""
			e.Message = cut(fmt.Sprintf("unreadable reply (%v): %s", broken, hide.snippet(a.body)), maxMessageBytes)
		}
		if e.Code == "" {
			e.Code = statusCode(a.status)
		}
		return reply{}, e
	}
	switch {
	case errors.Is(broken, errTwice): // whichever of the two is meant
		return as(Ambiguous, nil)
	case a.status == http.StatusOK && broken != nil:
		return as(Ambiguous, nil)
	case a.status == http.StatusOK && r.code == "":
		return as(Ambiguous, errors.New("a reply without a code"))
	case a.status == http.StatusOK && r.code == codeOK:
		return r, nil
	case r.code == codeOK: // even in an unreadable body: somebody said "bought"
		return as(Ambiguous, fmt.Errorf("HTTP %d with code 200", a.status))
	case slow[strconv.Itoa(a.status)], refusable && broken == nil && slow[r.code]:
		_, e := as(Throttled, nil)
		e.RetryAfter = retryAfter(a.retryAfter, now)
		return reply{}, e
	case refusable:
		return as(Refused, nil)
	default:
		return as(Ambiguous, fmt.Errorf("HTTP %d", a.status))
	}
}

// statusCode is the HTTP status as a code; a bare HTTP 200 says nothing, and
// must not read like a success.
func statusCode(status int) string {
	if status == http.StatusOK {
		return ""
	}
	return strconv.Itoa(status)
}

// maxRetryAfter bounds what one answer can hold the whole account up.
const maxRetryAfter = 5 * time.Minute

// retryAfter reads a Retry-After header, in seconds or as an HTTP date: 0..5m.
//
// Source: RFC 9110, section 10.2.3.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	if header == "" || strings.TrimLeft(header, "0123456789") != "" {
		return 0
	}
	seconds, err := strconv.Atoi(header)
	if err != nil || seconds > int(maxRetryAfter/time.Second) { // more digits than fit
		return maxRetryAfter
	}
	return time.Duration(seconds) * time.Second
}
