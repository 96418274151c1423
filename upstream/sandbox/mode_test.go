package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Every word of a mode, as the mode of the vendor and of a rule.
func TestModesOfTheLookup(t *testing.T) {
	const envelope = `{"code":"200","message":"success","data":`
	for mode, want := range map[string]func(a, b string) string{ // of the rows of A and B to the whole body
		``:                       func(a, b string) string { return "[" + a + "," + b + "]" },
		`hide=*`:                 func(a, b string) string { return "[]" },
		`hide=A`:                 func(a, b string) string { return "[" + b + "]" },
		`packages=2`:             func(a, b string) string { return "[" + a + "," + a + "," + b + "," + b + "]" },
		`omit=outTradeNo`:        func(a, b string) string { return "[" + without(a, "outTradeNo") + "," + without(b, "outTradeNo") + "]" },
		`hide=* list=cards`:      func(a, b string) string { return `{"total":0,"cards":[]}` },
		`miscount=5`:             func(a, b string) string { return `{"total":7,"list":[` + a + "," + b + "]}" },
		`miscount=-2 list="a b"`: func(a, b string) string { return `{"total":0,"a b":[` + a + "," + b + "]}" },
		`hide=B strangers=1`: func(a, b string) string {
			return "[" + a + `,{"outTradeNo":"STRANGER-1","orderNumber":"00000000000000000000000000000002","orderId":2,"iccid":"8988308650100520000","packageCode":"STRANGER","state":1}]`
		},
		`hide=B omit=outTradeNo,orderNumber,orderId,iccid,packageCode,state`: func(a, b string) string { return "[{}]" },
	} {
		for _, way := range []string{"vendor", "rule", "config"} {
			t.Run(mode+" "+way, func(t *testing.T) {
				parsed, err := ParseLookupMode(mode)
				if err != nil || parsed.String() != mode {
					t.Fatalf("%s is read as %s, %v", mode, parsed, err)
				}
				cfg := Config{}
				if way == "config" {
					cfg.LookupMode = parsed
				}
				r := newTestEnv(t, cfg)
				r.wantCode(r.send(anOrder("A")), CodeSuccess)
				r.wantCode(r.send(anOrder("B")), CodeSuccess)
				switch way {
				case "vendor":
					r.must(r.vendor.SetLookupMode(parsed))
				case "rule": // in place of the vendor's own
					r.must(r.vendor.SetLookupMode(LookupMode{Hide: "*", Strangers: 9}))
					r.rules("endpoint=lookup: rows " + mode)
				}
				p := r.vendor.Book().Purchases
				a := r.send(aLookup("A", "B").with(call{"state": 1}))
				if want := envelope + want(rowText(p[0]), rowText(p[1])) + "}"; string(a.body) != want {
					t.Errorf("got  %s\nwant %s", a.body, want)
				}
				r.must(r.vendor.SetLookupMode(LookupMode{}))
				r.rules()
				if got := r.numbersIn(aLookup("A", "B")); !slices.Equal(got, []string{"A", "B"}) {
					t.Errorf("after the mode: %s", got)
				}
			})
		}
	}
}

// without removes a field from the text of a row. It must not be the last field.
func without(row, field string) string {
	at := strings.Index(row, `"`+field+`"`)
	end := strings.Index(row[at:], `,"`)
	return row[:at] + row[at+end+1:]
}

// Pages end after the last package; with the mode full they never do.
func TestPages(t *testing.T) {
	r := newTestEnv(t, Config{LookupShape: ShapeObject, LookupMode: LookupMode{Packages: 120}})
	r.send(anOrder("A"))
	row := rowText(r.vendor.Purchases("A")[0])
	page := func(n int) call { return aLookup("A").with(call{"page": n, "state": 1}) }
	for i, want := range []int{50, 50, 20, 0} {
		if rows, total := r.rows(r.send(page(i + 1))); len(rows) != want || total != 120 {
			t.Errorf("page %d: %d rows of %d, want %d of 120", i+1, len(rows), total, want)
		}
	}
	r.must(r.vendor.SetLookupMode(LookupMode{Full: true}))
	for _, n := range []int{1, 2, 1000} {
		rows, total := r.rows(r.send(page(n)))
		if len(rows) != 50 || total != 50*n+1 {
			t.Errorf("page %d: %d rows of %d, want a full page and one row more", n, len(rows), total)
		}
		if n == 1 && slices.ContainsFunc(rows, func(other string) bool { return other != row }) {
			t.Errorf("a full page has other rows than %s: %s", row, rows)
		}
	}
}

// The book and the lookup show both purchases of a number.
func TestDoublePurchaseShows(t *testing.T) {
	r := newTestEnv(t, Config{})
	r.send(anOrder("A"))
	r.send(anOrder("A"))
	r.vendor.SetState("A", Finished)
	p := r.vendor.Purchases("A")
	if rows, _ := r.rows(r.send(aLookup("A").with(call{"state": 2}))); len(p) != 2 || !slices.Equal(rows, []string{rowText(p[0]), rowText(p[1])}) {
		t.Errorf("rows %s, want both of %v", rows, p)
	}
}

func TestParseLookupModeErrors(t *testing.T) {
	for text, want := range map[string]string{
		`blind`: "blind: no such word, must be one of hide", `hide`: "hide: needs a value", `hide=[`: "not a pattern", `omit=a`: `"a" must be one of`,
		`omit=state,`: `"" must be one of`, `packages=-1`: "packages=-1: must be", `full full`: "full is there twice", `miscount=x`: "miscount=x: must be an integer",
		`hide="x`: "quotes are not closed", `: hide=x`: "no such word",
	} {
		_, err := ParseLookupMode(text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), fmt.Sprintf("lookup mode %q: ", text)) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
	v := New(Config{AppKey: testKey, Secret: testSecret})
	if err := v.SetLookupMode(LookupMode{Strangers: -1}); err == nil {
		t.Error("SetLookupMode took a number below 0")
	}
}
