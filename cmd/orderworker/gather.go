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
	gatherClose   = time.Second // the last one
)

// gatherDialer dials connections that gather.
type gatherDialer struct{ net.Dialer }

func (d *gatherDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return gather(conn), nil
}

func gather(conn net.Conn) *gatheredConn {
	g := &gatheredConn{Conn: conn, kick: make(chan struct{}, 1), leaving: make(chan struct{}, 1), closed: make(chan struct{})}
	go g.run()
	return g
}

// gatheredConn is a connection whose writes go out together, one gatherWindow
// after the last at the earliest; after a pause at once. A write that fails
// closes it, so whoever reads from it sees that too.
type gatheredConn struct {
	net.Conn
	kick   chan struct{} // something is pending
	closed chan struct{}
	end    sync.Once

	leaving chan struct{} // full while a write is under way
	spare   []byte        // what has left, to be filled anew

	mu      sync.Mutex
	pending []byte
	err     error // of the write that failed
}

// Write takes p along. Its error is of an earlier write, and then p was not taken.
func (g *gatheredConn) Write(p []byte) (int, error) {
	g.mu.Lock()
	err := g.err
	if err == nil {
		g.pending = append(g.pending, p...)
	}
	full := len(g.pending) >= gatherMost
	g.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case full:
		return len(p), g.flush(gatherTimeout)
	}
	select {
	case g.kick <- struct{}{}:
	default: // it has been told
	}
	return len(p), nil
}

// run writes what is pending, until the connection is closed.
func (g *gatheredConn) run() {
	for {
		select {
		case <-g.kick:
			_ = g.flush(gatherTimeout) // the next Write and the reader see it
		case <-g.closed:
			return
		}
		select {
		case <-time.After(gatherWindow):
		case <-g.closed:
			return
		}
	}
}

// flush writes what is pending now.
func (g *gatheredConn) flush(timeout time.Duration) error {
	g.leaving <- struct{}{}
	defer func() { <-g.leaving }()
	g.mu.Lock()
	out, err := g.pending, g.err
	g.pending = g.spare[:0]
	g.mu.Unlock()
	g.spare = out
	if err != nil || len(out) == 0 {
		return err
	}
	_ = g.Conn.SetWriteDeadline(time.Now().Add(timeout))
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
	g.err = err
}

// SetWriteDeadline does nothing: flush has its own.
func (g *gatheredConn) SetWriteDeadline(time.Time) error { return nil }

// Close sends what is pending, if that takes no longer than gatherClose.
func (g *gatheredConn) Close() error {
	g.end.Do(func() {
		close(g.closed)
		_ = g.Conn.SetWriteDeadline(time.Now().Add(gatherClose)) // of a write under way
		_ = g.flush(gatherClose)
		g.fail(net.ErrClosed)
	})
	return g.Conn.Close()
}
