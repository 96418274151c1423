package sandbox

import (
	"strings"
	"testing"
	"time"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]Rule{
		`packageCode=BAD-*: refuse code=3001 message="no such package"`: {PackageCode: "BAD-*", Action: Action{Kind: Refuse, Code: "3001", Message: "no such package"}},
		`outTradeNo=T-* first=1 buy: hang`:                              {OutTradeNo: "T-*", First: 1, Buy: true, Action: Action{Kind: Hang}},
		`endpoint=lookup p=0.2: status=503 html`:                        {Endpoint: EndpointLookup, Probability: 0.2, Action: Action{Kind: Status, Status: 503, HTML: true}},
		`endpoint=order p=1: reset`:                                     {Endpoint: EndpointOrder, Probability: 1, Action: Action{Kind: Reset}},
		`after=10s for=1m30s: throttle code=4 retry-after=2s date`:      {After: 10 * time.Second, For: 90 * time.Second, Action: Action{Kind: Throttle, Code: "4", RetryAfter: 2 * time.Second, Date: true}},
		`endpoint=any: delay=300ms`:                                     {Endpoint: EndpointAny, Action: Action{Kind: Delay, Wait: 300 * time.Millisecond}},
		`buy: hang=5s`:                                                  {Buy: true, Action: Action{Kind: Hang, Wait: 5 * time.Second}},
		`always: redirect to=https://example.com/x?y=z`:                 {Action: Action{Kind: Redirect, To: "https://example.com/x?y=z"}},
		`outTradeNo=A:B*: status=500 code=200 message="say \"no\""`:     {OutTradeNo: "A:B*", Action: Action{Kind: Status, Status: 500, Code: "200", Message: `say "no"`}},
		`outTradeNo="A:": refuse message="x:"`:                          {OutTradeNo: "A:", Action: Action{Kind: Refuse, Message: "x:"}},
		`packageCode=[A-C]?\*: close`:                                   {PackageCode: `[A-C]?\*`, Action: Action{Kind: Shut}},
		`endpoint=lookup state=0: rows hide=T-* omit=outTradeNo,state packages=2 strangers=3 full miscount=-1 list="my list"`: {Endpoint: EndpointLookup, State: "0", Action: Action{Kind: Rows,
			Rows: LookupMode{Hide: "T-*", Omit: "outTradeNo,state", Packages: 2, Strangers: 3, Full: true, Miscount: -1, List: "my list"}}},
		`endpoint=lookup: rows`:             {Endpoint: EndpointLookup, Action: Action{Kind: Rows}},
		`packageCode=ADD-* buy=0: pass`:     {PackageCode: "ADD-*", Buy: true, BuyState: "0", Action: Action{Kind: Pass}},
		`buy: refuse code=500 data`:         {Buy: true, Action: Action{Kind: Refuse, Code: "500", Data: true}},
		`buy: status=400 code=41018 data`:   {Buy: true, Action: Action{Kind: Status, Status: 400, Code: "41018", Data: true}},
		`always: number="\x1b[2J" repeat=9`: {Action: Action{Kind: Number, Number: "\x1b[2J", Repeat: 9}},
		`always: deep`:                      {Action: Action{Kind: Deep}},
		`always: deep=7`:                    {Action: Action{Kind: Deep, Depth: 7}},
		`always: cut`:                       {Action: Action{Kind: Cut}},
		`always: oversized`:                 {Action: Action{Kind: Oversized}},
		`always: notjson`:                   {Action: Action{Kind: NotJSON}},
		`always: nodata`:                    {Action: Action{Kind: NoData}},
		`always: nonumber`:                  {Action: Action{Kind: NoNumber}},
		`always: numeric`:                   {Action: Action{Kind: Numeric}},
	} {
		got, err := ParseRule(text)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%s: String is %s", text, got)
		}
	}
}

func TestParseRuleOtherSpellings(t *testing.T) {
	for text, canonical := range map[string]string{
		`: reset`:                         `always: reset`,
		"buy \t outTradeNo=T  :\n reset":  `outTradeNo=T buy: reset`,
		`always buy: reset`:               `buy: reset`,
		`outTradeNo="T-1": reset`:         `outTradeNo=T-1: reset`,
		`p=2e-1: delay=1000ms`:            `p=0.2: delay=1s`,
		`always: refuse message=ä code=1`: `always: refuse code=1 message=ä`,
	} {
		got, err := ParseRule(text)
		if err != nil || got.String() != canonical {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, canonical)
		}
	}
}

