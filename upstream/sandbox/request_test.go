package sandbox

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The test vector that the vendor published: see upstream/VENDOR.md, "Signing test vector".
func TestSignatureVector(t *testing.T) {
	fields := map[string]string{
		"appkey": "000001", "timestamp": "1556595508", "nonce": "24523",
		"userName": "wx", "age": "24", "sex": "1", "empty": "", "sign": "left out",
	}
	if got, want := signature(fields, "a1b1c1d1"), "963A56BAEBED746F2746E4D9B3B77BE0F2E171E7"; got != want {
		t.Errorf("signature = %s, want %s", got, want)
	}
}

func TestFieldChecks(t *testing.T) {
	order, lookup := anOrder("T-1"), aLookup("T-1")
	fifty := strings.TrimSuffix(strings.Repeat("1,", 50), ",")
	for name, test := range map[string]struct {
		call call
		want string
	}{
		"order":                       {order, CodeSuccess},
		"order, renew":                {order.with(call{"renew": -3}), CodeSuccess},
		"order, 32 characters":        {order.with(call{"outTradeNo": strings.Repeat("é", 32)}), CodeSuccess},
		"order, 33 characters":        {order.with(call{"outTradeNo": strings.Repeat("1", 33)}), CodeField},
		"order, packageCode missing":  {order.with(call{"packageCode": nil}), CodePackage},
		"order, packageCode empty":    {order.with(call{"packageCode": ""}), CodePackage},
		"order, packageCode a number": {order.with(call{"packageCode": 5}), CodePackage},
		"order, packageCode, a space": {order.with(call{"packageCode": "CN 5M"}), CodePackage},
		"order, packageCode too long": {order.with(call{"packageCode": strings.Repeat("x", 129)}), CodePackage},
		"order, packageCode long":     {order.with(call{"packageCode": strings.Repeat("é", 128)}), CodeSuccess},
		"order, iccid empty":          {order.with(call{"iccid": ""}), CodeICCIDEmpty},
		"order, iccid null":           {order.with(call{"iccid": any((*int)(nil))}), CodeField},
		"order, iccid a number":       {order.with(call{"iccid": 8988308}), CodeICCIDFormat},
		"order, iccid short":          {order.with(call{"iccid": "89883086501005"}), CodeICCIDFormat},
		"order, iccid long":           {order.with(call{"iccid": strings.Repeat("8", 23)}), CodeICCIDFormat},
		"order, iccid, a dash":        {order.with(call{"iccid": "8988308650100524-99"}), CodeICCIDFormat},
		"order, iccid of letters":     {order.with(call{"iccid": "89aZ308650100524999"}), CodeSuccess},
		"order, outTradeNo missing":   {order.with(call{"outTradeNo": nil}), CodeField},
		"order, renew a string":       {order.with(call{"renew": "1"}), CodeField},
		"order, renew null":           {order.with(call{"renew": any((*int)(nil))}), CodeField},
		"order, renew a fraction":     {order.with(call{"renew": 1.5}), CodeField},
		"order, renew true":           {order.with(call{"renew": true}), CodeField},
		"order, unknown field":        {order.with(call{"colour": "red"}), CodeField},
		"order, wrong case":           {order.with(call{"ICCID": "8988308650100524999"}), CodeField},
		"appkey unknown":              {order.with(call{"appkey": "000002"}), CodeAppKey},
		"appkey a number":             {order.with(call{"appkey": 1}), CodeField},
		"timestamp in milliseconds":   {order.with(call{"timestamp": 1_795_428_000_123}), CodeField},
		"timestamp a string":          {order.with(call{"timestamp": "1795428000"}), CodeField},
		"timestamp null":              {order.with(call{"timestamp": any((*int)(nil))}), CodeField},
		"nonce 10000":                 {order.with(call{"nonce": 10000}), CodeSuccess},
		"nonce 99999":                 {order.with(call{"nonce": 99999}), CodeSuccess},
		"nonce 9999":                  {order.with(call{"nonce": 9999}), CodeField},
		"nonce 100000":                {order.with(call{"nonce": 100000}), CodeField},
		"sign wrong":                  {order.with(call{"sign": strings.Repeat("A", 40)}), CodeSign},
		"sign short":                  {order.with(call{"sign": strings.Repeat("A", 39)}), CodeSign},
		"sign in lower case":          {order.with(call{"sign": strings.Repeat("a", 40)}), CodeSign},
		"sign a number":               {order.with(call{"sign": 1}), CodeField},

		"lookup":                       {lookup, CodeSuccess},
		"lookup, no page":              {lookup.with(call{"page": nil, "pageSize": nil}), CodeSuccess},
		"lookup, state":                {lookup.with(call{"state": 2}), CodeSuccess},
		"lookup, by orderNumber":       {call{"orderNumberArrStr": "1611558040873b105b2678de34504a35"}, CodeSuccess},
		"lookup, by both":              {lookup.with(call{"orderNumberArrStr": "1"}), CodeField},
		"lookup, by none":              {call{}, CodeField},
		"lookup, 50 numbers":           {lookup.with(call{"outTradeNoArrStr": fifty}), CodeSuccess},
		"lookup, 51 numbers":           {lookup.with(call{"outTradeNoArrStr": fifty + ",1"}), CodeField},
		"lookup, empty number":         {lookup.with(call{"outTradeNoArrStr": "1,,2"}), CodeField},
		"lookup, space":                {lookup.with(call{"outTradeNoArrStr": "1, 2"}), CodeField},
		"lookup, number too long":      {lookup.with(call{"outTradeNoArrStr": strings.Repeat("1", 33)}), CodeField},
		"lookup, array":                {lookup.with(call{"outTradeNoArrStr": []string{"1"}}), CodeField},
		"lookup, page 0":               {lookup.with(call{"page": 0}), CodeField},
		"lookup, page a string":        {lookup.with(call{"page": "1"}), CodeField},
		"lookup, pageSize 51":          {lookup.with(call{"pageSize": 51}), CodeField},
		"lookup, fields of the order":  {lookup.with(call{"packageCode": "X"}), CodeField},
		"lookup, state a string":       {lookup.with(call{"state": "0"}), CodeField},
		"lookup, sign over other data": {lookup.with(call{"sign": strings.Repeat("0", 40)}), CodeSign},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestEnv(t, Config{})
			r.wantCode(r.send(test.call), test.want)
			b := r.vendor.Book()
			if test.want != CodeSuccess && (b.Bought != 0 || b.Refused[test.want] != 1) {
				t.Errorf("bought %d, refused %v, want nothing bought and one %s", b.Bought, b.Refused, test.want)
			}
			if got, want := b.RefusedSignatures == 1, test.want == CodeSign; got != want {
				t.Errorf("counted as a refused signature: %v, want %v", got, want)
			}
		})
	}
}

