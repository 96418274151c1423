package upstream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// param is one parameter of a request: a string, or an integer where isInt.
type param struct {
	name  string
	text  string
	num   int64
	isInt bool
}

// maxParams is the most parameters of a call, without sign.
const maxParams = 7

// placeParams returns the business parameters of orderPackage, sorted by name.
func placeParams(o Order) []param {
	params := make([]param, 0, 4)
	params = append(params,
		param{name: "iccid", text: o.ICCID},
		param{name: "outTradeNo", text: o.OutTradeNo},
		param{name: "packageCode", text: o.PackageCode})
	if o.Renew != nil {
		params = append(params, param{name: "renew", num: *o.Renew, isInt: true})
	}
	return params
}

// lookupParams returns the business parameters of getOrderPackageDetails, sorted by
// name.
func lookupParams(q Question) []param {
	params := append(make([]param, 0, 4), param{name: "outTradeNoArrStr", text: strings.Join(q.Numbers, ",")})
	if !q.Unpaged {
		params = append(params, param{name: "page", num: 1, isInt: true}, param{name: "pageSize", num: MaxNumbers, isInt: true})
	}
	if q.State != nil {
		params = append(params, param{name: "state", num: *q.State, isInt: true})
	}
	return params
}

// nonce returns a random number of five digits.
func nonce() int64 { return 10_000 + rand.Int64N(90_000) }

// encode returns the JSON body of a request and its signature. Body and signed text
// are made in one pass, so that they cannot differ. Business is sorted by name. The
// error names a parameter that is not UTF-8.
func encode(appKey string, secret Secret, business []param, now time.Time, nonce int64) (body []byte, sign [signLen]byte, err error) {
	var all [maxParams]param
	params := append(all[:0],
		param{name: "appkey", text: appKey},
		param{name: "nonce", num: nonce, isInt: true},
		param{name: "timestamp", num: now.Unix(), isInt: true})
	params = append(params, business...)
	slices.SortFunc(params, func(a, b param) int { return strings.Compare(a.name, b.name) })

	size := 128 // the system parameters and the sign
	for _, p := range params {
		size += len(p.name) + len(p.text) + 32
	}
	body = append(make([]byte, 0, size), '{')
	text := make([]byte, 0, 512) // the signed text; 512 bytes fit on the stack
	for _, p := range params {
		body = append(append(append(body, '"'), p.name...), `":`...)
		switch {
		case p.isInt:
			body = strconv.AppendInt(body, p.num, 10)
			text = append(append(text, p.name...), '=')
			text = append(strconv.AppendInt(text, p.num, 10), '&')
		default:
			if body, err = jsontext.AppendQuote(body, p.text); err != nil {
				return nil, sign, fmt.Errorf("%s: %w", p.name, err)
			}
			if p.text != "" { // empty values are sent, but not signed
				text = append(append(text, p.name...), '=')
				text = append(append(text, p.text...), '&')
			}
		}
		body = append(body, ',')
	}
	sign = signature(text, secret)
	body = append(append(append(body, `"sign":"`...), sign[:]...), `"}`...)
	return body, sign, nil
}
