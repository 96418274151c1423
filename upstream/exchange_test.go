package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestExchangeWritesOnlyInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		go func() { _, _ = io.Copy(io.Discard, server) }()
		g := &guardedConn{Conn: client}
		write := func(want error) {
			t.Helper()
			if n, err := g.Write([]byte("12345")); !errors.Is(err, want) || (n == 0) != (want != nil) {
				t.Errorf("Write = %d, %v, want %v", n, err, want)
			}
		}
		write(nil) // the handshake: no exchange

		first := newExchange(time.Now().Add(time.Second))
		g.begin(first, soon())
		first.finish()
		write(errExchangeOver)
		if first.wrote != 0 {
			t.Errorf("%d bytes were counted, want none: the handshake is nobody's", first.wrote)
		}

		second := newExchange(time.Now().Add(time.Second))
		g.begin(second, soon())
		time.Sleep(time.Second - 1)
		write(nil)
		time.Sleep(2 * time.Nanosecond)
		write(errTooLate)
		if second.wrote != 5 {
			t.Errorf("%d bytes were counted, want 5", second.wrote)
		}
		_ = server.Close()
	})
}

func TestGuardEndsABlockedWrite(t *testing.T) {
	for name, c := range map[string]struct{ sendBy, until time.Duration }{
		"at sendBy":          {sendBy: time.Second, until: time.Hour},
		"when the call ends": {sendBy: time.Hour, until: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				defer server.Close()
				g := &guardedConn{Conn: client}
				start := time.Now()
				g.begin(newExchange(start.Add(c.sendBy)), start.Add(c.until))
				if _, err := g.Write([]byte("x")); err == nil || time.Since(start) != time.Second {
					t.Errorf("Write ended with %v after %v, want a time-out after 1s", err, time.Since(start))
				}
			})
		})
	}
}

// slowConn delays a request after the guard has begun its exchange: sendBy passes
// before the first byte.
type slowConn struct {
	net.Conn
	guarded *atomic.Bool
}

func (c slowConn) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() && c.guarded.CompareAndSwap(false, true) { // TLS sets one more when it closes
		<-time.After(time.Until(at) + time.Millisecond)
	}
	return nil // the guard must work without the deadline
}

// shortConn accepts a few bytes of the request, and then fails.
type shortConn struct{ net.Conn }

func (c shortConn) Write(p []byte) (int, error) {
	n, _ := c.Conn.Write(p[:10])
	return n, errors.New("cable cut")
}

// deadConn accepts nothing.
type deadConn struct{ net.Conn }

func (deadConn) Write([]byte) (int, error) { return 0, errors.New("cable cut") }

func dialWith(c *Client, wrap func(net.Conn) net.Conn) {
	c.conns.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return wrap(conn), nil
	}
}

func TestNotOneByteAfterSendBy(t *testing.T) {
	ready := make(chan struct{})
	close(ready)
	secure, trusting := newTLSVendor(t, answers(200, success), ready)
	plain := newRawVendor(t, answers(200, success))
	for _, v := range []*rawVendor{plain, secure} {
		client := testClient(t, Config{BaseURL: v.URL})
		if v == secure {
			client.conns.tls.RootCAs = trusting.RootCAs
		}
		var guarded atomic.Bool
		dialWith(client, func(c net.Conn) net.Conn { return slowConn{c, &guarded} })
		_, err := client.Place(t.Context(), testOrder, time.Now().Add(2*time.Second))
		if e := mustError(t, err); e == nil || e.Class != Unreachable {
			t.Errorf("%s: %v, want unreachable", v.URL, err)
		}
		if !guarded.Load() {
			t.Errorf("%s: sendBy passed before the connection was there", v.URL)
		}
		if _, n := v.received(); n != 0 {
			t.Errorf("%s: the vendor got %d bytes, want none", v.URL, n)
		}
	}
}

// The vendor's TLS handshake ends after sendBy.
func TestSendByPassesWhileConnecting(t *testing.T) {
	gate := make(chan struct{})
	v, trusting := newTLSVendor(t, answers(200, success), gate)
	client := testClient(t, Config{BaseURL: v.URL})
	client.conns.tls.RootCAs = trusting.RootCAs
	sendBy := time.Now().Add(100 * time.Millisecond)
	_, err := client.Place(t.Context(), testOrder, sendBy)
	if e := mustError(t, err); e == nil || e.Class != Unreachable || !errors.Is(err, errTooLate) || !time.Now().After(sendBy) {
		t.Errorf("Place: %v, want unreachable: %v", err, errTooLate)
	}
	close(gate)
	if _, n := v.received(); n != 0 {
		t.Errorf("the vendor got %d bytes, want none", n)
	}
}

func TestWrittenBytesDecide(t *testing.T) {
	for name, c := range map[string]struct {
		wrap func(net.Conn) net.Conn
		want Class
	}{
		"ten bytes left": {func(c net.Conn) net.Conn { return shortConn{c} }, Ambiguous},
		"no byte left":   {func(c net.Conn) net.Conn { return deadConn{c} }, Unreachable},
	} {
		v := newRawVendor(t, answers(200, success))
		client := testClient(t, Config{BaseURL: v.URL})
		dialWith(client, c.wrap)
		_, err := client.Place(t.Context(), testOrder, soon())
		if got := ClassOf(err); got != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// Data that arrived before the request is not its answer.
func TestUnsolicitedAnswerBeforeTheRequest(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, httpText(200, success))
		}
	}()
	client := testClient(t, Config{BaseURL: "http://" + ln.Addr().String()})
	client.conns.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			waitUntil(t, "the answer is there", func() bool { return !quiet(conn) })
		}
		return conn, err
	}
	if _, err := client.Place(t.Context(), testOrder, soon()); ClassOf(err) != Unreachable {
		t.Errorf("Place: %v, want unreachable", err)
	}
}

func TestClientSpeaksHTTP1(t *testing.T) {
	ready := make(chan struct{})
	close(ready)
	v, trusting := newTLSVendor(t, answers(200, success), ready)
	client := testClient(t, Config{BaseURL: v.URL})
	client.conns.tls.RootCAs = trusting.RootCAs
	spoken := ""
	client.conns.tls.VerifyConnection = func(s tls.ConnectionState) error {
		spoken = s.NegotiatedProtocol
		return nil
	}
	for range 3 {
		if _, err := client.Place(t.Context(), testOrder, soon()); err != nil {
			t.Fatal(err)
		}
	}
	if spoken == "h2" {
		t.Error("HTTP/2 is spoken, which the vendor offers")
	}
	if conns, _ := v.received(); conns != 1 {
		t.Errorf("%d connections, want one that is kept", conns)
	}
}