// A change of any field after signing is noticed.
func TestSignatureCoversEveryField(t *testing.T) {
	r := newTestEnv(t, Config{})
	body := string(anOrder("T-1").with(call{"renew": 7}).signed(time.Now()))
	for old, other := range map[string]string{
		`T-1`: `T-2`, `8988308650100524999`: `8988308650100524998`, `CN-5M`: `CN-6M`, `81537`: `81538`, `"renew":7`: `"renew":8`,
	} {
		forged := strings.Replace(body, old, other, 1)
		if forged == body {
			t.Fatalf("%s is not in %s", old, body)
		}
		r.wantCode(r.do(r.request(http.MethodPost, OrderPath, []byte(forged))), CodeSign)
	}
	if got := r.vendor.Totals(); got.RefusedSignatures != 5 || got.Bought != 0 {
		t.Errorf("refused %d signatures, bought %d, want 5 and 0", got.RefusedSignatures, got.Bought)
	}
}

func TestTimestampAge(t *testing.T) {
	for name, test := range map[string]struct {
		age  time.Duration
		want string
	}{
		"now":           {0, CodeSuccess},
		"old":           {time.Minute, CodeSuccess},
		"too old":       {time.Minute + time.Second, CodeTimestamp},
		"early":         {-time.Minute, CodeSuccess},
		"in the future": {-time.Minute - time.Second, CodeTimestamp},
		"an hour ahead": {-time.Hour, CodeTimestamp},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestEnv(t, Config{MaxAge: time.Minute})
			c := r.freeze()
			c.now = c.now.Truncate(time.Second)
			body := anOrder("T-1").signed(c.Now().Add(-test.age))
			r.wantCode(r.do(r.request(http.MethodPost, OrderPath, body)), test.want)
		})
	}
}

