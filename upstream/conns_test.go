package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipedVendor answers every request with a success, on net.Pipes. It notes when each
// of its connections was closed.
type pipedVendor struct {
	mu     sync.Mutex
	dialed int
	closed []time.Time
}

func (v *pipedVendor) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	v.mu.Lock()
	v.dialed++
	v.mu.Unlock()
	raw := rawVendor{behave: answers(http.StatusOK, success)}
	go func() {
		raw.serve(far, func(c net.Conn) net.Conn { return c })
		v.mu.Lock()
		defer v.mu.Unlock()
		v.closed = append(v.closed, time.Now())
	}()
	return near, nil
}

// placeMany makes n calls at once, each on its own connection.
func placeMany(t *testing.T, c *Client, n int) {
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			if _, err := c.Place(t.Context(), testOrder, soon()); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	synctest.Wait()
}

func TestConnsAreKeptForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := testClient(t, Config{BaseURL: "http://vendor", MaxConns: 2})
		v := new(pipedVendor)
		gate := make(chan struct{})
		client.conns.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			<-gate // so that no call is over before the last has begun
			return v.dial(ctx, network, addr)
		}
		go func() { synctest.Wait(); close(gate) }()
		placeMany(t, client, 3)
		if v.dialed != 3 || len(v.closed) != 1 {
			t.Fatalf("%d connections for 3 calls at once, %d closed, want 3 and the one too many closed", v.dialed, len(v.closed))
		}
		time.Sleep(idleTimeout - time.Second)
		start := time.Now()
		placeMany(t, client, 1)
		if v.dialed != 3 {
			t.Errorf("%d connections, want one of those that were kept to be used", v.dialed)
		}
		time.Sleep(10 * idleTimeout)
		synctest.Wait()
		if len(v.closed) != 3 {
			t.Fatalf("%d closed, want all", len(v.closed))
		}
		if unused, used := v.closed[1].Sub(start), v.closed[2].Sub(start); unused != time.Second || used != idleTimeout {
			t.Errorf("closed %v and %v later, want %v after their last use", unused, used, idleTimeout)
		}
		placeMany(t, client, 1)
		if v.dialed != 4 {
			t.Errorf("%d connections, want a new one", v.dialed)
		}
		client.Close()
		synctest.Wait()
		if len(v.closed) != 4 {
			t.Errorf("%d closed, want all after Close", len(v.closed))
		}
	})
}

// What the vendor does to an idle connection is noticed before the next request is
// sent on it.
func TestBrokenConnIsNotUsed(t *testing.T) {
	for name, last := range map[string]func(net.Conn){
		"closed":        func(c net.Conn) { _ = c.Close() },
		"reset":         func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() },
		"spoken on":     func(c net.Conn) { _, _ = io.WriteString(c, httpText(408, "")) },
		"closed by 408": func(c net.Conn) { _, _ = io.WriteString(c, httpText(408, "")); _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			server := make(chan net.Conn, 100)
			v := newRawVendor(t, func(c net.Conn, r seen) bool {
				lives := answers(http.StatusOK, success)(c, r)
				server <- c
				return lives
			})
			client := testClient(t, Config{BaseURL: v.URL})
			for i := range 20 {
				if _, err := client.Place(t.Context(), testOrder, soon()); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
				last(<-server)
				waitUntil(t, "the client can see it", func() bool {
					client.conns.mu.Lock()
					defer client.conns.mu.Unlock()
					return len(client.conns.idle) == 0 || !quiet(client.conns.idle[0].guarded.Conn)
				})
			}
			if conns, _ := v.received(); conns != 20 {
				t.Errorf("%d connections for 20 calls, want one for each", conns)
			}
		})
	}
}

// Over TLS, data that came in one segment with an answer is no longer in the kernel.
func TestUnsolicitedAnswerOverTLSIsNotUsed(t *testing.T) {
	for name, stray := range map[string]func(*tls.Conn){
		"an answer": func(c *tls.Conn) { _, _ = io.WriteString(c, httpText(408, "")) },
		"a goodbye": func(c *tls.Conn) { _ = c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			ready := make(chan struct{})
			close(ready)
			v, trusting := newTLSVendor(t, func(c net.Conn, r seen) bool {
				secure := c.(*tls.Conn)
				wire := secure.NetConn().(*corkedConn)
				wire.cork()
				answers(http.StatusOK, success)(c, r)
				stray(secure)
				wire.uncork()
				return true
			}, ready)
			client := testClient(t, Config{BaseURL: v.URL})
			client.conns.tls.RootCAs = trusting.RootCAs
			for i := range 20 {
				if _, err := client.Place(t.Context(), testOrder, soon()); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
			}
			if conns, _ := v.received(); conns != 20 || len(v.requests()) != 20 {
				t.Errorf("%d connections and %d requests for 20 calls, want one of each for each", conns, len(v.requests()))
			}
		})
	}
}

// A body that is too large is not read to its end.
func TestBodyTooLargeEndsTheCall(t *testing.T) {
	v := newRawVendor(t, hangsAfter("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"+strings.Repeat(" ", maxBodyBytes+1)))
	client := testClient(t, Config{BaseURL: v.URL}) // whose time-out the test does not live to see
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("it waited for the rest"))
	defer cancel()
	if _, err := client.Place(ctx, testOrder, soon()); ClassOf(err) != Ambiguous || ctx.Err() != nil {
		t.Errorf("Place: %v (%v), want ambiguous at once", err, context.Cause(ctx))
	}
	if len(client.conns.idle) != 0 {
		t.Error("the connection was kept, with the rest of the answer to come")
	}
}

// A call that was given up leaves no connection with half an answer on it.
func TestConnOfACancelledCallIsClosed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	v := newRawVendor(t, func(c net.Conn, _ seen) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+success)
		cancel()
		return true
	})
	client := testClient(t, Config{BaseURL: v.URL})
	if _, err := client.Place(ctx, testOrder, soon()); ClassOf(err) != Ambiguous {
		t.Errorf("%v, want ambiguous", err)
	}
	if len(client.conns.idle) != 0 {
		t.Error("the connection was kept, with the rest of an answer to come")
	}
}
