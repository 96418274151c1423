package main

import (
	"net"
	"os"
	"sync"
	"time"
)

var (
	// gatherWindow is how far apart two writes to NATS are at least. What the
	// orders in progress send within it goes out together: each write costs the
	// worker and the server more than a message does.
	gatherWindow = func() time.Duration { d, _ := time.ParseDuration(os.Getenv("GW")); return d }()
)
const (
	// gatherMost is how much is gathered. Past it Write waits until it has left.
	gatherMost = 64 << 10
	// gatherTimeout is how long one write may take, nats.go's own default.
	gatherTimeout = time.Minute
)

// gatherDialer dials connections that gather.
type gatherDialer struct{ net.Dialer }

func (d *gatherDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	g := &gatheredConn{Conn: conn, kick: make(chan struct{}, 1), closed: make(chan struct{})}
	go g.run()
	return g, nil
}

// gatheredConn is a connection whose writes go out together, one gatherWindow
// after the last at the earliest; after a pause at once. A write that fails
// closes it, so whoever reads from it sees that too.
type gatheredConn struct {
	net.Conn
	kick   chan struct{} // something is pending
	closed chan struct{}
	end    sync.Once

	leaving sync.Mutex // held while a write is under way
	spare   []byte

	mu      sync.Mutex
	pending []byte
	err     error // of the write that failed
}

func (g *gatheredConn) Write(p []byte) (int, error) {
	g.mu.Lock()
	g.pending = append(g.pending, p...)
	full, err := len(g.pending) >= gatherMost, g.err
	g.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case full:
		return len(p), g.flush()
	}
	select {
	case g.kick <- struct{}{}:
	default: // it has been told
	}
	return len(p), nil
}

func (g *gatheredConn) run() {
	for {
		select {
		case <-g.kick:
			_ = g.flush() // Write and the reader will see
			time.Sleep(gatherWindow)
		case <-g.closed:
			return
		}
	}
}

func (g *gatheredConn) flush() error {
	g.leaving.Lock()
	defer g.leaving.Unlock()
	g.mu.Lock()
	out, err := g.pending, g.err
	g.pending = g.spare[:0]
	g.mu.Unlock()
	if err == nil && len(out) > 0 {
		_ = g.Conn.SetWriteDeadline(time.Now().Add(gatherTimeout))
		if _, err = g.Conn.Write(out); err != nil {
			g.mu.Lock()
			g.err = err
			g.mu.Unlock()
			_ = g.Conn.Close()
		}
	}
	g.spare = out
	return err
}

// SetWriteDeadline does nothing: no Write here waits, but for flush.
func (g *gatheredConn) SetWriteDeadline(time.Time) error { return nil }

// Close sends what is pending.
func (g *gatheredConn) Close() error {
	g.end.Do(func() { close(g.closed); _ = g.flush() })
	return g.Conn.Close()
}
