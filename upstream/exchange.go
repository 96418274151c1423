package upstream

import (
	"errors"
	"net"
	"os"
	"time"
)

var (
	errTooLate      = errors.New("send-by time has passed")
	errExchangeOver = errors.New("the exchange is over")
)

// exchange authorizes one request to write to its connection until sendBy or
// finish, whichever comes first. After that not one byte of the request leaves. It
// counts the bytes that left, because only a request without a single one has
// certainly bought nothing. It belongs to one goroutine.
type exchange struct {
	sendBy time.Time // without a monotonic reading: see late
	over   bool
	wrote  int64 // bytes that the kernel took
}

func newExchange(sendBy time.Time) *exchange {
	return &exchange{sendBy: sendBy.Round(0)}
}

// late reports whether sendBy has passed, by the wall clock. The monotonic clock
// stands still while a machine is suspended: by it, a request could leave hours
// after sendBy.
func (x *exchange) late() bool { return time.Now().Round(0).After(x.sendBy) }

func (x *exchange) finish() { x.over = true }

// guardedConn is a connection to which only the current exchange may write. It
// lies below TLS, so it stops and counts the bytes that really leave. Before the
// first exchange it passes every write: that is the TLS handshake.
//
// An exchange stays current until the next one begins, so nothing leaves between
// two requests, not even a TLS alert.
type guardedConn struct {
	net.Conn
	current *exchange
	polling bool // Read does not wait
}

// begin makes x the current exchange. Its writes end at until, or at sendBy if
// that is earlier.
func (g *guardedConn) begin(x *exchange, until time.Time) {
	// The deadline ends a write that blocks. It is monotonic, so it does not
	// replace the wall clock that Write looks at.
	if x.sendBy.Before(until) {
		until = x.sendBy
	}
	_ = g.Conn.SetWriteDeadline(until)
	g.current = x
}

// Write writes p if the current exchange may still write.
func (g *guardedConn) Write(p []byte) (int, error) {
	x := g.current
	switch {
	case x == nil:
		return g.Conn.Write(p)
	case x.over:
		return 0, errExchangeOver
	case x.late():
		return 0, errTooLate
	}
	n, err := g.Conn.Write(p)
	x.wrote += int64(n)
	return n, err
}

// Read reads what has arrived. While polling it does not wait for more, but returns
// os.ErrDeadlineExceeded, after which a tls.Conn can go on reading.
func (g *guardedConn) Read(p []byte) (int, error) {
	if g.polling && quiet(g.Conn) {
		return 0, os.ErrDeadlineExceeded
	}
	return g.Conn.Read(p)
}

// reset closes the connection, and makes the kernel discard what it has not sent
// yet. After a plain close the kernel goes on sending: a request was executed
// seconds after its call had timed out. A tls.Conn's Close does the same.
func (g *guardedConn) reset() {
	if tcp, ok := g.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = g.Conn.Close()
}