func TestParseRuleErrors(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      `no ":"`,
		`reset`:                                 `no ":"`,
		`:reset`:                                `no ":"`,
		`always:reset`:                          `no ":"`,
		`always:`:                               `no action`,
		`always: explode`:                       `action "explode": must be one of close, cut`,
		`always: explode x=1`:                   `action "explode": must be one of`,
		`always: =1`:                            `action ""`,
		`colour=red: reset`:                     `colour=red: no such condition`,
		`always=1: reset`:                       `always=1: always takes no value`,
		`buy=yes: reset`:                        `buy=yes: must be 0 (waiting)`,
		`buy=3: reset`:                          `buy=3: must be 0`,
		`buy=: reset`:                           `buy="": must be 0`,
		`state=0: reset`:                        `state=0: only a lookup asks`,
		`endpoint=any state=0: reset`:           `state=0: only a lookup asks`,
		`endpoint=lookup state=01: reset`:       `state=01: must be 0`,
		`endpoint=lookup state=-1: reset`:       `state=-1: must be 0`,
		`always: rows`:                          `rows: only a lookup has rows`,
		`endpoint=any: rows`:                    `rows: only a lookup has rows`,
		`endpoint=lookup: rows hide=[`:          `hide=[: not a pattern`,
		`endpoint=lookup: rows omit=colour`:     `"colour" must be one of outTradeNo, orderNumber`,
		`endpoint=lookup: rows packages=0`:      `packages=0: must be`,
		`endpoint=lookup: rows strangers=10001`: `strangers=10001: must be within`,
		`endpoint=lookup: rows miscount=0`:      `miscount=0: must be an integer other than 0`,
		`endpoint=lookup: rows full=1`:          `full=1: full takes no value`,
		`endpoint=lookup: rows list=total`:      `list=total: that is the counter`,
		`endpoint=lookup: reset hide=A`:         `hide=A: reset has no such argument`,
		`always: refuse data`:                   `data: only with buy`,
		`buy: reset data`:                       `data: reset has no such argument`,
		`buy: status=500 html data`:             `html: a page has neither`,
		`always: number`:                        `number: needs a value`,
		`always: number=AB repeat=10000000`:     `repeat=10000000: must be`,
		`always: deep=0`:                        `deep=0: must be`,
		`always: deep=10000000`:                 `deep=10000000: must be within`,
		`p=2: reset`:                            `p=2: must be a number over 0`,
		`p=0: reset`:                            `p=0: must be`,
		`p=NaN: reset`:                          `p=NaN: must be`,
		`p: reset`:                              `p: must be`,
		`first=0: reset`:                        `first=0: must be`,
		`first=x: reset`:                        `first=x: must be`,
		`after=-1s: reset`:                      `after=-1s: must be a duration`,
		`for=10: reset`:                         `for=10: must be a duration`,
		`endpoint=orders: reset`:                `endpoint=orders: must be order, lookup or any`,
		`endpoint=lookup buy: reset`:            `buy: nothing is bought by a lookup`,
		`endpoint=any packageCode=A: reset`:     `packageCode=A: a lookup has no packageCode`,
		`packageCode=[A: reset`:                 `packageCode=[A: not a pattern`,
		`outTradeNo=[A: reset`:                  `outTradeNo=[A: not a pattern`,
		`outTradeNo=: reset`:                    `outTradeNo="": needs a value`,
		`outTradeNo="": reset`:                  `outTradeNo="": needs a value`,
		`outTradeNo="A: reset`:                  `quotes are not closed`,
		`outTradeNo="A"B: reset`:                `a space must follow`,
		`outTradeNo=A"B: reset`:                 `must stand in quotes`,
		`p=1 p=1: reset`:                        `p is there twice`,
		`always: reset code=1`:                  `code=1: reset has no such argument`,
		`always: reset=1s`:                      `reset=1s: no such argument`,
		`always: refuse code=200`:               `code=200: that means success`,
		`always: throttle code=200`:             `code=200: that means success`,
		`always: throttle date`:                 `date: only together`,
		`always: throttle retry-after=-1s`:      `retry-after=-1s: must be`,
		`always: status`:                        `status=0: must be within`,
		`always: status=200`:                    `status=200: must be within`,
		`always: status=304`:                    `status=304: must be within`,
		`always: status=503 status=504`:         `status is there twice`,
		`always: status=503 html message=x`:     `html: a page has neither`,
		`always: status=503 html=1`:             `html=1: html takes no value`,
		`always: delay`:                         `delay=0s: must be over 0`,
		`always: hang delay=1s`:                 `delay=1s: hang has no such argument`,
		`always: refuse message="x" "y"`:        `must stand in quotes`,
		`always: refuse code=1 message="x\q"`:   `wrong escape`,
		`always: refuse code=1: message=x`:      ``, // a colon at the end of an argument is part of it
		`always: refuse code=1 colour=red`:      `colour=red: no such argument`,
		`endpoint=any buy packageCode=[: reset`: `not a pattern`,
	} {
		_, err := ParseRule(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want %s", text, err, want)
		case err != nil && !strings.HasPrefix(err.Error(), "rule "):
			t.Errorf("%s: the error does not name the rule: %v", text, err)
		}
	}
}

func TestParseRules(t *testing.T) {
	rules, err := ParseRules("# the bad ones\n\n always: reset \r\nbuy: hang")
	if err != nil || len(rules) != 2 || rules[0].Action.Kind != Reset || !rules[1].Buy {
		t.Errorf("got %v, %v", rules, err)
	}
	rules, err = ParseRules("x: reset\nalways: reset\n\ny: reset")
	if err == nil || !strings.Contains(err.Error(), "line 1: ") || !strings.Contains(err.Error(), "line 4: ") || rules != nil {
		t.Errorf("got %v, %v, want no rules and both lines named", rules, err)
	}
}

// Every rule that was parsed has a text form, which is parsed into the same rule.
func FuzzParseRule(f *testing.F) {
	for _, text := range []string{
		`packageCode=BAD-*: refuse code=3001 message="no such package"`, `outTradeNo=T-* first=1 buy: hang=5s`,
		`endpoint=lookup p=0.2: status=503 html`, `after=10s for=20s: throttle retry-after=2s date`, `always: delay=300ms`,
		`endpoint=lookup state=1: rows hide=* omit=outTradeNo packages=2 strangers=1 full miscount=-3 list=x`,
		`buy=0: refuse code=500 data`, `buy: number="\x1b" repeat=3`, `always: deep=9`, `outTradeNo="\xff:": redirect to="a b"`, `: nodata`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(r.String(), "\r\n") {
			t.Errorf("%q: String has more than one line: %q", text, r)
		}
		rules, err := ParseRules(r.String())
		if err != nil || len(rules) != 1 || rules[0] != r {
			t.Errorf("%q: %q is read back as %v, %v", text, r, rules, err)
		}
	})
}
