package upstream

import (
	"testing"
	"time"
)

// BenchmarkSign measures Sign. The client does not use it: it signs while it encodes
// (BenchmarkEncode).
func BenchmarkSign(b *testing.B) {
	params := map[string]string{
		"appkey": "000001", "nonce": "24523", "timestamp": "1556595508",
		"outTradeNo": "630000198311142676", "iccid": "8988308650100524999", "packageCode": "CN-5M-7D-C-US-20230103AC4BF927",
	}
	b.ReportAllocs()
	for b.Loop() {
		if Sign(params, "a1b1c1d1") == "" {
			b.Fatal("no signature")
		}
	}
}

// BenchmarkClassify measures classify, and purchase after a success.
func BenchmarkClassify(b *testing.B) {
	codes := DefaultCodes()
	now := time.Now()
	for name, a := range map[string]answer{
		"success": {status: 200, body: []byte(`{"code":"200","message":"success","data":{"orderNumber":"1611558040873b105b2678de34504a35","orderId":101106255}}`)},
		"refused": {status: 200, body: []byte(`{"code":"1012","message":"the package is not on sale","data":null}`)},
	} {
		b.Run(name, func(b *testing.B) {
			hide := redactor{secret: "a1b1c1d1", sign: "963A56BAEBED746F2746E4D9B3B77BE0F2E171E7"}
			b.ReportAllocs()
			for b.Loop() {
				r, fail := classify(a, codes, hide, now)
				_, ok := purchase(r, hide)
				if ok != (name == "success") || ok == (fail != nil) {
					b.Fatalf("%+v, %v", r, fail)
				}
			}
		})
	}
}
