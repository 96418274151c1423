package upstream

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sold returns n rows of orders that were not asked for.
func sold(n int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"outTradeNo":"other-%d","orderNumber":"N%d"}`, i, i)
	}
	return strings.Join(rows, ",")
}

// show returns a page as text: its rows, their list, and whether there are more.
func show(p Page) string {
	var b strings.Builder
	b.WriteString(p.List + "[")
	for i, r := range p.Rows {
		if i == 4 {
			fmt.Fprintf(&b, " and %d", len(p.Rows)-i)
			break
		}
		fmt.Fprintf(&b, " %s:%s", r.OutTradeNo, r.OrderNumber)
	}
	b.WriteString(" ]")
	if p.More {
		b.WriteString("+")
	}
	return b.String()
}

func TestLookupReadsPages(t *testing.T) {
	const a, b = `{"outTradeNo":"a","orderNumber":"A1","orderId":7}`, `{"outTradeNo":"b","orderNumber":99}`
	for name, c := range map[string]struct {
		data string // of an answer with code "200"
		body string // or the whole answer
		http int
		want string // a page, or the class of the error
	}{
		"no data":           {body: `{"code":"200"}`, want: "[ ]"},
		"data null":         {data: `null`, want: "[ ]"},
		"empty list":        {data: `[]`, want: "[ ]"},
		"one":               {data: `[` + a + `]`, want: "[ a:A1 ]"},
		"two":               {data: `[` + a + `,` + b + `]`, want: "[ a:A1 b:99 ]"},
		"numeric code":      {body: `{"code":200,"data":[` + b + `]}`, want: "[ b:99 ]"},
		"no orderNumber":    {data: `[{"outTradeNo":"a"},` + b + `]`, want: "[ a: b:99 ]"},
		"no outTradeNo":     {data: `[{"orderNumber":"x"}]`, want: "[ :x ]"},
		"outTradeNo 5":      {data: `[{"outTradeNo":5,"orderNumber":"x"}]`, want: "[ 5:x ]"},
		"control character": {data: `[{"outTradeNo":"a","orderNumber":"\u001b[2J"}]`, want: "[ a: ]"},
		"megabytes":         {data: `[{"outTradeNo":"a","orderNumber":"` + strings.Repeat("9", 900_000) + `"}]`, want: "[ a: ]"},
		"full page":         {data: `[` + strings.Repeat(a+",", 49) + a + `]`, want: "[ a:A1 a:A1 a:A1 a:A1 and 46 ]+"},
		"one less":          {data: `[` + strings.Repeat(a+",", 48) + a + `]`, want: "[ a:A1 a:A1 a:A1 a:A1 and 45 ]"},
		"more than a page":  {data: `[` + sold(60) + `]`, want: "[ other-0:N0 other-1:N1 other-2:N2 other-3:N3 and 56 ]+"},

		"object":              {data: `{"list":[` + a + `]}`, want: "list[ a:A1 ]"},
		"object, empty list":  {data: `{"page":1,"list":[],"total":0}`, want: "list[ ]"},
		"object, tags":        {data: `{"tags":["x"],"list":[` + a + `],"sub":{}}`, want: "list[ a:A1 ]"},
		"object, total more":  {data: `{"list":[` + a + `],"total":2}`, want: "list[ a:A1 ]+"},
		"object, totalCount":  {data: `{"totalCount":3,"list":[]}`, want: "list[ ]+"},
		"object, count text":  {data: `{"count":"3","list":[` + a + `]}`, want: "list[ a:A1 ]+"},
		"object, total huge":  {data: `{"total":1e400,"list":[]}`, want: "list[ ]+"},
		"object, pages":       {data: `{"pages":2,"list":[` + a + `]}`, want: "list[ a:A1 ]+"},
		"object, one page":    {data: `{"pages":1,"total":1,"list":[` + a + `]}`, want: "list[ a:A1 ]"},
		"object, next":        {data: `{"hasNextPage":true,"list":[` + a + `]}`, want: "list[ a:A1 ]+"},
		"counter beside data": {body: `{"code":"200","total":9,"data":[` + a + `]}`, want: "[ a:A1 ]+"},
		"object, two lists":   {data: `{"x":[{"id":1}],"list":[` + a + `]}`, want: "list[ a:A1 ]"},
		"object, one empty":   {data: `{"x":[],"list":[` + a + `]}`, want: "list[ a:A1 ]"},

		"object, two empty":       {data: `{"x":[],"y":[]}`, want: "ambiguous"},
		"object, two telling":     {data: `{"x":[` + a + `],"y":[` + b + `]}`, want: "ambiguous"},
		"object, two not telling": {data: `{"x":[{"id":1}],"y":[{"id":1}]}`, want: "ambiguous"},
		"object, no list":         {data: `{"total":0}`, want: "ambiguous"},
		"object, list null":       {data: `{"list":null}`, want: "ambiguous"},
		"object, the order":       {data: a, want: "ambiguous"},
		"row no object":           {data: `[` + a + `,"b"]`, want: "ambiguous"},
		"rows null":               {data: `[null]`, want: "ambiguous"},
		"list of lists":           {data: `[[` + a + `]]`, want: "ambiguous"},
		"text":                    {data: `"none"`, want: "ambiguous"},
		"number":                  {data: `0`, want: "ambiguous"},
		"false":                   {data: `false`, want: "ambiguous"},
		"a name twice":            {data: `[{"outTradeNo":"a","outTradeNo":"b","orderNumber":"x"}]`, want: "ambiguous"},
		"cut":                     {body: `{"code":"200","data":[`, want: "ambiguous"},
		"deep":                    {data: strings.Repeat("[", 100_000), want: "ambiguous"},
		"HTML":                    {body: `<html>`, want: "ambiguous"},
		"another code":            {body: `{"code":"1001","data":[]}`, want: "refused"},
		"no permission":           {body: `{"code":"403"}`, want: "account"},
		"404":                     {body: `{"code":"404"}`, http: 404, want: "refused"},
		"429":                     {body: ``, http: 429, want: "throttled"},
		"500":                     {body: `{"code":"200","data":[]}`, http: 500, want: "ambiguous"},
		"operation failed":        {body: `{"code":"500"}`, want: "ambiguous"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.body == "" && c.http == 0 {
				c.body = `{"code":"200","message":"ok","data":` + c.data + `}`
			}
			v := newRawVendor(t, answers(max(c.http, 200), c.body))
			p, err := testClient(t, Config{BaseURL: v.URL}).Lookup(t.Context(), Question{Numbers: []string{"a", "b"}}, soon())
			got := show(p)
			if e := mustError(t, err); e != nil {
				got = string(e.Class)
				checkQuiet(t, e, v.requests()[0].sign())
			}
			if got != c.want {
				t.Errorf("Lookup: got %s (%v), want %s", got, err, c.want)
			}
			for _, r := range p.Rows {
				if r.Code != "200" || r.OrderNumber == "A1" && r.OrderID != 7 {
					t.Errorf("row %+v", r)
				}
			}
		})
	}
}

func TestLookupOnTheWire(t *testing.T) {
	v := newRawVendor(t, answers(200, `{"code":"200","data":[]}`))
	client := testClient(t, Config{BaseURL: v.URL})
	two := int64(2)
	for _, q := range []Question{{Numbers: []string{"a", "b.*>"}}, {Numbers: []string{"a", "b.*>"}, State: &two}} {
		if _, err := client.Lookup(t.Context(), q, soon()); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range v.requests() {
		fields := checkSigned(t, r.body, testSecret)
		if r.path != lookupPath || fields["outTradeNoArrStr"] != "a,b.*>" || len(fields) != 7+i ||
			!strings.Contains(string(r.body), `"page":1,"pageSize":50,`) {
			t.Errorf("%s got %s", r.path, r.body)
		}
		if asked := strings.Contains(string(r.body), `"state":2,`); asked != (i == 1) {
			t.Errorf("request %d: %s", i, r.body)
		}
	}
}

func TestLookupRefusesInvalidQuestions(t *testing.T) {
	v := newRawVendor(t, answers(200, `{"code":"200"}`))
	client := testClient(t, Config{BaseURL: v.URL})
	for name, asked := range map[string][]string{
		"none": nil, "51": slices.Repeat([]string{"a"}, 51), "a comma": {"a,b"}, "empty": {"a", ""},
	} {
		_, err := client.Lookup(t.Context(), Question{Numbers: asked}, soon())
		if e := mustError(t, err); e == nil || e.Class != Unreachable {
			t.Errorf("%s: %v, want an error", name, err)
		}
	}
	if _, err := client.Lookup(t.Context(), Question{Numbers: slices.Repeat([]string{strings.Repeat("x", 32)}, 50)}, soon()); err != nil {
		t.Errorf("50 numbers: %v", err)
	}
	if n := len(v.requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}