func TestBodyChecks(t *testing.T) {
	good := string(anOrder("T-1").signed(time.Now()))
	for name, test := range map[string]struct{ body, want string }{
		"empty":          {"", CodeBody},
		"array":          {"[]", CodeBody},
		"string":         {`"x"`, CodeBody},
		"cut off":        {good[:len(good)-1], CodeBody},
		"cut in a value": {`{"appkey":"0`, CodeBody},
		"no value":       {`{"appkey"}`, CodeBody},
		"bytes after":    {good + "{}", CodeBody},
		"byte-order":     {"\ufeff" + good, CodeBody},
		"broken UTF-8":   {`{"iccid":"` + "\xff" + `"}`, CodeBody},
		"too large":      {`{"iccid":"` + strings.Repeat("x", maxBodyBytes) + `"}`, CodeBody},
		"repeated name":  {strings.Replace(good, "{", `{"nonce":81537,`, 1), CodeField},
		"exponent":       {strings.Replace(good, "81537", "81537e0", 1), CodeField},
		"minus zero":     {strings.Replace(good, "81537", "-0", 1), CodeField},
		"nonce missing":  {strings.Replace(good, `"nonce":81537,`, "", 1), CodeField},
		"null":           {strings.Replace(good, "81537", "null", 1), CodeField},
		"good":           {good + "\n", CodeSuccess},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestEnv(t, Config{})
			r.wantCode(r.do(r.request(http.MethodPost, OrderPath, []byte(test.body))), test.want)
		})
	}
}

func TestTransportChecks(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*http.Request)
		want   string
	}{
		"as it should be":      {func(*http.Request) {}, CodeSuccess},
		"bare content type":    {func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, CodeSuccess},
		"charset in upper":     {func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=UTF-8") }, CodeSuccess},
		"other charset":        {func(r *http.Request) { r.Header.Set("Content-Type", "application/json;charset=gbk") }, CodeContentType},
		"form":                 {func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, CodeContentType},
		"no content type":      {func(r *http.Request) { r.Header.Del("Content-Type") }, CodeContentType},
		"PUT":                  {func(r *http.Request) { r.Method = http.MethodPut }, CodeMethod},
		"query":                {func(r *http.Request) { r.URL.RawQuery = "sign=1" }, CodeQuery},
		"question mark":        {func(r *http.Request) { r.URL.ForceQuery = true }, CodeQuery},
		"other path":           {func(r *http.Request) { r.URL.Path = "/api/v3/package/orderPackages" }, CodePath},
		"unclean path":         {func(r *http.Request) { r.URL.Path = "/" + r.URL.Path }, CodePath},
		"path with a slash on": {func(r *http.Request) { r.URL.Path += "/" }, CodePath},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestEnv(t, Config{})
			req := r.request(http.MethodPost, OrderPath, anOrder("T-1").signed(time.Now()))
			test.change(req)
			r.wantCode(r.do(req), test.want)
			wantCalls := 1
			if test.want == CodePath {
				wantCalls = 0
			}
			if got := r.vendor.Totals().Calls[EndpointOrder]; got != wantCalls {
				t.Errorf("%d calls counted, want %d", got, wantCalls)
			}
		})
	}
}
