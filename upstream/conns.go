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
// and reads the answer itself, so that nothing is written behind its back. An
// http.Transport has two more goroutines for each connection: it writes on when
// the call is over, and costs the worker a sixth more CPU time.
type conns struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error) // tests have their own
	addr string
	tls  *tls.Config // nil: plain HTTP
	most int         // kept alive

	mu     sync.Mutex
	idle   []*conn // the one used last is the last
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
	since   time.Time // it is idle
}

// get is a connection that was kept, or else a new one, which is waited for
// until the call is over, and not past sendBy: there is nothing to gain after it.
func (c *conns) get(ctx context.Context, until, sendBy time.Time) (*conn, error) {
	for kept := c.take(); kept != nil; kept = c.take() {
		if looks && time.Since(kept.since) < maxIdle && quiet(kept.guarded.Conn) && kept.drained() {
			return kept, nil
		}
		_ = kept.Close() // the vendor has closed it, or said what nobody asked
	}
	over := context.DeadlineExceeded
	if sendBy.Before(until) {
		until, over = sendBy, errTooLate
	}
	ctx, cancel := context.WithDeadlineCause(ctx, until, over)
	defer cancel()
	opened, err := c.open(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return opened, err
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
	// After a TLS handshake there may be more of it on the wire.
	if c.tls == nil && !quiet(raw) || !opened.drained() {
		_ = raw.Close()
		return nil, errors.New("the vendor spoke before it was asked")
	}
	return opened, nil
}

// drained says that nothing is left of what came over the wire: TLS reads ahead.
func (c *conn) drained() bool {
	c.limited.N = 1
	_ = c.SetReadDeadline(time.Unix(1, 0)) // do not look at the wire
	_, err := c.in.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// keep takes a connection back for the next call.
func (c *conns) keep(used *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= c.most {
		_ = used.Close()
		return
	}
	used.since = time.Now().Round(0) // the monotonic clock stands still while a machine is suspended
	c.idle = append(c.idle, used)
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

// close closes what is not in use, and the rest when it has been used.
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
