package demo

import (
	"encoding/json"
	"fmt"

	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// maxAttempts is the number of refusals after which an order has failed.
const maxAttempts = 4

// orderKind is a kind of order: what the vendor does with its packageCode, and how the
// order must end.
type orderKind struct {
	name  string
	rule  string // of the simulated vendor, behind packageCode=NAME-*; none: it sells
	doubt bool   // after its first call only the vendor knows whether it was bought
	want  worker.Status
}

var (
	kindPlain     = orderKind{name: "PLAIN", want: worker.Succeeded}
	kindBusy      = orderKind{name: "BUSY", rule: `first=2: refuse code=45110 message="out of stock"`, want: worker.Succeeded}
	kindGone      = orderKind{name: "GONE", rule: `: refuse code=45109 message="no such goods"`, want: worker.Failed}
	kindNever     = orderKind{name: "NEVER", rule: `: refuse code=41018`, want: worker.Failed}
	kindThrottled = orderKind{name: "THROTTLED", rule: `first=1: throttle`, want: worker.Succeeded}
	kindSilent    = orderKind{name: "SILENT", rule: `first=1 buy: hang`, doubt: true, want: worker.Succeeded}
	kindLost      = orderKind{name: "LOST", rule: `first=1: hang`, doubt: true, want: worker.Succeeded}
	kindBroken    = orderKind{name: "BROKEN", rule: `first=1 buy: refuse code=500`, doubt: true, want: worker.Succeeded}
	kindExists    = orderKind{name: "EXISTS", rule: `first=1 buy: refuse code=503016`, doubt: true, want: worker.Succeeded}
	kindBanned    = orderKind{name: "BANNED", rule: `first=1: refuse code=502`, want: worker.Succeeded}
	kindReset     = orderKind{name: "RESET", rule: `first=1 buy: reset`, doubt: true, want: worker.Succeeded}
	kindNumber    = orderKind{name: "NONUMBER", rule: `first=1 buy: nonumber`, doubt: true, want: worker.Succeeded}
	kindExpired   = orderKind{name: "EXPIRED", want: worker.Failed}
)

// pattern is the mix, repeated every 40 requests; a zero kind is an invalid
// payload.
func pattern(i int) orderKind {
	kinds := map[int]orderKind{
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

// invalidPayloads are payloads that break a rule; those with a readable number get
// a rejected result too.
var invalidPayloads = []struct {
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

// orderPlan is what is published, and how it must end.
type orderPlan struct {
	requests   [][]byte
	orders     map[string]orderKind // by outTradeNo
	duplicates int
	conflicts  int
	invalid    int
	rejected   int // rejected results: conflicts, and invalid payloads with a number
}

func newPlan(n int) *orderPlan {
	p := &orderPlan{orders: map[string]orderKind{}}
	for i := range n {
		no := fmt.Sprintf("DEMO.%06d", i)
		kind := pattern(i)
		if kind.name == "" {
			bad := invalidPayloads[p.invalid%len(invalidPayloads)]
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

func (p *orderPlan) add(request map[string]any) {
	payload, err := json.Marshal(request)
	if err != nil {
		panic(err) // strings
	}
	p.requests = append(p.requests, payload)
}

// newVendor is the simulated vendor with a rule per kind.
func newVendor() (*sandbox.Vendor, error) {
	var rules []sandbox.Rule
	for _, k := range []orderKind{kindBusy, kindGone, kindNever, kindThrottled, kindSilent, kindLost, kindBroken, kindExists, kindBanned, kindReset, kindNumber} {
		rule, err := sandbox.ParseRule("packageCode=" + k.name + "-* " + k.rule)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return sandbox.New(sandbox.Config{AppKey: appkey, Secret: secret, Rate: rate, Rules: rules}), nil
}
