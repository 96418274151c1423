package operator

import (
	"strings"
	"testing"

	"orderworker/worker"
)

func TestCorrect(t *testing.T) {
	const good = `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P"}`
	for name, c := range map[string]struct {
		payload, set string
		want         string // or the error, after "error: "
	}{
		"as it is":          {good, "", good},
		"nonsense as it is": {"{]", "", "{]"},
		"a field":           {good, "packageCode=Q", `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"Q"}`},
		"a line's end":      {good + "\n", "packageCode=P", good},
		"two orders":        {good + "\n" + good, "renew=null", "error: its payload is not one JSON object: set outTradeNo, iccid and packageCode"},
		"a plus":            {good, "renew=+7", `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","renew":7}`},
		"zeros":             {good, "renew=-007", `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","renew":-7}`},
		"one more":          {good, "renew=3", `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","renew":3}`},
		"away":              {`{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","renew":3}`, "renew=null", `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","renew":null}`},
		"unknown ones stay": {`{"x":[1,{"y":"z"}],"outTradeNo":"A"}`, "iccid=8988308650100524999", `{"x":[1,{"y":"z"}],"outTradeNo":"A","iccid":"8988308650100524999"}`},
		"misspelt":          {`{"out_trade_no":"A","ICCID":"8988308650100524999","packageCode":"P"}`, "outTradeNo=A,iccid=8988308650100524999", `{"packageCode":"P","iccid":"8988308650100524999","outTradeNo":"A"}`},
		"quoted":            {good, `packageCode="\`, `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"\"\\"}`},
		"big number":        {`{"outTradeNo":"A","n":12345678901234567890}`, "iccid=8988308650100524999", `{"outTradeNo":"A","n":12345678901234567890,"iccid":"8988308650100524999"}`},
		"twice, set":        {`{"outTradeNo":"A","outTradeNo":"B","iccid":"8988308650100524999","packageCode":"P"}`, "outTradeNo=C", `{"outTradeNo":"C","iccid":"8988308650100524999","packageCode":"P"}`},
		"twice, not set":    {`{"outTradeNo":"A","outTradeNo":"B"}`, "packageCode=P", `error: its field "outTradeNo" stands twice: set it`},
		"no object":         {`hello`, "packageCode=P", "error: its payload is not one JSON object: set outTradeNo, iccid and packageCode"},
		"no object, all set": {"\xff", "outTradeNo=A,iccid=8988308650100524999,packageCode=P",
			`{"iccid":"8988308650100524999","outTradeNo":"A","packageCode":"P"}`},
	} {
		var pairs []string
		if c.set != "" {
			pairs = strings.Split(c.set, ",")
		}
		set, err := ParseSet(pairs)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := correct(&DeadLetter{data: []byte(c.payload), Bytes: len(c.payload)}, set)
		if err != nil {
			got = []byte("error: " + err.Error())
		}
		if string(got) != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		if _, invalid := worker.DecodeOrder(got); err == nil && strings.Contains(name, "all set") && invalid != nil {
			t.Errorf("%s: it is still invalid: %v", name, invalid)
		}
	}
	if _, err := correct(&DeadLetter{Bytes: 10, Truncated: 20}, nil); err == nil {
		t.Error("a payload that was cut is published")
	}
	for _, bad := range []string{"packageCode", "price=1", "renew=x", "=", "OutTradeNo=A"} {
		if _, err := ParseSet([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
