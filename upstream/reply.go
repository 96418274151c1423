package upstream

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// codeOK is the code of a success. Source: upstream/VENDOR.md, "Answers".
const codeOK = "200"

// reply is the JSON object that the vendor answers every call with.
type reply struct {
	code    string         // empty if it is missing or neither a string nor a number
	message string         // as it came: it may be shown only after a redactor
	data    jsontext.Value // nil if it is missing

	counters counters // of a lookup whose counters are beside the data
}

var (
	errNotObject = errors.New("not a JSON object")
	errTwice     = errors.New("duplicate name in a JSON object")
	errTrailing  = errors.New("bytes after the JSON")
)

// readReply parses a body that is one JSON object and nothing else. With an error,
// the reply has what was read before it.
func readReply(body []byte) (reply, error) {
	var r reply
	err := readObject(body, func(name string, value jsontext.Value) {
		switch name {
		case "code":
			r.code = codeText(value)
		case "message":
			r.message, _ = stringText(value)
		case "data":
			r.data = value.Clone()
		default:
			r.counters.read(name, value)
		}
	})
	return r, err
}

// purchase returns the purchase in the data of a reply with code "200". Ok reports
// whether it has a valid orderNumber.
func purchase(r reply, hide redactor) (p Purchase, ok bool) {
	p = readPurchase(r.data)
	p.Code, p.Message = codeOK, hide.text(r.message, maxMessageBytes)
	return p, p.OrderNumber != ""
}

// maxOrderNumber is the most characters of a valid orderNumber, which is shown in
// events and on terminals.
//
// Source: contract, section 7.
const maxOrderNumber = 128

// validOrderNumber reports whether s can be an orderNumber.
func validOrderNumber(s string) bool {
	return s != "" && utf8.RuneCountInString(s) <= maxOrderNumber &&
		strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) < 0
}

// readPurchase returns the orderNumber and the orderId of object, as far as they are
// valid. An orderNumber that is a JSON number is taken as it is spelled.
func readPurchase(object jsontext.Value) (p Purchase) {
	_ = readObject(object, func(name string, value jsontext.Value) {
		switch name {
		case "orderNumber":
			text, ok := stringText(value)
			if value.Kind() == '0' && number(value) != 0 {
				text, ok = string(value), true
			}
			if text = strings.Trim(text, " "); ok && validOrderNumber(text) {
				p.OrderNumber = text
			}
		case "orderId":
			if n, ok := integer(value); ok {
				p.OrderID = n
			}
		}
	})
	return p
}

// readObject calls field for each member of v, which must be one JSON object and
// nothing else. Names are case-sensitive, and none may occur twice in an object at
// any depth. Invalid UTF-8 is read as U+FFFD. A value is valid until field returns.
func readObject(v []byte, field func(name string, value jsontext.Value)) error {
	// A bytes.Buffer, unlike other readers, is read without a copy.
	dec := jsontext.NewDecoder(bytes.NewBuffer(v), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != '{' {
		return errNotObject
	}
	_, err := dec.ReadToken()
	for err == nil && dec.PeekKind() != '}' {
		var name jsontext.Token
		if name, err = dec.ReadToken(); err != nil {
			break
		}
		text := name.String() // a copy: the next read reuses the memory
		var value jsontext.Value
		if value, err = dec.ReadValue(); err == nil {
			field(text, value)
		}
	}
	if err == nil {
		_, err = dec.ReadToken() // the closing brace
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errTwice
	case err != nil:
		return errNotObject
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errTrailing
	}
	return nil
}

// elements returns the elements of a JSON array; ok is false for any other value.
func elements(v jsontext.Value) (all []jsontext.Value, ok bool) {
	if v.Kind() != '[' {
		return nil, false
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(v), jsontext.AllowInvalidUTF8(true))
	_, err := dec.ReadToken()
	for err == nil && dec.PeekKind() != ']' {
		var value jsontext.Value
		if value, err = dec.ReadValue(); err == nil {
			all = append(all, value.Clone())
		}
	}
	return all, err == nil
}

// codeText returns a code, a JSON string or number, as text. A number that equals an
// integer becomes that integer: 200, 200.0 and 2e2 are "200".
func codeText(v jsontext.Value) string {
	if text, ok := stringText(v); ok {
		return strings.TrimSpace(text)
	}
	if v.Kind() != '0' {
		return ""
	}
	if n, ok := integer(v); ok {
		return strconv.FormatInt(n, 10)
	}
	return string(v)
}

// stringText returns the text of a JSON string.
func stringText(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	text, _ := jsontext.AppendUnquote([]byte(nil), v) // the error says that invalid UTF-8 was replaced
	return string(text), true
}

// integer returns the value of a JSON number that equals an integer, or of a string
// of digits.
func integer(v jsontext.Value) (int64, bool) {
	text := string(v)
	switch v.Kind() {
	case '"':
		text, _ = stringText(v)
		if strings.TrimLeft(text, "0123456789") != "" {
			return 0, false
		}
	case '0':
	default:
		return 0, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	const exact = 1 << 53 // above it, a float64 cannot tell integers apart
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > exact {
		return 0, false
	}
	return int64(f), true
}

// number returns the value of a JSON number or of a string that contains one: +Inf
// if it is too large for a float64, and 0 for any other JSON value.
func number(v jsontext.Value) float64 {
	if n, ok := integer(v); ok {
		return float64(n)
	}
	text := string(v)
	if v.Kind() == '"' {
		text, _ = stringText(v)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(f) {
		return 0
	}
	return f
}
