package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// outcome is the end of a call, as far as its caller looks at it.
type outcome struct {
	class  Class // empty: bought
	code   string
	number string
	id     int64
	bought bool
	exists bool
	final  bool // Permanent
	wait   time.Duration
}

func outcomeOf(p Purchase, e *Error) outcome {
	if e == nil {
		return outcome{code: p.Code, number: p.OrderNumber, id: p.OrderID}
	}
	return outcome{class: e.Class, code: e.Code, bought: e.Bought, exists: e.Exists, final: e.Permanent, wait: e.RetryAfter}
}

// Each row of the table in section 7 of the contract, against a vendor that behaves
// so.
func TestPlaceClasses(t *testing.T) {
	const ok, number = http.StatusOK, "1611558040873b105b2678de34504a35"
	const hang = 3 * time.Second // so long that on a busy machine too the request leaves before
	ambiguous := func(code string) outcome { return outcome{class: Ambiguous, code: code} }
	refused := func(code string) outcome { return outcome{class: Refused, code: code} }
	account := func(code string) outcome { return outcome{class: Account, code: code} }
	bought := func(code string) outcome { return outcome{class: Ambiguous, code: code, bought: true} }
	throttled := func(code string, wait time.Duration) outcome {
		return outcome{class: Throttled, code: code, wait: wait}
	}
	codes := DefaultCodes()
	codes["7777"], codes["503"] = ThrottleCodes, ThrottleCodes // of the body only: HTTP 503 stays what it is
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, c := range map[string]struct {
		behave  behaviour
		timeout time.Duration
		want    outcome
	}{
		"success":               {behave: answers(ok, success), want: outcome{code: "200", number: number, id: 101106255}},
		"success, numeric code": {behave: answers(ok, `{"code":200,"data":{"orderNumber":"X1"}}`), want: outcome{code: "200", number: "X1"}},
		"success, code 2e2":     {behave: answers(ok, ` {"data":{"orderNumber":77,"orderId":"12"},"code":2.00e2} `), want: outcome{code: "200", number: "77", id: 12}},
		"success, chunked":      {behave: raw(fmt.Sprintf("%s%x\r\n%s\r\n0\r\n\r\n", chunked, len(success), success)), want: outcome{code: "200", number: number, id: 101106255}},
		"success, orderId not a number": {behave: answers(ok, `{"code":"200","data":{"orderNumber":"X1","orderId":"12a"}}`),
			want: outcome{code: "200", number: "X1"}},
		"success, broken UTF-8 in the message": {behave: answers(ok, "{\"code\":\"200\",\"message\":\"\xff\",\"data\":{\"orderNumber\":\"X1\"}}"),
			want: outcome{code: "200", number: "X1"}},

		"code 200, no data":           {behave: answers(ok, `{"code":"200","message":"success"}`), want: outcome{class: Ambiguous, code: "200", bought: true}},
		"code 200, data null":         {behave: answers(ok, `{"code":"200","data":null}`), want: outcome{class: Ambiguous, code: "200", bought: true}},
		"code 200, data a list":       {behave: answers(ok, `{"code":"200","data":[{"orderNumber":"X1"}]}`), want: outcome{class: Ambiguous, code: "200", bought: true}},
		"code 200, orderNumber blank": {behave: answers(ok, `{"code":"200","data":{"orderNumber":" "}}`), want: outcome{class: Ambiguous, code: "200", bought: true}},
		"code 200, orderNumber true":  {behave: answers(ok, `{"code":"200","data":{"orderNumber":true,"orderId":1}}`), want: outcome{class: Ambiguous, code: "200", bought: true}},
		"code 200, name of other case": {behave: answers(ok, `{"code":"200","data":{"ordernumber":"X1"}}`),
			want: outcome{class: Ambiguous, code: "200", bought: true}},

		"another code":                 {behave: answers(ok, `{"code":"1001","message":"no","data":null}`), want: refused("1001")},
		"another code, a number":       {behave: answers(ok, `{"code":1001}`), want: refused("1001")},
		"another code, odd data":       {behave: answers(ok, `{"code":"1001","data":"none"}`), want: refused("1001")},
		"another code, with an order":  {behave: answers(ok, `{"code":"201","data":{"orderNumber":"X1"}}`), want: bought("201")},
		"a listed code, with an order": {behave: answers(ok, `{"code":"41018","data":{"orderNumber":"X1"}}`), want: bought("41018")},
		"an order in a list":           {behave: answers(400, `{"code":"7","data":[{"orderNumber":5}]}`), want: bought("7")},
		"an order deep in the data":    {behave: answers(ok, `{"code":"7","data":{"a":["orderNumber",{"b":{"order\u004eumber":"x"}}]}}`), want: bought("7")},
		"an order in a gateway's 502":  {behave: answers(502, `{"code":"7","data":{"orderNumber":"X1"}}`), want: bought("7")},
		"no order, in many forms": {behave: answers(ok, `{"code":"7","data":{"a":{"orderNumber":null},"b":{"orderNumber":" "},"c":{"orderNumber":0},"d":["orderNumber"],"e":"orderNumber"}}`),
			want: refused("7")},
		"an orderNumber that is an object": {behave: answers(ok, `{"code":"7","data":{"orderNumber":{}}}`), want: bought("7")},

		"a permanent code":           {behave: answers(ok, `{"code":41018}`), want: outcome{class: Refused, code: "41018", final: true}},
		"a permanent code, HTTP 429": {behave: answers(429, `{"code":"41018"}`), want: outcome{class: Refused, code: "41018", final: true}},
		"not on the whitelist":       {behave: answers(ok, `{"code":"502","message":"ip"}`), want: account("502")},
		"no permission, HTTP 403":    {behave: answers(403, `{"code":403}`), want: account("403")},
		"balance too low":            {behave: answers(ok, `{"code":"45112"}`), want: account("45112")},
		"401 without a code":         {behave: answers(401, `<html>`), want: account("401")},
		"403 without a code":         {behave: answers(403, `{}`), want: account("403")},
		"407 without a body":         {behave: answers(407, ``), want: account("407")},
		"401 with an unlisted code":  {behave: answers(401, `{"code":"77"}`), want: refused("77")},
		"operation failed":           {behave: answers(ok, `{"code":"500","message":"operation failed"}`), want: ambiguous("500")},
		"operation failed, a number": {behave: answers(ok, `{"code":500.0}`), want: ambiguous("500")},
		"operation failed, HTTP 400": {behave: answers(400, `{"code":"10000"}`), want: ambiguous("10000")},
		"duplicate order number":     {behave: answers(ok, `{"code":"503016"}`), want: outcome{class: Ambiguous, code: "503016", exists: true}},
		"409":                        {behave: answers(409, `{"code":"41018"}`), want: outcome{class: Ambiguous, code: "41018", exists: true}},
		"408":                        {behave: answers(408, `{"code":"41018"}`), want: ambiguous("41018")},
		"too many requests":          {behave: answers(ok, `{"code":"501"}`), want: throttled("501", 0)},
		"HTTP 501, 502 with a code":  {behave: answers(502, `{"code":"502"}`), want: ambiguous("502")},
		"code 200.5":                 {behave: answers(ok, `{"code":200.5}`), want: refused("200.5")},
		"a throttle code":            {behave: answers(ok, `{"code":"7777"}`), want: throttled("7777", 0)},
		"a throttle code, a number":  {behave: answers(ok, `{"code":7777}`, "Retry-After: 3"), want: throttled("7777", 3*time.Second)},

		"400 with a code":          {behave: answers(400, `{"code":"1002","message":"bad"}`), want: refused("1002")},
		"400 with a throttle code": {behave: answers(400, `{"code":"7777"}`), want: throttled("7777", 0)},
		"400 that says 200":        {behave: answers(400, success), want: bought("200")},
		"400 that says 200 alone":  {behave: answers(400, `{"code":"200"}`), want: ambiguous("200")},
		"400 that says 200, junk":  {behave: answers(400, success+"x"), want: bought("400")},
		"404 in HTML":              {behave: answers(404, "<html>not found</html>"), want: refused("404")},
		"404 without a body":       {behave: answers(404, ""), want: refused("404")},
		"403 with a null code":     {behave: answers(403, `{"code":null}`), want: account("403")},
		"404 cut off":              {behave: raw("HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\n<html>"), want: ambiguous("")},
		"400 with a name twice":    {behave: answers(400, `{"code":"1","code":"200"}`), want: ambiguous("400")},

		"429, seconds": {behave: answers(429, `slow down`, "Retry-After: 7"), want: throttled("429", 7*time.Second)},
		"429, a date long off": {behave: answers(429, `{}`, "Retry-After: "+time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)),
			want: throttled("429", maxRetryAfter)},
		"429, a date gone by":    {behave: answers(429, `{}`, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"), want: throttled("429", 0)},
		"429, negative":          {behave: answers(429, `{"code":"x"}`, "Retry-After: -7"), want: throttled("x", 0)},
		"429 that says 200":      {behave: answers(429, `{"code":200}`), want: ambiguous("200")},
		"503 as a throttle code": {behave: answers(503, `<html>`, "Retry-After: 1"), want: ambiguous("503")},
		"503 that says 200":      {behave: answers(503, success), want: bought("200")},
		"a number of megabytes":  {behave: answers(ok, `{"code":"200","data":{"orderNumber":"`+strings.Repeat("9", 900_000)+`"}}`), want: bought("200")},
		"a number of 129":        {behave: answers(ok, `{"code":"200","data":{"orderNumber":"`+strings.Repeat("é", 129)+`"}}`), want: bought("200")},
		"a number of 128": {behave: answers(ok, `{"code":"200","data":{"orderNumber":" `+strings.Repeat("é", 128)+` "}}`),
			want: outcome{code: "200", number: strings.Repeat("é", 128)}},
		"a number with an escape": {behave: answers(ok, `{"code":"200","data":{"orderNumber":"X\u001b[2J"}}`), want: bought("200")},
		"deep data":               {behave: answers(ok, `{"code":"7","data":`+strings.Repeat("[", 200_000)+`}`), want: ambiguous("")},

		"500":                      {behave: answers(500, `oops`), want: ambiguous("500")},
		"500 with a refusal":       {behave: answers(500, `{"code":"1001"}`), want: ambiguous("1001")},
		"500 with a throttle code": {behave: answers(500, `{"code":"7777"}`), want: ambiguous("7777")},
		"504":                      {behave: answers(504, ``), want: ambiguous("504")},
		"201":                      {behave: answers(201, success), want: bought("200")},
		"202 with a refusal":       {behave: answers(202, `{"code":"1001"}`), want: ambiguous("1001")},
		"204":                      {behave: raw("HTTP/1.1 204 No Content\r\n\r\n"), want: ambiguous("204")},
		"304":                      {behave: raw("HTTP/1.1 304 Not Modified\r\n\r\n"), want: ambiguous("304")},
		"101":                      {behave: hangsAfter("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"), want: ambiguous("101")},
		"100 and then success":     {behave: raw("HTTP/1.1 100 Continue\r\n\r\n" + httpText(200, success)), want: outcome{code: "200", number: number, id: 101106255}},
		"103 without an end":       {behave: raw(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", maxHeaderBytes/10) + httpText(200, success)), want: ambiguous("")},
		"status 099":               {behave: raw("HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n" + httpText(200, success)), want: ambiguous("99")},
		"status 999":               {behave: raw("HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"), want: ambiguous("999")},

		"code missing":      {behave: answers(ok, `{"message":"success","data":{"orderNumber":"X1"}}`), want: bought("")},
		"code null":         {behave: answers(ok, `{"code":null}`), want: ambiguous("")},
		"code empty":        {behave: answers(ok, `{"code":""}`), want: ambiguous("")},
		"code a boolean":    {behave: answers(ok, `{"code":true}`), want: ambiguous("")},
		"code an object":    {behave: answers(ok, `{"code":{}}`), want: ambiguous("")},
		"Code, not code":    {behave: answers(ok, `{"Code":"200","data":{"orderNumber":"X1"}}`), want: bought("")},
		"a name twice":      {behave: answers(ok, `{"code":"200","code":"1001"}`), want: ambiguous("")},
		"a name twice deep": {behave: answers(ok, `{"code":"200","data":{"orderNumber":"X1","orderNumber":"X2"}}`), want: ambiguous("")},
		"bytes after":       {behave: answers(ok, success+success), want: bought("")},
		"JSON cut":          {behave: answers(ok, success[:len(success)-1]), want: bought("")},
		"a list":            {behave: answers(ok, `[`+success+`]`), want: ambiguous("")},
		"HTML":              {behave: answers(ok, `<html>maintenance</html>`), want: ambiguous("")},
		"empty":             {behave: answers(ok, ``), want: ambiguous("")},
		"a BOM":             {behave: answers(ok, "\ufeff"+success), want: ambiguous("")},
		"1 MiB":             {behave: answers(ok, success+strings.Repeat(" ", maxBodyBytes-len(success))), want: outcome{code: "200", number: number, id: 101106255}},
		"1 MiB and a byte":  {behave: answers(ok, success+strings.Repeat(" ", maxBodyBytes-len(success)+1)), want: ambiguous("")},
		"2 MiB":             {behave: answers(ok, success+strings.Repeat(" ", maxBodyBytes)), want: ambiguous("")},
		"404 of 2 MiB":      {behave: answers(404, strings.Repeat("x", 2*maxBodyBytes)), want: ambiguous("404")},
		"length too long":   {behave: raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + success), want: ambiguous("")},
		"chunked cut":       {behave: raw(fmt.Sprintf("%s%x\r\n%s\r\n", chunked, len(success), success)), want: ambiguous("")},
		"headers too large": {behave: raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxHeaderBytes) + "\r\nContent-Length: 0\r\n\r\n"), want: ambiguous("")},

		"closes without an answer": {behave: raw(""), want: ambiguous("")},
		"resets after reading":     {behave: resets, want: ambiguous("")},
		"not HTTP":                 {behave: raw("SSH-2.0-OpenSSH_9.9\r\n"), want: ambiguous("")},
		"hangs before headers":     {behave: hangsAfter(""), timeout: hang, want: ambiguous("")},
		"hangs in headers":         {behave: hangsAfter("HTTP/1.1 200 OK\r\n"), timeout: hang, want: ambiguous("")},
		"hangs after headers":      {behave: hangsAfter("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n"), timeout: hang, want: ambiguous("")},
		"hangs in the body":        {behave: hangsAfter("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + success), timeout: hang, want: ambiguous("")},

		"echo in the message":    {behave: echoes(`HTTP/1.1 200 OK` + "\r\n\r\n" + `{"code":"1001","message":ECHO}`), want: refused("1001")},
		"echo in the code":       {behave: echoes(`HTTP/1.1 200 OK` + "\r\n\r\n" + `{"code":ECHO,"message":""}`), want: refused("sign [redacted] [redacted] secret [redacted]")},
		"echo in a 400":          {behave: echoes("HTTP/1.1 400 Bad Request\r\n\r\n<html>ECHO"), want: refused("400")},
		"echo in a 500":          {behave: echoes("HTTP/1.1 500 Oops\r\n\r\n{\"code\":\"1\",\"message\":ECHO}"), want: ambiguous("1")},
		"echo in HTML":           {behave: echoes("HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("ECHO", 30)), want: ambiguous("")},
		"echo in the first line": {behave: echoes("HTTP/1.1 ECHO\r\n\r\n"), want: ambiguous("")},
		"echo in a header":       {behave: echoes("HTTP/1.1 200 OK\r\nECHO\r\n\r\n"), want: ambiguous("")},
		"a very long message":    {behave: echoes("HTTP/1.1 404 x\r\n\r\n{\"message\":\"" + strings.Repeat("é", 2000) + "\",\"x\":ECHO}"), want: refused("404")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newRawVendor(t, c.behave)
			client := testClient(t, Config{BaseURL: v.URL, Timeout: c.timeout, Codes: codes})
			p, err := client.Place(t.Context(), testOrder, soon())
			e := mustError(t, err)
			if got := outcomeOf(p, e); got != c.want {
				t.Errorf("Place: got %+v (%v), want %+v", got, err, c.want)
			}
			requests := v.requests()
			if len(requests) != 1 {
				t.Fatalf("the vendor saw the order %d times, want once", len(requests))
			}
			if e != nil {
				checkQuiet(t, e, requests[0].sign())
			}
		})
	}
}

// A request of which nothing was written has bought nothing.
func TestPlaceUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	untrusted := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("an untrusted server was asked") }))
	untrusted.Config.ErrorLog = nil
	defer untrusted.Close()
	never := make(chan struct{})
	silent, _ := newTLSVendor(t, nil, never)
	t.Cleanup(func() { close(never) })
	notTLS := newRawVendor(t, func(net.Conn, seen) bool { t.Error("plain HTTP was spoken"); return false })
	done, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("shutting down"))

	for name, c := range map[string]struct {
		url     string
		ctx     context.Context
		timeout time.Duration
		sendBy  time.Duration
		order   Order
	}{
		"refuses the connection":   {url: "http://" + closed.Addr().String()},
		"no such host":             {url: "http://host.invalid"},
		"untrusted certificate":    {url: untrusted.URL},
		"hangs in TLS":             {url: silent.URL, timeout: 150 * time.Millisecond},
		"sendBy passes in TLS":     {url: silent.URL, sendBy: 150 * time.Millisecond},
		"speaks no TLS":            {url: strings.Replace(notTLS.URL, "http:", "https:", 1)},
		"sendBy is past":           {url: notTLS.URL, sendBy: -time.Nanosecond},
		"cancelled before":         {url: notTLS.URL, ctx: done},
		"an order that is no text": {url: notTLS.URL, order: Order{OutTradeNo: "\xff" + testSecret}},
	} {
		t.Run(name, func(t *testing.T) {
			client := testClient(t, Config{BaseURL: c.url, Timeout: c.timeout})
			ctx, sendBy, order := t.Context(), soon(), testOrder
			if c.ctx != nil {
				ctx = c.ctx
			}
			if c.sendBy != 0 {
				sendBy = time.Now().Add(c.sendBy)
			}
			if c.order.OutTradeNo != "" {
				order = c.order
			}
			_, err := client.Place(ctx, order, sendBy)
			e := mustError(t, err)
			if e == nil || e.Class != Unreachable || e.Bought {
				t.Fatalf("Place: %v, want unreachable", err)
			}
			checkQuiet(t, e)
		})
	}
	// One TLS hello, and the connection of the order that is not UTF-8.
	if conns, n := notTLS.received(); len(notTLS.requests()) != 0 || conns > 2 {
		t.Errorf("the vendor got %d connections, %d bytes, want two and a TLS hello", conns, n)
	}
}

