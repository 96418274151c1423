package main

import (
	"net"
	"sync"
	"time"
)

const (
	// gatherWindow is how far apart two writes to NATS are at least. What the
	// orders in progress send meanwhile goes out together: a write costs the
	// worker and the server more than a message does.
	gatherWindow = 250 * time.Microsecond
	// gatherMost is how much is gathered. Past it Write waits until it has left.
	gatherMost = 64 << 10
	// gatherTimeout is how long one write may take: nats.go's own default.
	gatherTimeout = time.Minute
	gatherClose   = time.Second // once the connection is being closed
)

// gatherDialer dials connections that gather. Its Timeout is for each address
// of a name.
type gatherDialer struct{ net.Dialer }

func (d *gatherDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return gather(conn), nil
}

// gatheredConn is a connection whose writes go out together, one gatherWindow
// after the last at the earliest; after a pause at once. A write that fails
// closes it, so whoever reads from it sees that too. It has a goroutine only
// while there is something to write: nats.go forgets a connection that was
// refused without closing it.
type gatheredConn struct {
	net.Conn
	leaving chan struct{} // full while a write is under way
	spare   []byte        // what has left, to be filled anew

	mu      sync.Mutex
	pending []byte
	running bool
	err     error     // of the write that failed
	end     time.Time // of all writes, once it is being closed
}

func gather(conn net.Conn) *gatheredConn {
	return &gatheredConn{Conn: conn, leaving: make(chan struct{}, 1)}
}

// Write takes p along. Its error is of an earlier write, and then p was not taken.
func (g *gatheredConn) Write(p []byte) (int, error) {
	g.mu.Lock()
	if err := g.err; err != nil {
		g.mu.Unlock()
		return 0, err
	}
	g.pending = append(g.pending, p...)
	full, start := len(g.pending) >= gatherMost, !g.running
	g.running = true
	g.mu.Unlock()
	if start {
		go g.run()
	}
	if full {
		return len(p), g.flush()
	}
	return len(p), nil
}

// run writes what is pending, until nothing came for a gatherWindow.
func (g *gatheredConn) run() {
	for more := true; more; {
		err := g.flush() // the next Write and the reader see it
		time.Sleep(gatherWindow)
		g.mu.Lock()
		more = len(g.pending) > 0 && err == nil
		g.running = more
		g.mu.Unlock()
	}
}

// flush writes what is pending now.
func (g *gatheredConn) flush() error {
	g.leaving <- struct{}{}
	defer func() { <-g.leaving }()
	g.mu.Lock()
	out, err := g.pending, g.err
	g.pending = g.spare[:0]
	g.spare = out
	if g.end.IsZero() {
		_ = g.Conn.SetWriteDeadline(time.Now().Add(gatherTimeout))
	}
	g.mu.Unlock()
	if err != nil || len(out) == 0 {
		return err
	}
	if _, err = g.Conn.Write(out); err != nil {
		g.fail(err)
		_ = g.Conn.Close()
	}
	return err
}

// fail makes every later Write fail.
func (g *gatheredConn) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
}

// Read reads. Where a write has failed, its error says more.
func (g *gatheredConn) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.err != nil {
			err = g.err
		}
	}
	return n, err
}

// SetWriteDeadline does nothing: flush has its own.
func (g *gatheredConn) SetWriteDeadline(time.Time) error { return nil }

// Close sends what is pending, and waits for that and for a write under way
// until gatherClose is over.
func (g *gatheredConn) Close() error {
	g.mu.Lock()
	if g.end.IsZero() {
		g.end = time.Now().Add(gatherClose)
		_ = g.Conn.SetWriteDeadline(g.end)
	}
	g.mu.Unlock()
	_ = g.flush()
	g.fail(net.ErrClosed)
	return g.Conn.Close()
}
