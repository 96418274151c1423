package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"orderworker/upstream"
	"orderworker/worker"
	"orderworker/worker/client"
)

// compiled is a schema, as a validator of the standard reads it.
func compiled(t *testing.T, what string) *jsonschema.Schema {
	t.Helper()
	text, err := Read(what)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("urn:test:"+what, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:test:" + what)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// verdict is what the validator says of a payload; what is not JSON is refused before.
func verdict(s *jsonschema.Schema, payload []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// values are texts for each field as JSON; each is put into a request that is good
// otherwise.
var values = map[string][]string{
	"outTradeNo": {
		`"1"`, `"a-B_c.d"`, `"` + strings.Repeat("x", 32) + `"`, `"` + strings.Repeat("x", 33) + `"`, `""`, `"a b"`, `"a,b"`, `"a\tb"`, `"~!+-"`, `"a\u007f"`, `"ä"`, `"*.>"`,
		`"\u0041"`, `1`, `null`, `true`, `["a"]`, `{}`, `" a"`, `"a\n"`, `"\ufeffa"`, `"%_$"`, `"\"\\"`,
	},
	"iccid": {
		`"123456789012345"`, `"12345678901234"`, `"1234567890123456789012"`, `"12345678901234567890123"`, `"abcdefABCDEF0123"`, `"89883086501005249 9"`, `"8988308650100524-99"`,
		`"8.98831E+18"`, `8988308650100524999`, `null`, `""`, `"898830865010052499é"`, `"٣٣٣٣٣٣٣٣٣٣٣٣٣٣٣"`, `"8988308650100524999\n"`, `false`, `"8988308650100524999\u0000"`,
	},
	"packageCode": {
		`"P"`, `""`, `"` + strings.Repeat("x", 128) + `"`, `"` + strings.Repeat("x", 129) + `"`, `"` + strings.Repeat("é", 128) + `"`, `"` + strings.Repeat("é", 129) + `"`,
		`"CN 5M"`, `"CN\u00a05M"`, `"包裹"`, `"a,b;c"`, `"\t"`, `"a\u200b"`, `"\ud83d\ude00"`, `"a\u0301"`, `"€½²"`, `"\u2028"`, `"\ue000"`, `5`, `null`, `["P"]`, `"a\u0085"`, `"\u00ad"`, `"\u0378"`,
	},
	"renew": {
		`0`, `1`, `-1`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `-9223372036854775809`, `1.5`, `"1"`, `null`, `true`, `[]`, `{}`, `-0`, `123456789012345678901234567890`,
	},
	"expiresAt": {
		`"2026-11-23T10:00:00Z"`, `"2026-11-23t10:00:00z"`, `"2026-11-23T10:00:00.123456789012Z"`, `"2026-11-23T10:00:00+01:00"`, `"2026-11-23T10:00:00-23:59"`, `"2026-11-23T10:00:00+24:00"`,
		`"2026-11-23T10:00:00+25:00"`, `"2026-11-23T10:00:00+01:60"`, `"2026-11-23T10:00:00+01:61"`, `"2026-11-23 10:00:00Z"`, `"2026-11-23T10:00:00"`, `"2026-11-23"`, `"2026-02-29T00:00:00Z"`, `"2028-02-29T00:00:00Z"`,
		`"2000-02-29T00:00:00Z"`, `"1900-02-29T00:00:00Z"`, `"2026-02-28T00:00:00Z"`, `"2026-04-31T00:00:00Z"`, `"2026-13-01T00:00:00Z"`, `"2026-00-01T00:00:00Z"`, `"2026-01-00T00:00:00Z"`, `"2026-01-32T00:00:00Z"`,
		`"2026-01-01T24:00:00Z"`, `"2026-01-01T23:60:00Z"`, `"2026-01-01T23:59:60Z"`, `"2026-01-01T10:00:60Z"`, `"2026-01-01T10:00:61Z"`, `"2026-01-01T10:00:00,5Z"`, `"2026-01-01T10:00:00.Z"`,
		`"0001-01-01T00:00:00Z"`, `"0000-01-01T00:00:00Z"`, `"0000-02-29T00:00:00Z"`, `"20260-01-01T00:00:00Z"`, `""`, `null`, `1700000000`, `true`, `"2026-11-23T10:00:00Z "`, `"2026-1-23T10:00:00Z"`, `"2026-11-23T9:00:00Z"`,
	},
}

// wholes are payloads for themselves; %s is the other fields of a good request.
var wholes = []string{
	`{%s}`, `{%s,"note":1}`, `{%s,"expires_at":"2026-11-23T10:00:00Z"}`, `{%s,"EXPIRESAT":1}`, `{%s,"expires-at":[]}`, `{%s,"Renew":1}`, `{%s,"_renew_":1}`, `{%s,"renewal":1}`,
	`{%s,"ICCID":"x"}`, `{%s,"iccId":"x"}`, `{%s,"icc_id":"x"}`, `{%s,"iccid2":"x"}`, `{%s,"out_trade_no":"x"}`, `{%s,"pac\u212aageCode":"x"}`, `{%s,"expire\u017fAt":"x"}`, `{%s,"package code":"x"}`, `{%s,"":1}`, `{%s,"nested":{"iccid":1}}`,
	`[]`, `null`, `5`, `"text"`, `{}`, ``, `{`, `not JSON`, `{%s} more`, `{%s}{}`, "\ufeff{%s}", `{%s,}`, `{'a':1}`, "{%s}\n \t", " {%s}", `{%s,"renew":01}`, `{%s,"renew":+1}`, `{%s,"renew":0x1}`,
}

// notSaid are the payloads about which a validator may say something else, because JSON
// Schema cannot say the rule: the description of the schema names each.
var notSaid = map[string]struct {
	payload string
	good    bool // for the program
}{
	"a repeated name":           {`{%s,"note":1,"note":2}`, false},
	"a field twice":             {`{%s,"renew":1,"renew":1}`, false},
	"invalid UTF-8":             {"{%s,\"note\":\"\xff\"}", false},
	"an unpaired surrogate":     {`{%s,"note":"\ud800"}`, false},
	"renew as 1.0":              {`{%s,"renew":1.0}`, false},
	"renew as 1e3":              {`{%s,"renew":1e3}`, false},
	"a misspelt name with null": {`{%s,"expires_at":null}`, true},
}

var good = map[string]string{"outTradeNo": `"630000198311142676"`, "iccid": `"8988308650100524999"`, "packageCode": `"CN-5M"`}

// payloads are all that values and wholes describe.
func payloads() (all []string) {
	fields := func(except string) string {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(good)) {
			if name != except {
				list = append(list, fmt.Sprintf("%q:%s", name, good[name]))
			}
		}
		return strings.Join(list, ",")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, value := range values[name] {
			all = append(all, fmt.Sprintf("{%s,%q:%s}", fields(name), name, value))
		}
		all = append(all, "{"+fields(name)+"}")
	}
	for _, whole := range wholes {
		all = append(all, strings.Replace(whole, "%s", fields(""), 1))
	}
	return all
}

// TestRequestSchemaAndProgramAgree: a standard validator and the worker give the same
// verdict on every payload but those that the schema's description names.
func TestRequestSchemaAndProgramAgree(t *testing.T) {
	schema := compiled(t, "request")
	all := payloads()
	accepted := 0
	for _, payload := range all {
		_, program := worker.DecodeOrder([]byte(payload))
		validator := verdict(schema, []byte(payload))
		if (program == nil) != (validator == nil) {
			t.Errorf("%q:\nthe program says %v\nthe schema says %v", payload, program, validator)
		}
		if program == nil {
			accepted++
		}
	}
	if len(all) < 150 || accepted < 40 || len(all)-accepted < 80 {
		t.Errorf("%d payloads, %d of them good: too few", len(all), accepted)
	}
	for name, c := range notSaid {
		payload := strings.Replace(c.payload, "%s", `"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P"`, 1)
		_, program := worker.DecodeOrder([]byte(payload))
		if (program == nil) != c.good {
			t.Errorf("%s: the program says %v", name, program)
		}
		if validator := verdict(schema, []byte(payload)); (validator == nil) == c.good {
			t.Errorf("%s: the schema says it after all: %v; it belongs to the others", name, validator)
		}
	}
}

// jsonNames are the names of a struct's fields in JSON.
func jsonNames(v reflect.Type) (names []string) {
	for f := range v.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestSchemasHaveTheFieldsOfTheTypes compares the schemas with the Go types.
func TestSchemasHaveTheFieldsOfTheTypes(t *testing.T) {
	for what, v := range map[string]reflect.Type{"request": reflect.TypeFor[client.Request](), "result": reflect.TypeFor[worker.Result]()} {
		if got, want := slices.Sorted(maps.Keys(compiled(t, what).Properties)), jsonNames(v); !slices.Equal(got, want) {
			t.Errorf("%s.schema.json has %q, the type has %q", what, got, want)
		}
	}
}

// TestResultSchema: events as the program encodes them fit, and others do not.
func TestResultSchema(t *testing.T) {
	schema := compiled(t, "result")
	base := worker.Result{OutTradeNo: "A", ICCID: "8988308650100524999", PackageCode: "P", Attempts: 1, ReceivedAt: worker.Time{Time: time.Now()}, CompletedAt: worker.Time{Time: time.Now()}}
	encoded := func(change func(*worker.Result)) []byte {
		r := base
		change(&r)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	as := func(status worker.Status, reason worker.Reason, message, number string) []byte {
		return encoded(func(r *worker.Result) { r.Status, r.Reason, r.Message, r.OrderNumber = status, reason, message, number })
	}
	settled := worker.SettledResult(worker.Order{Order: upstream.Order{OutTradeNo: "A", ICCID: "8988308650100524999", PackageCode: "P"}},
		upstream.Purchase{OrderNumber: "X", OrderID: 7}, 1, time.Now(), time.Now())
	for name, c := range map[string]struct {
		event []byte
		good  bool
	}{
		"succeeded":                {as(worker.Succeeded, "", "success", "X"), true},
		"settled":                  {settled, true},
		"without a number":         {as(worker.Succeeded, "", "success", ""), false},
		"succeeded for a reason":   {as(worker.Succeeded, worker.Expired, "", "X"), false},
		"failed":                   {as(worker.Failed, worker.PermanentCode, "gone", ""), true},
		"exhausted":                {as(worker.Failed, worker.AttemptsExhausted, "", ""), true},
		"expired":                  {as(worker.Failed, worker.Expired, "", ""), true},
		"failed without a reason":  {as(worker.Failed, "", "", ""), false},
		"failed as invalid":        {as(worker.Failed, worker.Invalid, "", ""), false},
		"failed, and bought":       {as(worker.Failed, worker.Expired, "", "X"), false},
		"conflict":                 {as(worker.Rejected, worker.Conflict, "outTradeNo: ...", ""), true},
		"rejected without message": {as(worker.Rejected, worker.Invalid, "", ""), false},
		"in doubt":                 {as(worker.InDoubt, "", "", ""), true},
		"no status":                {as("", "", "", ""), false},
		"another status":           {as("lost", "", "", ""), false},
		"invalid, without a card": {encoded(func(r *worker.Result) {
			r.Status, r.Reason, r.Message, r.ICCID = worker.Rejected, worker.Invalid, "iccid: ...", ""
		}), true},
		"a field of later": {[]byte(strings.Replace(string(settled), "{", `{"later":1,`, 1)), true},
	} {
		if err := verdict(schema, c.event); (err == nil) != c.good {
			t.Errorf("%s: %s: %v", name, c.event, err)
		}
	}
}

// TestDeadSchema: headers of a dead letter.
func TestDeadSchema(t *testing.T) {
	schema := compiled(t, "dead")
	const needed = `"Dead-Reason":"invalid","Dead-Error":"iccid: ...","Dead-Stream-Seq":"7","Dead-Time":"2026-11-23T10:00:00.123Z"`
	for headers, good := range map[string]bool{
		`{` + needed + `}`: true,
		`{` + needed + `,"Dead-Nats-Msg-Id":"A","X":"y","Dead-Truncated":"5","Dead-Headers-Dropped":"1"}`: true,
		`{` + strings.Replace(needed, "invalid", "expired", 1) + `}`:                                      false,
		`{"Dead-Reason":"invalid"}`:          false,
		`{` + needed + `,"X":5}`:             false,
		`{` + needed + `,"Dead-Error":null}`: false,
	} {
		if err := verdict(schema, []byte(headers)); (err == nil) != good {
			t.Errorf("%s: %v", headers, err)
		}
	}
}

// TestAsyncAPIHasTheSchemas: the document repeats the schemas, so that it stands alone.
func TestAsyncAPIHasTheSchemas(t *testing.T) {
	read := func(what string) (v map[string]any) {
		t.Helper()
		text, err := Read(what)
		if err := errors.Join(err, json.Unmarshal(text, &v)); err != nil {
			t.Fatal(err)
		}
		return v
	}
	document := read("asyncapi")
	inside := document["components"].(map[string]any)["schemas"].(map[string]any)
	for _, what := range []string{"request", "result", "dead"} {
		schema := read(what)
		delete(schema, "$schema")
		delete(schema, "$id")
		if !reflect.DeepEqual(inside[what], schema) {
			t.Errorf("asyncapi.json has another schema of %s than %s.schema.json", what, what)
		}
	}
	resolve(t, document, document)
}

// resolve finds each reference of a document.
func resolve(t *testing.T, document map[string]any, node any) {
	t.Helper()
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			resolve(t, document, child)
		}
	case map[string]any:
		if ref, ok := n["$ref"].(string); ok {
			var at any = document
			for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				at, _ = at.(map[string]any)[part]
			}
			if at == nil {
				t.Errorf("%s leads nowhere", ref)
			}
		}
		for _, child := range n {
			resolve(t, document, child)
		}
	}
}
