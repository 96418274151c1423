package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipedVendor answers every request with a success, on pipes. It notes when
// each of its connections was closed.
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

// placeMany makes n calls at once, each of which has a connection of its own.
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
		client.conns.dial = v.dial
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
		time.Sleep(maxIdle - time.Second)
		start := time.Now()
		placeMany(t, client, 1)
		if v.dialed != 3 {
			t.Errorf("%d connections, want one of those that were kept to be used", v.dialed)
		}
		time.Sleep(10 * maxIdle)
		synctest.Wait()
		if len(v.closed) != 3 {
			t.Fatalf("%d closed, want all", len(v.closed))
		}
		if unused, used := v.closed[1].Sub(start), v.closed[2].Sub(start); unused != time.Second || used != maxIdle {
			t.Errorf("closed %v and %v later, want %v after their last use", unused, used, maxIdle)
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

// What the vendor does to a connection that nobody uses is seen before the next
// request goes out on it.
func TestConnThatIsOverIsNotUsed(t *testing.T) {
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
				for kept := client.conns.idle[0]; quiet(kept.guarded.Conn); { // until it has come over
					time.Sleep(time.Millisecond)
				}
			}
			if conns, _ := v.received(); conns != 20 {
				t.Errorf("%d connections for 20 calls, want one for each", conns)
			}
		})
	}
}

// A call that was given up leaves no connection behind that another could meet
// half read.
func TestConnOfACallThatWasGivenUpIsClosed(t *testing.T) {
	v := newRawVendor(t, func(c net.Conn, r seen) bool {
		if len(r.body) == 0 {
			return false
		}
		return hangsAfter("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+success)(c, r)
	})
	client := testClient(t, Config{BaseURL: v.URL, Timeout: 50 * time.Millisecond})
	for range 3 {
		if _, err := client.Place(t.Context(), testOrder, soon()); ClassOf(err) != Ambiguous {
			t.Errorf("%v, want ambiguous", err)
		}
	}
	if conns, _ := v.received(); conns != 3 || len(client.conns.idle) != 0 {
		t.Errorf("%d connections for 3 calls, %d kept, want 3 and none", conns, len(client.conns.idle))
	}
}
