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
	// maxIdle closes a kept connection before the vendor does. Servers often do
	// so after 5 s, and a request that meets the close ends as ambiguous.
	maxIdle = 4 * time.Second

	defaultMaxConns = 64
)

// conns are the connections to the vendor: HTTP/1.1, no proxy, kept alive
// between calls. One goroutine has a connection at a time, writes its request
// and reads the answer itself, and closes or resets it.
//
// Why not http.Transport: it has two more goroutines for each connection, one of
// which may write when the call is over; it cannot be told to have a connection
// open before the request, nor to reset it after one; and it costs more. A signed
// call takes 52 to 57 µs of CPU time here, and 94 to 113 µs with http.Transport
// and the same guard.
type conns struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error) // tests have their own
	addr string
	tls  *tls.Config // nil: plain HTTP
	most int         // kept alive

	mu     sync.Mutex
	idle   []*conn // by their last use, the newest at the end
	tidy   *time.Timer
	closed bool
}

func newConns(base *url.URL, most int) *conns {
	if most == 0 {
		most = defaultMaxConns
	}
	c := &conns{dial: new(net.Dialer).DialContext, most: most}
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

// conn is one connection, for one goroutine at a time; its guard lies under TLS.
type conn struct {
	net.Conn
	guarded *guardedConn
	in      *bufio.Reader // of what limited lets through
	limited io.LimitedReader
	since   time.Time // of its last use, by the wall clock: the monotonic one stands still while a machine is suspended
}

// get returns a connection that was kept, or else a new one.
func (c *conns) get(ctx context.Context) (*conn, error) {
	for kept := c.take(); kept != nil; kept = c.take() {
		if looks && kept.ready() {
			return kept, nil
		}
		_ = kept.Close()
	}
	return c.open(ctx)
}

func (c *conns) take() *conn {
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

func (c *conns) open(ctx context.Context) (*conn, error) {
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
	opened.used()
	if !opened.ready() {
		_ = raw.Close()
		return nil, errors.New("the vendor closed a new connection, or sent unsolicited data on it")
	}
	return opened, nil
}

func (c *conn) used() { c.since = time.Now().Round(0) }

// ready reports whether a request may go out: the connection is open, was not
// idle for too long, and no data came that nobody asked for. It reads what has
// come, without waiting, because TLS reads ahead and has messages of its own
// (session tickets), which do not count.
func (c *conn) ready() bool {
	if time.Since(c.since) >= maxIdle {
		return false
	}
	c.limited.N = 1
	_ = c.guarded.Conn.SetReadDeadline(time.Time{}) // the last call's may be past, and would hide what has come
	c.guarded.polling = true
	_, err := c.in.Peek(1)
	c.guarded.polling = false
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// keep takes a connection back for the next call.
func (c *conns) keep(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= c.most {
		_ = conn.Close()
		return
	}
	at := len(c.idle)
	for at > 0 && c.idle[at-1].since.After(conn.since) { // it may have been reserved for a while, and not used
		at--
	}
	c.idle = slices.Insert(c.idle, at, conn)
	if c.tidy == nil {
		c.tidy = time.AfterFunc(maxIdle, c.prune)
	}
}

// prune closes what has been idle for too long.
func (c *conns) prune() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.idle) > 0 {
		left := maxIdle - time.Since(c.idle[0].since)
		if left > 0 {
			c.tidy.Reset(min(left, maxIdle)) // a clock may be set back
			return
		}
		_ = c.idle[0].Close()
		c.idle = append(c.idle[:0], c.idle[1:]...)
	}
	c.tidy = nil
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

// answer reads the answer to a POST, and says whether another request may
// follow on this connection.
func (c *conn) answer() (a answer, more bool, err error) {
	c.limited.N = maxHeaderBytes
	post := &http.Request{Method: http.MethodPost}
	resp, err := http.ReadResponse(c.in, post)
	for err == nil && resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols { // the answer follows
		resp, err = http.ReadResponse(c.in, post)
	}
	if err != nil {
		if c.limited.N <= 0 {
			err = fmt.Errorf("headers of more than %d bytes", maxHeaderBytes)
		}
		return answer{}, false, err
	}
	// The body is not closed, which would read the rest of it: it is read to its
	// end, or the connection is closed.
	a = answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return a, false, nil // what follows is not HTTP any more, and has no end
	}
	// One byte more than allowed: so a body that is too large can be told from
	// one that just fits.
	c.limited.N = math.MaxInt64
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes+1))
	if err != nil {
		return answer{}, false, fmt.Errorf("HTTP %d: read the body: %w", a.status, err)
	}
	return a, !resp.Close && len(a.body) <= maxBodyBytes && c.in.Buffered() == 0, nil
}
