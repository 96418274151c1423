package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// answer is an HTTP response that was read to its end.
type answer struct {
	status     int
	retryAfter string // the header, as it came
	body       []byte // at most maxBodyBytes, and one byte more if it was too large
}

// classify decides what an answer means. It returns the reply if both the HTTP
// status and the code are 200, and otherwise an *Error that says what the answer
// means for the order. It is pure; every rule is here or in meaning.
//
// Source: contract, section 7.
func classify(a answer, codes Codes, hide redactor, now time.Time) (reply, *Error) {
	if len(a.body) > maxBodyBytes {
		return reply{}, &Error{Class: Ambiguous, Code: statusCode(a.status),
			Err: fmt.Errorf("HTTP %d: a body of more than %d bytes", a.status, maxBodyBytes)}
	}
	r, broken := readReply(a.body)
	if a.status == http.StatusOK && broken == nil && r.code == codeOK {
		return r, nil
	}
	e := meaning(a.status, r, broken, codes)
	e.Code, e.Message = hide.text(r.code, maxCodeBytes), hide.text(r.message, maxMessageBytes)
	if broken != nil {
		e.Code = ""
		e.Message = cut(fmt.Sprintf("unreadable reply (%v): %s", broken, hide.snippet(a.body)), maxMessageBytes)
	}
	if e.Code == "" {
		e.Code = statusCode(a.status)
	}
	if e.Class == Throttled {
		e.RetryAfter = retryAfter(a.retryAfter, now)
	}
	return reply{}, e
}

// meaning returns what an answer means that is not a success: the first case that
// applies. Broken says why the body could not be read; nil: it could be.
//
// Source: contract, section 7.
func meaning(status int, r reply, broken error, codes Codes) *Error {
	definite := status == http.StatusOK || status >= 400 && status < 500 // an answer of the application, not of a gateway
	listed, known := codes[r.code]
	known = known && definite && broken == nil
	switch {
	case hasOrderNumber(r.data): // whatever the code says, there is an order
		return &Error{Class: Ambiguous, Bought: true, Err: fmt.Errorf("HTTP %d with an orderNumber beside another code", status)}
	case r.code == codeOK && status != http.StatusOK: // even if the rest of the body is unreadable
		return &Error{Class: Ambiguous, Err: fmt.Errorf("HTTP %d with code 200", status)}
	case errors.Is(broken, errTwice): // nobody can tell which value is meant
		return &Error{Class: Ambiguous}
	case status == http.StatusRequestTimeout:
		return &Error{Class: Ambiguous, Err: errors.New("HTTP 408")}
	case status == http.StatusConflict:
		return &Error{Class: Ambiguous, Exists: true, Err: errors.New("HTTP 409")}
	case known:
		return listed.meaning()
	case status == http.StatusTooManyRequests:
		return &Error{Class: Throttled}
	case aboutAccount(status) && (broken != nil || r.code == ""):
		return &Error{Class: Account}
	case status == http.StatusOK && broken != nil:
		return &Error{Class: Ambiguous}
	case status == http.StatusOK && r.code == "":
		return &Error{Class: Ambiguous, Err: errors.New("a reply without a code")}
	case definite:
		return &Error{Class: Refused}
	default:
		return &Error{Class: Ambiguous, Err: fmt.Errorf("HTTP %d", status)}
	}
}

// meaning returns what an answer means whose code is in the list.
func (l List) meaning() *Error {
	switch l {
	case DuplicateCodes:
		return &Error{Class: Ambiguous, Exists: true}
	case AccountCodes:
		return &Error{Class: Account}
	case ThrottleCodes:
		return &Error{Class: Throttled}
	case PermanentCodes:
		return &Error{Class: Refused, Permanent: true}
	default: // AmbiguousCodes
		return &Error{Class: Ambiguous}
	}
}

// aboutAccount reports whether an HTTP status is about the account, not the order.
func aboutAccount(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired
}

// hasOrderNumber reports whether data has, at any depth, an orderNumber that is
// neither null nor empty nor 0.
func hasOrderNumber(data jsontext.Value) bool {
	if !bytes.Contains(data, []byte("orderNumber")) && !bytes.Contains(data, []byte(`\`)) {
		return false // the usual case, without parsing
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := dec.ReadToken()
		if err != nil {
			return false
		}
		if token.Kind() != '"' || token.String() != "orderNumber" {
			continue
		}
		if in, n := dec.StackIndex(dec.StackDepth()); in != '{' || n%2 == 0 { // a value: in an object every odd token is a name
			continue
		}
		switch value, _ := dec.ReadValue(); {
		case value.Kind() == 'n':
		case value.Kind() == '0' && number(value) == 0:
		case value.Kind() == '"' && blank(value):
		default:
			return true
		}
	}
}

// blank reports whether a JSON string has nothing but white space.
func blank(text jsontext.Value) bool {
	s, _ := stringText(text)
	return strings.TrimSpace(s) == ""
}

// statusCode returns the HTTP status as the code of an Error, and "" for 200, which
// would read like a success.
func statusCode(status int) string {
	if status == http.StatusOK {
		return ""
	}
	return strconv.Itoa(status)
}

// maxRetryAfter is the longest time by which one answer can delay the whole account.
const maxRetryAfter = 5 * time.Minute

// retryAfter returns the wait that a Retry-After header asks for, from 0 to
// maxRetryAfter. The header has seconds or an HTTP date.
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
