package upstream

import (
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// Source: upstream/VENDOR.md, "Signing test vector".
func TestSignPublishedVector(t *testing.T) {
	params := map[string]string{
		"appkey": "000001", "timestamp": "1556595508", "nonce": "24523", "userName": "wx", "age": "24", "sex": "1",
		"sign": "not signed", "empty": "",
	}
	const want = "963A56BAEBED746F2746E4D9B3B77BE0F2E171E7"
	if got := Sign(params, "a1b1c1d1"); got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

// naiveSign signs as the vendor's documentation says, step by step.
func naiveSign(params map[string]string, secret string) string {
	var parts []string
	names := make([]string, 0)
	for name, value := range params {
		if name != "sign" && value != "" {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		parts = append(parts, name+"="+params[name])
	}
	parts = append(parts, "secret="+secret)
	return strings.ToUpper(fmt.Sprintf("%x", sha1.Sum([]byte(strings.Join(parts, "&")))))
}

func FuzzSign(f *testing.F) {
	f.Add("a", "1", "B", "2", "secret")
	f.Add("sign", "x", "", "", "")
	f.Add("page", "1", "pageSize", "ü&=\x00\xff", "s&=")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, secret string) {
		params := map[string]string{name1: value1, name2: value2, "appkey": "000001", "empty": ""}
		if got, want := Sign(params, Secret(secret)), naiveSign(params, secret); got != want {
			t.Errorf("Sign(%q, %q) = %s, want %s", params, secret, got, want)
		}
	})
}

// FuzzEncode checks that a body has the signature that Sign returns for its parameters.
func FuzzEncode(f *testing.F) {
	f.Add("630000198311142676", "8988308650100524999", "CN-5M", int64(0), "000001", "s")
	f.Add("<&>\u2028", "\"\\\x00/", "流量包", int64(-1), "a", "s&=")
	f.Add("\xff", "", "", int64(1)<<62, "", "")
	f.Fuzz(func(t *testing.T, no, iccid, code string, renew int64, appKey, secret string) {
		o := Order{OutTradeNo: no, ICCID: iccid, PackageCode: code}
		if renew != 0 {
			o.Renew = &renew
		}
		body, sign, err := encode(appKey, Secret(secret), placeParams(o), time.Unix(1556595508, 0), 24523)
		if err != nil {
			if utf8.ValidString(no) && utf8.ValidString(iccid) && utf8.ValidString(code) && utf8.ValidString(appKey) {
				t.Fatalf("encode: %v", err)
			}
			return
		}
		checkSigned(t, body, secret)
		var got struct{ ICCID, PackageCode, OutTradeNo, AppKey, Sign string }
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		if got.ICCID != iccid || got.PackageCode != code || got.OutTradeNo != no || got.AppKey != appKey || got.Sign != string(sign[:]) {
			t.Errorf("body %s does not carry the order", body)
		}
	})
}

// checkSigned fails if body is not a signed request, and returns its fields.
func checkSigned(t *testing.T, body []byte, secret string) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		t.Fatalf("body %s: %v", body, err)
	}
	params := make(map[string]string)
	for name, value := range fields {
		params[name] = fmt.Sprint(value)
	}
	if want := naiveSign(params, secret); fields["sign"] != want {
		t.Errorf("body %s: sign %v, want %s", body, fields["sign"], want)
	}
	return fields
}

func TestEncodeOmitsNilRenew(t *testing.T) {
	zero := int64(0)
	for name, c := range map[string]struct {
		renew *int64
		want  bool
	}{"unset": {nil, false}, "zero": {&zero, true}} {
		body, _, err := encode("k", "s", placeParams(Order{OutTradeNo: "1", Renew: c.renew}), time.Now(), nonce())
		if err != nil || strings.Contains(string(body), `"renew":0`) != c.want {
			t.Errorf("%s: body %s (%v), want renew sent: %v", name, body, err, c.want)
		}
	}
}

func TestNonceHasFiveDigits(t *testing.T) {
	for range 10_000 {
		if n := nonce(); n < 10_000 || n > 99_999 {
			t.Fatalf("nonce %d, want 10000..99999", n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	o := Order{OutTradeNo: "630000198311142676", ICCID: "8988308650100524999", PackageCode: "CN-5M-7D-C-US-20230103AC4BF927"}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := encode("000001", "a1b1c1d1", placeParams(o), now, 24523); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	s := Secret("a1b1c1d1")
	inJSON, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := s.MarshalText()
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %X %d %v %#v", s, s, s, s, s, s, s, s, &struct{ S Secret }{s}, Config{Secret: s}) +
		fmt.Sprint(s) + s.String() + s.GoString() + string(inJSON) + string(text)
	for _, leak := range []string{"a1b1c1d1", "6131623163316431"} {
		if strings.Contains(strings.ToLower(shown), leak) {
			t.Errorf("%q shows in %s", leak, shown)
		}
	}
	if n := strings.Count(shown, redacted); n != 16 {
		t.Errorf("%d times %s in %s, want 16", n, redacted, shown)
	}
}
