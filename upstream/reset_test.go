package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// While a vendor does not read, the request is in this machine's send buffer, behind
// other data. The call ends, and then the vendor reads again. Not one byte of the
// request may reach it.
func TestRequestOfAnEndedCallIsNotDelivered(t *testing.T) {
	lender := httptest.NewUnstartedServer(nil)
	lender.StartTLS()
	t.Cleanup(lender.Close)
	trusting := lender.Client().Transport.(*http.Transport).TLSClientConfig
	for name, c := range map[string]struct {
		secure bool
		end    func(cancel context.CancelFunc) // of the call
	}{
		"plain, time-out":  {false, func(context.CancelFunc) {}},
		"TLS, time-out":    {true, func(context.CancelFunc) {}},
		"plain, cancelled": {false, func(cancel context.CancelFunc) { cancel() }},
		"TLS, cancelled":   {true, func(cancel context.CancelFunc) { cancel() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln := listenSmall(t)
			over, got := make(chan struct{}), make(chan int64, 1)
			go func() {
				raw, err := ln.Accept()
				if err != nil {
					got <- -1
					return
				}
				defer raw.Close()
				if c.secure {
					if err := tls.Server(raw, lender.TLS).Handshake(); err != nil {
						got <- -1
						return
					}
				}
				<-over
				_ = raw.SetReadDeadline(time.Now().Add(30 * time.Second))
				n, _ := io.Copy(io.Discard, raw)
				got <- n
			}()

			url := "http://" + ln.Addr().String()
			if c.secure {
				url = "https://" + ln.Addr().String()
			}
			client := testClient(t, Config{BaseURL: url, Timeout: 3 * time.Second})
			if c.secure {
				client.conns.tls.RootCAs = trusting.RootCAs
			}
			line, err := client.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wire := line.conn.guarded.Conn.(*net.TCPConn)
			const filler = 512 << 10
			_ = wire.SetWriteBuffer(4 * filler)
			if _, err := wire.Write(make([]byte, filler)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			time.AfterFunc(time.Second, func() { c.end(cancel) })
			if _, err := line.Place(ctx, testOrder, soon()); ClassOf(err) != Ambiguous {
				t.Fatalf("Place: %v, want ambiguous: the kernel took the request", err)
			}
			close(over)
			if n := <-got; n < 0 || n > filler {
				t.Errorf("the vendor read %d bytes, of which %d are not the request: it came after its call had ended", n, filler)
			}
		})
	}
}

// listenSmall listens with a small receive window.
func listenSmall(t *testing.T) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }), err)
	}}
	ln, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// A connection whose exchange ended well is closed or kept, and not reset: load balancers
// count resets.
func TestConnThatEndedWellIsNotReset(t *testing.T) {
	for name, behave := range map[string]func(net.Conn, seen) bool{
		"kept, then closed":   answers(http.StatusOK, success),
		"closed with its use": answers(http.StatusOK, success, "Connection: close"),
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			v := newRawVendor(t, func(c net.Conn, r seen) bool {
				behave(c, r)
				_, err := c.Read(make([]byte, 1))
				ended <- err
				return false
			})
			client := testClient(t, Config{BaseURL: v.URL})
			if _, err := client.Place(t.Context(), testOrder, soon()); err != nil {
				t.Fatal(err)
			}
			client.Close()
			if err := <-ended; !errors.Is(err, io.EOF) {
				t.Errorf("the connection ended with %v, want its orderly end", err)
			}
		})
	}
}
