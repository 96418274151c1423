package gather

import (
	"net"
	"sync"
	"time"
)

const (
	// window is the least time between two writes under load. What the orders in flight
	// send meanwhile is written together: a write costs the worker and the server more
	// than a message does.
	window = 250 * time.Microsecond
	// More than calm writes within span are a load, which lasts until there were fewer.
	// Without load each write is made by whoever calls Write: the goroutine and the
	// timer that gathering takes would cost more than it saves.
	calm = 32
	span = 16 * time.Millisecond
	// most is how many bytes are gathered. Beyond it Write waits until they are written.
	most = 64 << 10
	// writeTimeout is how long one write may take: nats.go's own default.
	writeTimeout = time.Minute
	// closeTimeout is how long all writes may take once the connection is being closed.
	closeTimeout = time.Second
)

// Dialer dials connections that gather their writes. Its Timeout is for each
// address of a name.
type Dialer struct{ net.Dialer }

// Dial connects to address.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	c, err := d.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}

// conn is a connection that writes at once while there is no load, and under load what
// it has gathered, one window after the write before. A write that fails closes it, so
// that a reader sees the failure too. It has a goroutine only under load, because
// nats.go forgets a connection that was refused without closing it.
type conn struct {
	net.Conn
	leaving chan struct{} // full while a write is under way
	spare   []byte        // what was written last; its memory is used again

	mu      sync.Mutex
	pending []byte
	running bool      // run is
	begun   time.Time // of the span in which writes are counted
	writes  int       // in it
	load    bool      // the span before had more than calm
	err     error     // of the write that failed
	end     time.Time // of all writes, once it is being closed
}

func newConn(c net.Conn) *conn {
	return &conn{Conn: c, leaving: make(chan struct{}, 1)}
}

// Write writes p or, under load, gathers it: then its error is that of an earlier write.
func (g *conn) Write(p []byte) (int, error) {
	g.mu.Lock()
	if err := g.err; err != nil {
		g.mu.Unlock()
		return 0, err
	}
	g.pending = append(g.pending, p...)
	if g.loaded() && !g.running {
		g.running = true
		go g.run()
	}
	now := !g.running || len(g.pending) >= most
	g.mu.Unlock()
	if now {
		return len(p), g.flush()
	}
	return len(p), nil
}

// loaded counts a write, and reports whether there is load.
func (g *conn) loaded() bool {
	if now := time.Now(); now.Sub(g.begun) > span {
		g.load = g.writes > calm
		g.begun, g.writes = now, 0
	}
	g.writes++
	return g.load || g.writes > calm
}

// run writes what is pending, until nothing came for one window.
func (g *conn) run() {
	for more := true; more; {
		err := g.flush() // the next Write and the reader see it
		time.Sleep(window)
		g.mu.Lock()
		more = len(g.pending) > 0 && err == nil
		g.running = more
		g.mu.Unlock()
	}
}

// flush writes what is pending now.
func (g *conn) flush() error {
	g.leaving <- struct{}{}
	defer func() { <-g.leaving }()
	g.mu.Lock()
	out, err := g.pending, g.err
	g.pending = g.spare[:0]
	g.spare = out
	if g.end.IsZero() {
		_ = g.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
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
func (g *conn) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
}

// Read reads from the connection. After a failed write it returns that one's error,
// which says more.
func (g *conn) Read(p []byte) (int, error) {
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

// SetWriteDeadline does nothing: flush sets deadlines of its own.
func (g *conn) SetWriteDeadline(time.Time) error { return nil }

// Close writes what is pending and closes the connection. It waits for writes until
// closeTimeout is over.
func (g *conn) Close() error {
	g.mu.Lock()
	if g.end.IsZero() {
		g.end = time.Now().Add(closeTimeout)
		_ = g.Conn.SetWriteDeadline(g.end)
	}
	g.mu.Unlock()
	_ = g.flush()
	g.fail(net.ErrClosed)
	return g.Conn.Close()
}
