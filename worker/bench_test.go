package worker

import (
	"testing"
	"time"

	"orderworker/upstream"
)

func BenchmarkDecodeOrder(b *testing.B) {
	payload := []byte(example)
	b.ReportAllocs()
	for b.Loop() {
		o, err := DecodeOrder(payload)
		if err != nil || o.OutTradeNo == "" {
			b.Fatalf("%+v, %v", o, err)
		}
	}
}

func BenchmarkFingerprint(b *testing.B) {
	o, err := DecodeOrder([]byte(example))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if o.Fingerprint() == "" {
			b.Fatal("no fingerprint")
		}
	}
}

// BenchmarkResult is a success on its way out: the result's JSON, and the event
// around it.
func BenchmarkResult(b *testing.B) {
	o, err := DecodeOrder([]byte(example))
	if err != nil {
		b.Fatal(err)
	}
	bought := upstream.Purchase{OrderNumber: "1611558040873b105b2678de34504a35", OrderID: 101106255, Code: "200", Message: "success"}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		e, err := event(result(o, Succeeded, 1, now, now).bought(bought).encode())
		if err != nil || e.ID == "" {
			b.Fatalf("%+v, %v", e, err)
		}
	}
}