// A call that is cancelled after writing is ambiguous.
func TestPlaceCancelledAfterWriting(t *testing.T) {
	ctx, cancel := canceledAt(t)
	v := newRawVendor(t, func(c net.Conn, r seen) bool {
		cancel()
		return hangsAfter("")(c, r)
	})
	_, err := testClient(t, Config{BaseURL: v.URL}).Place(ctx, testOrder, soon())
	if e := mustError(t, err); e == nil || e.Class != Ambiguous || !errors.Is(err, context.Canceled) {
		t.Errorf("Place: %v, want ambiguous for context.Canceled", err)
	}
}

func TestPlaceFollowsNoRedirect(t *testing.T) {
	target := newRawVendor(t, answers(200, success))
	for _, status := range []int{301, 302, 303, 307, 308} {
		v := newRawVendor(t, answers(status, "", "Location: "+target.URL+placePath))
		_, err := testClient(t, Config{BaseURL: v.URL}).Place(t.Context(), testOrder, soon())
		if e := mustError(t, err); e == nil || e.Class != Ambiguous || e.Code != strconv.Itoa(status) {
			t.Errorf("HTTP %d: %v, want ambiguous", status, err)
		}
	}
	if conns, _ := target.received(); conns != 0 {
		t.Errorf("the target got %d connections, want none", conns)
	}
}

