package worker

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"orderworker/upstream"
)

const example = `{"outTradeNo":"630000198311142676","iccid":"8988308650100524999","packageCode":"CN-5M-7D-C-US-20230103AC4BF927"}`

func TestDecodeOrderAccepts(t *testing.T) {
	renew := func(n int64) *int64 { return &n }
	plain := upstream.Order{OutTradeNo: "630000198311142676", ICCID: "8988308650100524999", PackageCode: "CN-5M-7D-C-US-20230103AC4BF927"}
	with := func(change func(*Order)) Order {
		o := Order{Order: plain}
		change(&o)
		return o
	}
	extra := func(more string) string { return example[:len(example)-1] + "," + more + "}" }
	for name, c := range map[string]struct {
		payload string
		want    Order
	}{
		"the reference's example":   {example, Order{Order: plain}},
		"white space around it":     {" \n\t" + example + "\r\n ", Order{Order: plain}},
		"unknown fields":            {extra(`"colour":"red","more":{"a":[1,{"b":null}]}`), Order{Order: plain}},
		"unknown, much like one":    {extra(`"expires":7,"iccids":"x","renew.":1,"expiresAt2":"x"`), Order{Order: plain}},
		"a misspelt null is absent": {extra(`"expires_at":null,"ICCID":null`), Order{Order: plain}},
		"null is absent":            {extra(`"renew":null,"expiresAt":null`), Order{Order: plain}},
		"renew":                     {extra(`"renew":1`), with(func(o *Order) { o.Renew = renew(1) })},
		"renew 0":                   {extra(`"renew":0`), with(func(o *Order) { o.Renew = renew(0) })},
		"smallest renew":            {extra(`"renew":-9223372036854775808`), with(func(o *Order) { o.Renew = renew(-1 << 63) })},
		"expiresAt": {extra(`"expiresAt":"2026-11-23T10:00:00.5+08:00"`), with(func(o *Order) {
			o.ExpiresAt = new(time.Date(2026, 11, 23, 2, 0, 0, 5e8, time.UTC))
		})},
		"expiresAt zero": {extra(`"expiresAt":"0001-01-01T00:00:00Z"`), with(func(o *Order) { o.ExpiresAt = new(time.Time{}) })},
		"expiresAt, lower case": {extra(`"expiresAt":"2026-11-23t10:00:00z"`), with(func(o *Order) {
			o.ExpiresAt = new(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC))
		})},
		"expiresAt, leap second": {extra(`"expiresAt":"2016-12-31T23:59:60Z"`), with(func(o *Order) {
			o.ExpiresAt = new(time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC))
		})},
		"signs that mean something to NATS": {strings.Replace(example, "630000198311142676", `.*>%$\"\\`, 1),
			with(func(o *Order) { o.OutTradeNo = `.*>%$"\` })},
		"escapes": {strings.Replace(example, "630000198311142676", "\\u0041", 1), with(func(o *Order) { o.OutTradeNo = "A" })},
		"32 characters": {strings.Replace(example, "630000198311142676", strings.Repeat("9", 32), 1),
			with(func(o *Order) { o.OutTradeNo = strings.Repeat("9", 32) })},
		"128 characters of any script": {strings.Replace(example, "CN-5M-7D-C-US-20230103AC4BF927", strings.Repeat("套", 128), 1),
			with(func(o *Order) { o.PackageCode = strings.Repeat("套", 128) })},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeOrder([]byte(c.payload))
			if err != nil {
				t.Fatalf("DecodeOrder: %v, want none", err)
			}
			if got.Fingerprint() != c.want.Fingerprint() || got.OutTradeNo != c.want.OutTradeNo ||
				(got.ExpiresAt == nil) != (c.want.ExpiresAt == nil) || got.ExpiresAt != nil && !got.ExpiresAt.Equal(*c.want.ExpiresAt) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestDecodeOrderRefuses(t *testing.T) {
	const no = "630000198311142676"
	extra := func(more string) string { return example[:len(example)-1] + "," + more + "}" }
	with := func(field, value string) string {
		fields := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(example), &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, field)
		if value != "" {
			fields[field] = json.RawMessage(value)
		}
		b, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		payload string
		field   string // that the error names
		value   string // that the error shows
		number  string // that is known all the same
	}{
		"empty":                   {"", "payload", `""`, ""},
		"not JSON":                {"hello", "payload", "hello", ""},
		"array":                   {"[" + example + "]", "payload", "array", ""},
		"null":                    {"null", "payload", "null", ""},
		"string":                  {`"x"`, "payload", "string", ""},
		"cut off":                 {example[:len(example)-1], "payload", "EOF", ""},
		"trailing bytes":          {example + "x", "payload", "invalid", no},
		"two objects":             {example + example, "payload", "after", no},
		"byte-order mark":         {"\xef\xbb\xbf" + example, "payload", `\ufeff`, no},
		"broken UTF-8":            {strings.Replace(example, "CN-5M", "\xff", 1), "payload", "UTF-8", no},
		"broken UTF-8 elsewhere":  {example[:len(example)-1] + `,"x":["` + "\xc0\xaf" + `"]}`, "payload", "UTF-8", no},
		"half a surrogate pair":   {example[:len(example)-1] + `,"x":"\ud800"}`, "payload", "", no},
		"repeated name":           {example[:len(example)-1] + `,"iccid":"8988308650100524999"}`, "payload", "duplicate", no},
		"repeated number":         {example[:len(example)-1] + `,"outTradeNo":"630000198311142676"}`, "payload", "duplicate", ""},
		"repeated, by an escape":  {example[:len(example)-1] + `,"\u0069ccid":"8988308650100524999"}`, "payload", "duplicate", no},
		"repeated, deep inside":   {example[:len(example)-1] + `,"x":{"a":1,"a":1}}`, "payload", "duplicate", no},
		"deep nesting":            {example[:len(example)-1] + `,"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, "payload", "depth", ""},
		"a megabyte of brackets":  {strings.Repeat("[", 1<<20), "payload", "1048576 bytes", ""},
		"no outTradeNo":           {with("outTradeNo", ""), "outTradeNo", "absent", ""},
		"outTradeNo null":         {with("outTradeNo", "null"), "outTradeNo", "absent", ""},
		"outTradeNo empty":        {with("outTradeNo", `""`), "outTradeNo", `""`, ""},
		"outTradeNo a number":     {with("outTradeNo", "63"), "outTradeNo", "63", ""},
		"outTradeNo too long":     {with("outTradeNo", `"`+strings.Repeat("9", 33)+`"`), "outTradeNo", "999", ""},
		"outTradeNo with space":   {with("outTradeNo", `"a b"`), "outTradeNo", "a b", ""},
		"outTradeNo with comma":   {with("outTradeNo", `"a,b"`), "outTradeNo", "a,b", ""},
		"outTradeNo with newline": {with("outTradeNo", `"a\nb"`), "outTradeNo", `a\nb`, ""},
		"outTradeNo not ASCII":    {with("outTradeNo", `"ä"`), "outTradeNo", `\u00e4`, ""},
		"no iccid":                {with("iccid", ""), "iccid", "absent", no},
		"iccid too short":         {with("iccid", `"12345678901234"`), "iccid", "12345678901234", no},
		"iccid too long":          {with("iccid", `"12345678901234567890123"`), "iccid", "123", no},
		"iccid with a dash":       {with("iccid", `"8988308650100-24999"`), "iccid", "-", no},
		"iccid a number":          {with("iccid", "8988308650100524999"), "iccid", "8988308650100524999", no},
		"iccid an object":         {with("iccid", `{"a":1}`), "iccid", "{", no},
		"no packageCode":          {with("packageCode", ""), "packageCode", "absent", no},
		"packageCode empty":       {with("packageCode", `""`), "packageCode", `""`, no},
		"packageCode with space":  {with("packageCode", `"a b"`), "packageCode", "a b", no},
		"packageCode with NUL":    {with("packageCode", "\"a\\u0000\""), "packageCode", "0000", no},
		"packageCode too long":    {with("packageCode", `"`+strings.Repeat("套", 129)+`"`), "packageCode", "bytes", no},
		"renew a string":          {with("renew", `"1"`), "renew", "1", no},
		"renew a fraction":        {with("renew", "1.5"), "renew", "1.5", no},
		"renew with an exponent":  {with("renew", "1e3"), "renew", "1e3", no},
		"renew too large":         {with("renew", "9223372036854775808"), "renew", "9223372036854775808", no},
		"renew a boolean":         {with("renew", "true"), "renew", "true", no},
		"expiresAt a number":      {with("expiresAt", "1700000000"), "expiresAt", "1700000000", no},
		"expiresAt without zone":  {with("expiresAt", `"2026-11-23T10:00:00"`), "expiresAt", "2026", no},
		"expiresAt, one digit":    {with("expiresAt", `"2099-01-01T0:00:00Z"`), "expiresAt", "2099", no},
		"expiresAt with a comma":  {with("expiresAt", `"2099-01-01T00:00:00,5Z"`), "expiresAt", "2099", no},
		"expires_at":              {extra(`"expires_at":"2020-01-01T00:00:00Z"`), "expires_at", "did you mean expiresAt?", no},
		"expires_at beside all":   {extra(`"renew":1,"expiresAt":"2099-01-01T00:00:00Z","expires_at":"2020-01-01T00:00:00Z"`), "expires_at", "did you mean expiresAt?", no},
		"ICCID":                   {strings.Replace(example, "iccid", "ICCID", 1), "iccid", "ICCID: \"8988308650100524999\" breaks the rule: no such field; did you mean iccid?", no},
		"out-trade-no":            {strings.Replace(example, "outTradeNo", "out-trade-no", 1), "outTradeNo", "did you mean outTradeNo?", ""},
		"another name beside it":  {extra(`"OutTradeNo":7`), "OutTradeNo", "did you mean outTradeNo?", no},
		"RENEW":                   {extra(`"RENEW":1`), "RENEW", "did you mean renew?", no},
		"package_code_":           {extra(`"package_code_":"x"`), "package_code_", "did you mean packageCode?", no},
		"expiresAt, in an escape": {extra(`"\u0045xpiresat":1`), "Expiresat", "did you mean expiresAt?", no},
		"a very long name":        {extra(`"` + strings.Repeat("-", 5000) + `renew":1`), `"` + strings.Repeat("-", 64) + `"... (5005 bytes)`, "did you mean renew?", no},
		"expiresAt not a day":     {with("expiresAt", `"2026-02-30T10:00:00Z"`), "expiresAt", "2026-02-30", no},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeOrder([]byte(c.payload))
			e, ok := errors.AsType[*InvalidError](err)
			if !ok {
				t.Fatalf("error is %v, want an *InvalidError", err)
			}
			if e.Field != c.field || !strings.Contains(err.Error(), c.value) || e.Rule == "" || !strings.Contains(e.Error(), e.Rule) {
				t.Errorf("error is %q, want it to name the field %s, a value with %q and the rule", e, c.field, c.value)
			}
			if got.OutTradeNo != c.number {
				t.Errorf("outTradeNo is %q, want %q", got.OutTradeNo, c.number)
			}
			if len(e.Error()) > 1024 || strings.ContainsAny(e.Error(), "\r\n") {
				t.Errorf("error of %d bytes is not one short line: %q", len(e.Error()), e.Error())
			}
		})
	}
}

