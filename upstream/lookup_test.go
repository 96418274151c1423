package upstream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// sold are n rows of orders that nobody asked for.
func sold(n int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"outTradeNo":"other-%d","orderNumber":"N%d"}`, i, i)
	}
	return strings.Join(rows, ",")
}

func TestLookup(t *testing.T) {
	const a, b = `{"outTradeNo":"a","orderNumber":"A1","orderId":7}`, `{"outTradeNo":"b","orderNumber":99}`
	type want struct {
		class   Class  // of the error
		found   string // numbers
		missing string
	}
	for name, c := range map[string]struct {
		data string // of an answer with code "200"
		body string // or the whole answer
		http int
		want want
	}{
		"no data":          {body: `{"code":"200"}`, want: want{missing: "a b"}},
		"data null":        {data: `null`, want: want{missing: "a b"}},
		"empty list":       {data: `[]`, want: want{missing: "a b"}},
		"one found":        {data: `[` + a + `]`, want: want{found: "a", missing: "b"}},
		"both found":       {data: `[` + a + `,` + b + `]`, want: want{found: "a b"}},
		"numeric code":     {body: `{"code":200,"data":[` + b + `]}`, want: want{found: "b", missing: "a"}},
		"others too":       {data: `[` + sold(3) + `,` + a + `]`, want: want{found: "a"}},
		"only others":      {data: `[` + sold(3) + `]`, want: want{}},
		"other case":       {data: `[{"outTradeNo":"A","orderNumber":"x"}]`, want: want{}},
		"no orderNumber":   {data: `[{"outTradeNo":"a"},` + b + `]`, want: want{found: "b"}},
		"number null":      {data: `[{"outTradeNo":"a","orderNumber":null}]`, want: want{missing: "b"}},
		"bought twice":     {data: `[` + a + `,{"outTradeNo":"a","orderNumber":"A2"}]`, want: want{found: "a", missing: "b"}},
		"first row empty":  {data: `[{"outTradeNo":"a","orderNumber":""},` + a + `]`, want: want{found: "a", missing: "b"}},
		"full page":        {data: `[` + strings.Repeat(a+",", 49) + a + `]`, want: want{found: "a"}},
		"one less":         {data: `[` + strings.Repeat(a+",", 48) + a + `]`, want: want{found: "a", missing: "b"}},
		"more than a page": {data: `[` + sold(60) + `]`, want: want{}},

		"object":             {data: `{"list":[` + a + `]}`, want: want{found: "a", missing: "b"}},
		"object, empty list": {data: `{"page":1,"list":[],"total":0}`, want: want{missing: "a b"}},
		"object, tags":       {data: `{"tags":["x"],"list":[` + a + `],"sub":{}}`, want: want{found: "a", missing: "b"}},
		"object, total more": {data: `{"list":[` + a + `],"total":2}`, want: want{found: "a"}},
		"object, totalCount": {data: `{"totalCount":3,"list":[]}`, want: want{}},
		"object, count text": {data: `{"count":"3","list":[` + a + `]}`, want: want{found: "a"}},
		"object, total huge": {data: `{"total":1e400,"list":[]}`, want: want{}},
		"object, total text": {data: `{"total":"many","list":[]}`, want: want{missing: "a b"}},
		"object, two lists":  {data: `{"x":[{"id":1}],"list":[` + a + `]}`, want: want{found: "a", missing: "b"}},
		"object, one empty":  {data: `{"x":[],"list":[` + a + `]}`, want: want{found: "a", missing: "b"}},

		"object, two empty":       {data: `{"x":[],"y":[]}`, want: want{class: Ambiguous}},
		"object, two telling":     {data: `{"x":[` + a + `],"y":[` + b + `]}`, want: want{class: Ambiguous}},
		"object, two not telling": {data: `{"x":[{"id":1}],"y":[{"id":1}]}`, want: want{class: Ambiguous}},
		"object, no list":         {data: `{"total":0}`, want: want{class: Ambiguous}},
		"object, list null":       {data: `{"list":null}`, want: want{class: Ambiguous}},
		"object, the order":       {data: a, want: want{class: Ambiguous}},
		"row without number":      {data: `[` + a + `,{"orderNumber":"x"}]`, want: want{class: Ambiguous}},
		"number of another type":  {data: `[` + a + `,{"outTradeNo":5,"orderNumber":"x"}]`, want: want{class: Ambiguous}},
		"number empty":            {data: `[{"outTradeNo":"","orderNumber":"x"}]`, want: want{class: Ambiguous}},
		"row no object":           {data: `[` + a + `,"b"]`, want: want{class: Ambiguous}},
		"rows null":               {data: `[null]`, want: want{class: Ambiguous}},
		"list of lists":           {data: `[[` + a + `]]`, want: want{class: Ambiguous}},
		"text":                    {data: `"none"`, want: want{class: Ambiguous}},
		"number":                  {data: `0`, want: want{class: Ambiguous}},
		"false":                   {data: `false`, want: want{class: Ambiguous}},
		"a name twice":            {data: `[{"outTradeNo":"a","outTradeNo":"b","orderNumber":"x"}]`, want: want{class: Ambiguous}},
		"cut":                     {body: `{"code":"200","data":[`, want: want{class: Ambiguous}},
		"HTML":                    {body: `<html>`, want: want{class: Ambiguous}},
		"another code":            {body: `{"code":"1001","data":[]}`, want: want{class: Refused}},
		"404":                     {body: `{"code":"404"}`, http: 404, want: want{class: Refused}},
		"429":                     {body: ``, http: 429, want: want{class: Throttled}},
		"500":                     {body: `{"code":"200","data":[]}`, http: 500, want: want{class: Ambiguous}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.body == "" && c.http == 0 {
				c.body = `{"code":"200","message":"ok","data":` + c.data + `}`
			}
			v := newRawVendor(t, answers(max(c.http, 200), c.body))
			l, err := testClient(t, Config{BaseURL: v.URL}).Lookup(t.Context(), []string{"a", "b"}, soon())
			var got want
			if e := mustError(t, err); e != nil {
				got.class = e.Class
				checkQuiet(t, e, v.requests()[0].sign())
			}
			got.found = strings.Join(slices.Sorted(maps.Keys(l.Found)), " ")
			var missing []string
			for _, no := range []string{"a", "b", "c", "other-1"} {
				if l.Missing(no) {
					missing = append(missing, no)
				}
			}
			got.missing = strings.Join(missing, " ")
			if got != c.want {
				t.Errorf("Lookup: got %+v (%v), want %+v", got, err, c.want)
			}
			if p, ok := l.Found["a"]; ok && (p.OrderNumber != "A1" || p.OrderID != 7 || p.Code != "200") {
				t.Errorf("found %+v, want order A1", p)
			}
			if p, ok := l.Found["b"]; ok && p.OrderNumber != "99" {
				t.Errorf("found %+v, want order 99", p)
			}
		})
	}
}

func TestLookupOnTheWire(t *testing.T) {
	v := newRawVendor(t, answers(200, `{"code":"200","data":[]}`))
	if _, err := testClient(t, Config{BaseURL: v.URL}).Lookup(t.Context(), []string{"a", "b.*>"}, soon()); err != nil {
		t.Fatal(err)
	}
	r := v.requests()[0]
	fields := checkSigned(t, r.body, testSecret)
	if r.path != lookupPath || fields["outTradeNoArrStr"] != "a,b.*>" || len(fields) != 7 ||
		!strings.Contains(string(r.body), `"page":1,"pageSize":50,`) {
		t.Errorf("%s got %s", r.path, r.body)
	}
}

func TestLookupRefusesWhatItCannotAsk(t *testing.T) {
	v := newRawVendor(t, answers(200, `{"code":"200"}`))
	client := testClient(t, Config{BaseURL: v.URL})
	for name, asked := range map[string][]string{
		"none": nil, "51": slices.Repeat([]string{"a"}, 51), "a comma": {"a,b"}, "empty": {"a", ""},
	} {
		l, err := client.Lookup(t.Context(), asked, soon())
		if e := mustError(t, err); e == nil || l.Missing("a") {
			t.Errorf("%s: %v, want an error", name, err)
		}
	}
	if _, err := client.Lookup(t.Context(), slices.Repeat([]string{strings.Repeat("x", 32)}, 50), soon()); err != nil {
		t.Errorf("50 numbers: %v", err)
	}
	if n := len(v.requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
