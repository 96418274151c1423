package main

import (
	"encoding/json"
	"fmt"

	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// demoAttempts is how many refusals an order fails after.
const demoAttempts = 4

// demoKind is a kind of order: what the vendor does with its packageCode, and
// how the order has to end.
type demoKind struct {
	name  string
	rule  string // of the simulated vendor, behind packageCode=NAME-*; none: it sells
	doubt bool   // its first call ends so that nobody but the vendor knows
	want  worker.Status
}

var (
	kindPlain     = demoKind{name: "PLAIN", want: worker.Succeeded}
	kindBusy      = demoKind{name: "BUSY", rule: `first=2: refuse code=45110 message="out of stock"`, want: worker.Succeeded}
	kindGone      = demoKind{name: "GONE", rule: `: refuse code=45109 message="no such goods"`, want: worker.Failed}
	kindNever     = demoKind{name: "NEVER", rule: `: refuse code=41018`, want: worker.Failed}
	kindThrottled = demoKind{name: "THROTTLED", rule: `first=1: throttle`, want: worker.Succeeded}
	kindSilent    = demoKind{name: "SILENT", rule: `first=1 buy: hang`, doubt: true, want: worker.Succeeded}
	kindLost      = demoKind{name: "LOST", rule: `first=1: hang`, doubt: true, want: worker.Succeeded}
	kindBroken    = demoKind{name: "BROKEN", rule: `first=1 buy: refuse code=500`, doubt: true, want: worker.Succeeded}
	kindExists    = demoKind{name: "EXISTS", rule: `first=1 buy: refuse code=503016`, doubt: true, want: worker.Succeeded}
	kindBanned    = demoKind{name: "BANNED", rule: `first=1: refuse code=502`, want: worker.Succeeded}
	kindReset     = demoKind{name: "RESET", rule: `first=1 buy: reset`, doubt: true, want: worker.Succeeded}
	kindNumber    = demoKind{name: "NONUMBER", rule: `first=1 buy: nonumber`, doubt: true, want: worker.Succeeded}
	kindExpired   = demoKind{name: "EXPIRED", want: worker.Failed}
)

// demoPattern is the mix, repeated every 40 requests; a zero kind is an invalid
// payload.
func demoPattern(i int) demoKind {
	kinds := map[int]demoKind{
		5: kindBusy, 11: kindBusy, 17: kindBusy, 7: kindGone, 9: kindNever,
		3: kindSilent, 21: kindSilent, 15: kindLost, 19: kindBroken, 23: kindReset, 27: kindNumber, 29: kindExpired, 33: kindExists,
		31: {}, 35: {},
	}
	switch i % 120 {
	case 100:
		return kindThrottled // seldom: each slows all workers down for a while
	case 60:
		return kindBanned // and each of these pauses the account for a second
	}
	if kind, ok := kinds[i%40]; ok {
		return kind
	}
	return kindPlain
}

// demoInvalid are payloads that break a rule; those with a readable number get
// a rejected result too.
var demoInvalid = []struct {
	payload string // %s is the number
	answer  bool
}{
	{`{"outTradeNo":"%s","iccid":"12345","packageCode":"PLAIN"}`, true},
	{`not JSON, though it says %s`, false},
	{`{"outTradeNo":"%s","iccid":"8988308650100524999","packageCode":"PLAIN","renew":"yes"}`, true},
	{`["%s"]`, false},
	{`{"outTradeNo":"%s","outTradeNo":"another","iccid":"8988308650100524999","packageCode":"PLAIN"}`, false},
	{`{"outTradeNo":"%s","iccid":"8988308650100524999","packageCode":"PLAIN"} and more`, true},
}

// demoPlan is what is published and how it has to end.
type demoPlan struct {
	requests   [][]byte
	orders     map[string]demoKind // by outTradeNo
	duplicates int
	conflicts  int
	invalid    int
	rejected   int // rejected results: conflicts, and invalid payloads with a number
}

func newDemoPlan(n int) *demoPlan {
	p := &demoPlan{orders: map[string]demoKind{}}
	for i := range n {
		no := fmt.Sprintf("DEMO.%06d", i)
		kind := demoPattern(i)
		if kind.name == "" {
			bad := demoInvalid[p.invalid%len(demoInvalid)]
			p.requests = append(p.requests, fmt.Appendf(nil, bad.payload, no))
			p.invalid++
			if bad.answer {
				p.rejected++
			}
			continue
		}
		request := map[string]any{"outTradeNo": no, "iccid": fmt.Sprintf("89883086501%08d", i), "packageCode": kind.name + "-5M-7D"}
		if kind.name == kindExpired.name {
			request["expiresAt"] = "2026-01-01T00:00:00Z"
		}
		p.orders[no] = kind
		p.add(request)
		switch i % 40 {
		case 2, 5, 19: // the same request again: one plain, one refused at first, one in doubt
			p.add(request)
			p.duplicates++
		case 8:
			request["packageCode"] = "PLAIN-ANOTHER"
			p.add(request)
			p.conflicts++
			p.rejected++
		}
	}
	return p
}

func (p *demoPlan) add(request map[string]any) {
	payload, err := json.Marshal(request)
	if err != nil {
		panic(err) // strings
	}
	p.requests = append(p.requests, payload)
}

// demoVendor is the simulated vendor with a rule per kind.
func demoVendor() (*sandbox.Vendor, error) {
	var rules []sandbox.Rule
	for _, k := range []demoKind{kindBusy, kindGone, kindNever, kindThrottled, kindSilent, kindLost, kindBroken, kindExists, kindBanned, kindReset, kindNumber} {
		rule, err := sandbox.ParseRule("packageCode=" + k.name + "-* " + k.rule)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return sandbox.New(sandbox.Config{AppKey: demoAppkey, Secret: demoSecret, Rate: demoRate, Rules: rules}), nil
}
