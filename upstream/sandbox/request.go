package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// request is a call that passed every check.
type request struct {
	endpoint Endpoint

	// An order.
	outTradeNo, iccid, packageCode string
	renew                          *int64 // nil: missing

	// A lookup: one of the two lists is set.
	outTradeNos, orderNumbers []string
	state                     *int64 // nil: every state
	page, pageSize            int64
}

// refusal is a failed check.
type refusal struct{ code, message string }

func refusef(code, format string, args ...any) *refusal {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

// check checks a call: transport, body, fields, appkey, sign and timestamp, in this
// order. It returns the first refusal. bodyErr is the error of reading body.
func (v *Vendor) check(endpoint Endpoint, r *http.Request, body []byte, bodyErr error) (request, *refusal) {
	if refusal := checkTransport(r); refusal != nil {
		return request{}, refusal
	}
	if bodyErr != nil {
		return request{}, refusef(CodeBody, "the body cannot be read: %v", bodyErr)
	}
	fields, refusal := parseFields(body)
	if refusal != nil {
		return request{}, refusal
	}
	system, req, refusal := checkFields(endpoint, fields)
	if refusal != nil {
		return request{}, refusal
	}

	age := v.now().Sub(time.Unix(system.timestamp, 0))
	switch {
	case system.appKey != v.cfg.AppKey:
		return request{}, refusef(CodeAppKey, "appkey %q is not known", system.appKey)
	case system.sign != signature(fields.signed(), v.cfg.Secret):
		return request{}, refusef(CodeSign, "sign is wrong")
	case age > v.cfg.MaxAge || age < -v.cfg.MaxAge:
		return request{}, refusef(CodeTimestamp, "timestamp is %v from now, more than %v", age.Truncate(time.Second), v.cfg.MaxAge)
	}
	return v.checkState(req)
}

// checkState gives a lookup without a state the meaning of Config.LookupWithoutState.
func (v *Vendor) checkState(req request) (request, *refusal) {
	if req.endpoint != EndpointLookup || req.state != nil {
		return req, nil
	}
	switch v.cfg.LookupWithoutState {
	case StateZero:
		req.state = new(int64(Waiting))
	case StateError:
		return request{}, refusef(CodeField, "state is missing")
	}
	return req, nil
}

// checkTransport checks the HTTP request: method, query string and content type.
func checkTransport(r *http.Request) *refusal {
	if r.Method != http.MethodPost {
		return refusef(CodeMethod, "method %s: only POST", r.Method)
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return refusef(CodeQuery, "the query string must be empty")
	}
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, ok := params["charset"]
	if err != nil || mediaType != "application/json" || ok && !strings.EqualFold(charset, "utf-8") {
		return refusef(CodeContentType, "content type %q: only application/json;charset=utf-8", r.Header.Get("Content-Type"))
	}
	return nil
}

// fields are the parameters of a call: each value is a string or an int64.
type fields map[string]any

// parseFields parses one JSON object whose values are strings or integers. No name may
// occur twice: nobody can tell which of the two values the vendor would use.
func parseFields(body []byte) (fields, *refusal) {
	if !utf8.Valid(body) {
		return nil, refusef(CodeBody, "the body is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, refusef(CodeBody, "the body is not a JSON object")
	}
	all := fields{}
	for dec.More() {
		name, err := dec.Token()
		var value any
		if err == nil {
			err = dec.Decode(&value)
		}
		if err != nil {
			return nil, refusef(CodeBody, "the body is not JSON: %v", err)
		}
		key := name.(string) // the decoder accepts nothing else here
		if _, ok := all[key]; ok {
			return nil, refusef(CodeField, "%s is there twice", key)
		}
		if all[key], err = fieldValue(value); err != nil {
			return nil, refusef(CodeField, "%s %v", key, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, refusef(CodeBody, "the body is not JSON: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, refusef(CodeBody, "bytes after the JSON object")
	}
	return all, nil
}

// fieldValue returns a string, or an integer in its usual decimal spelling.
func fieldValue(value any) (any, error) {
	switch value := value.(type) {
	case string:
		return value, nil
	case json.Number:
		n, err := strconv.ParseInt(value.String(), 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != value.String() {
			return nil, fmt.Errorf("(%s) is not an integer", value)
		}
		return n, nil
	default:
		return nil, errors.New("is neither a string nor an integer")
	}
}

// signed returns the fields as the signature spells them.
func (f fields) signed() map[string]string {
	spelled := make(map[string]string, len(f))
	for name, value := range f {
		spelled[name] = fmt.Sprint(value)
	}
	return spelled
}
