// The HTTP exchange (call.go, exchange.go, line.go and this file) is our own and
// not http.Transport's, for three reasons:
//
//   - http.Transport has two more goroutines per connection, and one of them may
//     still write when the call is over. Here the goroutine that makes the call
//     writes its request and reads its answer.
//   - http.Transport cannot open a connection before the request, nor reset one
//     after it. The first keeps the vendor's rate, the second keeps a request that
//     timed out from being executed later.
//   - A signed call costs 52 to 57 µs of CPU here, and 94 to 113 µs with
//     http.Transport and the same guard; on a busy machine 63 to 72 and 106 to 136
//     (BenchmarkCall, part of make bench-micro).
//
// Requests are written and responses are read by net/http (newEndpoint, readAnswer).

package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// maxHeaderBytes is far above what the vendor sends (net/http: 10 MiB).
	maxHeaderBytes = 64 << 10
	// idleTimeout is how long a connection is kept without use. Many servers close
	// it after 5 s, and a request that meets the close is ambiguous: so the client
	// closes it first.
	idleTimeout = 4 * time.Second

	defaultMaxConns = 64
)

// conns is a pool of connections to the vendor: HTTP/1.1, no proxy, kept alive
// between calls. One goroutine at a time has a connection.
type conns struct {
	dial    func(ctx context.Context, network, addr string) (net.Conn, error) // tests replace it
	addr    string
	tls     *tls.Config // nil: plain HTTP
	maxIdle int

	mu     sync.Mutex
	idle   []*conn     // the one used last is at the end
	pruner *time.Timer // nil: nothing is idle
	closed bool
}

func newConns(base *url.URL, maxIdle int) *conns {
	if maxIdle == 0 {
		maxIdle = defaultMaxConns
	}
	c := &conns{dial: new(net.Dialer).DialContext, maxIdle: maxIdle}
	port := "80"
	if base.Scheme == "https" {
		port, c.tls = "443", &tls.Config{ServerName: base.Hostname()}
	}
	if p := base.Port(); p != "" {
		port = p
	}
	c.addr = net.JoinHostPort(base.Hostname(), port)
	return c
}

// conn is one connection. Its guard lies below TLS.
type conn struct {
	net.Conn
	guarded *guardedConn
	in      *bufio.Reader // reads from limited
	limited io.LimitedReader
	used    time.Time // the last use, by the wall clock: the monotonic one stands still while a machine is suspended
}

// get returns an idle connection that is ready, or else a new one.
func (c *conns) get(ctx context.Context) (*conn, error) {
	for kept := c.pop(); kept != nil; kept = c.pop() {
		if canPoll && kept.ready() {
			return kept, nil
		}
		_ = kept.Close()
	}
	return c.connect(ctx)
}

// pop takes the idle connection that was used last; nil: there is none.
func (c *conns) pop() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle)
	if n == 0 {
		return nil
	}
	kept := c.idle[n-1]
	c.idle[n-1] = nil
	c.idle = c.idle[:n-1]
	return kept
}

func (c *conns) connect(ctx context.Context) (*conn, error) {
	raw, err := c.dial(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	guarded := &guardedConn{Conn: raw}
	opened := &conn{Conn: guarded, guarded: guarded}
	if c.tls != nil {
		secure := tls.Client(guarded, c.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		opened.Conn = secure
	}
	opened.limited.R = opened.Conn
	opened.in = bufio.NewReader(&opened.limited)
	opened.touch()
	if !opened.ready() {
		_ = raw.Close()
		return nil, errors.New("the vendor closed a new connection, or sent unsolicited data on it")
	}
	return opened, nil
}

// touch notes that the connection is used now.
func (c *conn) touch() { c.used = time.Now().Round(0) }

// ready reports whether a request can be sent: the vendor has not closed the
// connection, it was not idle for too long, and no unsolicited data arrived. It
// reads what has arrived, without waiting: TLS may have read ahead, and its own
// messages (session tickets) are not data.
func (c *conn) ready() bool {
	if time.Since(c.used) >= idleTimeout {
		return false
	}
	c.limited.N = 1
	_ = c.guarded.Conn.SetReadDeadline(time.Time{}) // the last call's may have passed, and would hide what has arrived
	c.guarded.polling = true
	_, err := c.in.Peek(1)
	c.guarded.polling = false
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// put keeps a connection for another call, or closes it if enough are kept.
func (c *conns) put(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= c.maxIdle {
		_ = conn.Close()
		return
	}
	at := len(c.idle)
	for at > 0 && c.idle[at-1].used.After(conn.used) { // a line may have been released without use, after a while
		at--
	}
	c.idle = slices.Insert(c.idle, at, conn)
	if c.pruner == nil {
		c.pruner = time.AfterFunc(idleTimeout, c.prune)
	}
}

// prune closes the connections that were idle for too long.
func (c *conns) prune() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.idle) > 0 {
		left := idleTimeout - time.Since(c.idle[0].used)
		if left > 0 {
			c.pruner.Reset(min(left, idleTimeout)) // the clock may have been set back
			return
		}
		_ = c.idle[0].Close()
		c.idle = append(c.idle[:0], c.idle[1:]...)
	}
	c.pruner = nil
}

// close closes the idle connections now, and the others after their use.
func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, kept := range c.idle {
		_ = kept.Close()
	}
	c.idle = nil
}

// readAnswer reads the answer to a POST. More reports whether another request may
// follow on this connection.
func (c *conn) readAnswer() (a answer, more bool, err error) {
	resp, err := c.readHeader()
	if err != nil {
		return answer{}, false, err
	}
	a = answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return a, false, nil // what follows is not HTTP, and has no end
	}
	// One byte more than allowed shows that a body is too large. The body is not
	// closed, which would read the rest of it: the caller closes the connection.
	c.limited.N = math.MaxInt64
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes+1))
	if err != nil {
		return answer{}, false, fmt.Errorf("HTTP %d: read the body: %w", a.status, err)
	}
	return a, !resp.Close && len(a.body) <= maxBodyBytes && c.in.Buffered() == 0, nil
}

// readHeader reads the status line and the header of the final response.
func (c *conn) readHeader() (*http.Response, error) {
	c.limited.N = maxHeaderBytes
	post := &http.Request{Method: http.MethodPost}
	for {
		resp, err := http.ReadResponse(c.in, post)
		switch {
		case err != nil && c.limited.N <= 0:
			return nil, fmt.Errorf("headers of more than %d bytes", maxHeaderBytes)
		case err != nil:
			return nil, err
		case resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, nil // an informational response is followed by another
		}
	}
}
