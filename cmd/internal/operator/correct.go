package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// RequestFields are the fields of an order request, which a replay can set.
var RequestFields = []string{"outTradeNo", "iccid", "packageCode", "renew", "expiresAt"}

// ParseSet parses field=value pairs of a correction.
func ParseSet(pairs []string) (map[string]string, error) {
	set := make(map[string]string)
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("(%q) must be field=value", pair)
		case !slices.Contains(RequestFields, name):
			return nil, fmt.Errorf("(%q) must name one of %s", pair, strings.Join(RequestFields, ", "))
		}
		if name == "renew" && value != "null" {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("(%q) must be a whole number, or null", pair)
			}
			value = strconv.FormatInt(n, 10) // +7 and 007 are no numbers of JSON
		}
		set[name] = value
	}
	return set, nil
}

// correct returns the payload of a letter with some fields set. null takes an optional
// field away. A field that differs from one that is set only in case, _ or - is taken
// away with it. The error says why the payload cannot be published.
func correct(l *DeadLetter, set map[string]string) ([]byte, error) {
	if l.Truncated > 0 {
		return nil, fmt.Errorf("its payload of %d bytes was cut to %d: ask the publisher for it", l.Truncated, l.Bytes)
	}
	if len(set) == 0 {
		return l.data, nil
	}
	fields, order, err := fieldsOf(l.data, set)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		for other := range fields {
			if alike(other) == alike(name) {
				delete(fields, other)
			}
		}
		value := []byte(set[name])
		if name != "renew" && (set[name] != "null" || name != "expiresAt") {
			if value, err = json.Marshal(set[name]); err != nil {
				return nil, err
			}
		}
		fields[name] = value
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, name := range order {
		value, ok := fields[name]
		if !ok {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// alike is a field's name without what a typing error changes.
func alike(name string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
}

// fieldsOf returns the fields of a payload, and their names in order. A payload that is no
// object has none: then all required fields must be set. A field that stands twice is
// refused, unless it is set: nobody knows which of the two was meant.
func fieldsOf(payload []byte, set map[string]string) (fields map[string]json.RawMessage, order []string, err error) {
	fields = make(map[string]json.RawMessage)
	dec := json.NewDecoder(bytes.NewReader(payload))
	fail := func() (map[string]json.RawMessage, []string, error) {
		if set["outTradeNo"] == "" || set["iccid"] == "" || set["packageCode"] == "" {
			return nil, nil, errors.New("its payload is not one JSON object: set outTradeNo, iccid and packageCode")
		}
		return map[string]json.RawMessage{}, nil, nil
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fail()
	}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return fail()
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return fail()
		}
		if _, twice := fields[name]; twice && set[name] == "" {
			return nil, nil, fmt.Errorf("its field %q stands twice: set it", name)
		}
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
		fields[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return fail()
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) { // what follows may be another order
		return fail()
	}
	return fields, order, nil
}
