package dedupe_test

import (
	"fmt"
	"testing"
	"time"

	"orderworker/dedupe"
)

// BenchmarkRecord encodes and decodes a final record.
func BenchmarkRecord(b *testing.B) {
	r := dedupe.Record{State: dedupe.StateFinal, Fingerprint: "0123456789abcdef-0123456789abcdef-0123456789abcdef", Owner: "PzAF2jZ5vYqLkq6ZcKT5fX.1", Seq: 12345, Progress: dedupe.Progress{Attempt: 1},
		Result: []byte(`{"outTradeNo":"630000198311142676","iccid":"8988308650100524999","packageCode":"CN-5M-7D-C-US-20230103AC4BF927","status":"succeeded","code":"200","message":"success","orderNumber":"1611558040873b105b2678de34504a35","orderId":101106255,"attempts":1,"reconciled":false,"receivedAt":"2026-11-23T10:00:00.123Z","completedAt":"2026-11-23T10:00:00.345Z"}`)}
	text, err := r.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := dedupe.DecodeRecord(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOrder runs the writes of a clean order: claim, intent, final, remember.
func BenchmarkOrder(b *testing.B) {
	for name, open := range combinations {
		b.Run(name, func(b *testing.B) {
			s := open(b)
			st := dedupe.New(s.records, s.journal, nil, dedupe.Config{Lease: long, FinalTTL: long})
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				o := dedupe.Order{OutTradeNo: fmt.Sprint(i), Fingerprint: "f1", Seq: uint64(i)}
				c, err := st.Claim(b.Context(), o, st.NewOwner(), false)
				if err == nil {
					_, err = st.Intent(b.Context(), c, time.Now().Add(time.Second), time.Now().Add(time.Second))
				}
				if err == nil {
					_, err = st.Finish(b.Context(), c, won, true)
				}
				if err == nil {
					err = st.Remember(b.Context(), c, won)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