func TestDecodeOrderNamesEveryFault(t *testing.T) {
	_, err := DecodeOrder([]byte(`{"outTradeNo":"A","iccid":1,"renew":"x","expiresAt":5}`))
	for _, field := range []string{"iccid", "packageCode", "renew", "expiresAt"} {
		if err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}

func TestFingerprintTellsOrdersApart(t *testing.T) {
	n := func(n int64) *int64 { return &n }
	orders := map[string]upstream.Order{
		"plain":         {ICCID: "1", PackageCode: "2"},
		"other border":  {ICCID: "12", PackageCode: ""},
		"other package": {ICCID: "1", PackageCode: "3"},
		"renew 0":       {ICCID: "1", PackageCode: "2", Renew: n(0)},
		"renew 1":       {ICCID: "1", PackageCode: "2", Renew: n(1)},
	}
	seen := map[string]string{}
	for name, o := range orders {
		fp := Order{Order: o}.Fingerprint()
		if other, ok := seen[fp]; ok {
			t.Errorf("%s and %s have one fingerprint %s", name, other, fp)
		}
		seen[fp] = name
	}
	x, y := Order{Order: orders["plain"]}.Fingerprint(), Order{Order: upstream.Order{ICCID: "9", PackageCode: "2", Renew: n(1)}}.Fingerprint()
	if got := differences(x, y); got != "iccid, renew" {
		t.Errorf("they differ in %q, want iccid and renew", got)
	}
	a := Order{Order: upstream.Order{OutTradeNo: "A", ICCID: "1"}, ExpiresAt: new(time.Now())}
	b := Order{Order: upstream.Order{OutTradeNo: "B", ICCID: "1"}}
	if a.Fingerprint() != b.Fingerprint() {
		t.Error("the fingerprint depends on more than iccid, packageCode and renew")
	}
}

func FuzzDecodeOrder(f *testing.F) {
	for _, seed := range []string{example, "", "{}", "[]", example + "x", `{"outTradeNo":"A","outTradeNo":"B"}`, `{"renew":1e5}`, "\xef\xbb\xbf{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		o, err := DecodeOrder(payload)
		if o.OutTradeNo != "" && !validOutTradeNo(o.OutTradeNo) {
			t.Errorf("outTradeNo %q came out, which is not valid", o.OutTradeNo)
		}
		if err != nil {
			if strings.ContainsAny(strings.ReplaceAll(err.Error(), "\n", ""), "\r\x00") || !utf8.ValidString(err.Error()) {
				t.Errorf("error %q cannot stand in a header", err)
			}
			return
		}
		if !json.Valid(payload) || !utf8.Valid(payload) {
			t.Errorf("accepted %q, which is not JSON in UTF-8", payload)
		}
		if !validOutTradeNo(o.OutTradeNo) || !validICCID(o.ICCID) || !validPackageCode(o.PackageCode) {
			t.Errorf("accepted %q as %+v, which breaks a rule", payload, o)
		}
	})
}