func TestRequestOnTheWire(t *testing.T) {
	v := newRawVendor(t, answers(200, success))
	client := testClient(t, Config{BaseURL: v.URL + "/some%2Fprefix/"})
	renew := int64(2)
	order := testOrder
	order.Renew = &renew
	signs, nonces := map[string]bool{}, map[string]bool{}
	const calls = 5
	for range calls {
		if _, err := client.Place(t.Context(), order, soon()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range v.requests() {
		host := strings.TrimPrefix(v.URL, "http://")
		want := "POST /some%2Fprefix/api/v3/package/orderPackage HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: orderworker\r\n" +
			"Content-Length: " + strconv.Itoa(len(r.body)) + "\r\nContent-Type: application/json;charset=utf-8"
		if r.head != want {
			t.Errorf("head\n%s\nwant\n%s", r.head, want)
		}
		fields := checkSigned(t, r.body, testSecret)
		sentAt, err := strconv.ParseInt(fmt.Sprint(fields["timestamp"]), 10, 64)
		if age := time.Since(time.Unix(sentAt, 0)); err != nil || age < 0 || age > time.Minute {
			t.Errorf("timestamp %v, want now", fields["timestamp"])
		}
		signs[fmt.Sprint(fields["sign"])], nonces[fmt.Sprint(fields["nonce"])] = true, true
		for name, want := range map[string]string{"appkey": testAppKey, "iccid": order.ICCID, "outTradeNo": order.OutTradeNo,
			"packageCode": order.PackageCode, "renew": "2"} {
			if got := fmt.Sprint(fields[name]); got != want {
				t.Errorf("%s = %s, want %s", name, got, want)
			}
		}
		if len(fields) != 8 {
			t.Errorf("body %s has %d fields, want 8", r.body, len(fields))
		}
	}
	if len(signs) < calls-1 || len(nonces) < calls-1 { // one nonce in 90,000 may come twice
		t.Errorf("%d signs and %d nonces in %d calls, want fresh ones", len(signs), len(nonces), calls)
	}
	if conns, _ := v.received(); conns != 1 {
		t.Errorf("%d connections, want one that is kept", conns)
	}
}

// Whatever the vendor does with kept connections, a call sends an order at most once,
// and not at all if it returns Unreachable.
func TestPlaceIsNeverRepeated(t *testing.T) {
	const calls = 100
	for name, last := range map[string]behaviour{
		"closes after the answer":   func(c net.Conn, r seen) bool { answers(200, success)(c, r); return false },
		"resets after the answer":   func(c net.Conn, r seen) bool { answers(200, success)(c, r); return resets(c, r) },
		"closes before the answer":  raw(""),
		"resets before the answer":  resets,
		"408 beside the connection": func(c net.Conn, r seen) bool { answers(200, success)(c, r); return raw(httpText(408, ""))(c, r) },
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(name+" "+scheme, func(t *testing.T) {
				t.Parallel()
				served := map[net.Conn]int{}
				var mu sync.Mutex
				behave := func(c net.Conn, r seen) bool { // the second request of each connection meets it
					mu.Lock()
					served[c]++
					first := served[c] == 1
					mu.Unlock()
					if first {
						return answers(200, success)(c, r)
					}
					if over, ok := c.(*tls.Conn); ok && (name == "resets after the answer" || name == "resets before the answer") {
						_ = over.NetConn().(*corkedConn).Conn.(*net.TCPConn).SetLinger(0)
						return false
					}
					return last(c, r)
				}
				var v *rawVendor
				var trusting *tls.Config
				if scheme == "http" {
					v = newRawVendor(t, behave)
				} else {
					ready := make(chan struct{})
					close(ready)
					v, trusting = newTLSVendor(t, behave, ready)
				}
				client := testClient(t, Config{BaseURL: v.URL})
				if trusting != nil {
					client.conns.tls.RootCAs = trusting.RootCAs
				}
				classes := map[string]Class{}
				for i := range calls {
					order := testOrder
					order.OutTradeNo = "no-" + strconv.Itoa(i)
					_, err := client.Place(t.Context(), order, soon())
					if e := mustError(t, err); e != nil {
						classes[order.OutTradeNo] = e.Class
					}
				}
				count := map[any]int{}
				for _, r := range v.requests() {
					count[checkSigned(t, r.body, testSecret)["outTradeNo"]]++
				}
				for i := range calls {
					no := "no-" + strconv.Itoa(i)
					if n := count[no]; n > 1 || n == 1 && classes[no] == Unreachable || n == 0 && classes[no] == "" {
						t.Errorf("%s: seen %d times, outcome %q", no, n, classes[no])
					}
				}
			})
		}
	}
}
