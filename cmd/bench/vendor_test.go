package main

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"orderworker/upstream"
)

// TestVendorSpeaksWithTheRealClient: it sells, it looks up, and it counts.
func TestVendorSpeaksWithTheRealClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	v := newVendor(5 * time.Millisecond)
	var served sync.WaitGroup
	served.Go(func() {
		if err := v.serve(ctx, l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	defer func() { stop(); _ = l.Close(); served.Wait() }()

	client, err := upstream.NewClient(upstream.Config{BaseURL: "http://" + l.Addr().String(), AppKey: appKey, Secret: secret, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	soon := func() time.Time { return time.Now().Add(10 * time.Second) }
	place := func(no string) upstream.Purchase {
		t.Helper()
		begun := time.Now()
		line, err := client.Connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		p, err := line.Place(ctx, upstream.Order{OutTradeNo: no, ICCID: "8988308650100524999", PackageCode: "P"}, soon())
		if err != nil {
			t.Fatalf("place %s: %v", no, err)
		}
		if took := time.Since(begun); took < 5*time.Millisecond {
			t.Errorf("place %s took %v, less than the vendor's latency", no, took)
		}
		return p
	}
	a, b := place("A"), place("B")
	if a.OrderNumber == b.OrderNumber || len(a.OrderNumber) != 32 || a.OrderID == b.OrderID {
		t.Errorf("the purchases are %+v and %+v", a, b)
	}
	line, err := client.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	page, err := line.Lookup(ctx, upstream.Question{Numbers: []string{"B", "C", "A"}}, soon())
	if err != nil {
		t.Fatalf("lookup: %v", err)
	}
	if len(page.Rows) != 2 || page.Rows[0].OrderID != b.OrderID || page.Rows[1].OrderNumber != a.OrderNumber {
		t.Errorf("the lookup says %+v", page)
	}
	place("A")
	v.mu.Lock()
	defer v.mu.Unlock()
	if want := (sales{Purchases: 2, Doubles: 1, Lookups: 1}); v.sold != want {
		t.Errorf("the vendor counted %+v, want %+v", v.sold, want)
	}
}
