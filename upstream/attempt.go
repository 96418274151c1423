package upstream

import (
	"errors"
	"net"
	"os"
	"time"
)

var (
	errTooLate     = errors.New("send-by time has passed")
	errAttemptOver = errors.New("the attempt is over")
)

// attempt authorizes one request to write to its connection until sendBy or
// finish, whichever comes first; after that not one byte of the request leaves.
// It counts the bytes, because "nothing was written" is the only proof that
// nothing was bought. It belongs to one goroutine.
type attempt struct {
	sendBy time.Time // without a monotonic reading: see late
	over   bool
	wrote  int64 // bytes that the kernel took
}

func newAttempt(sendBy time.Time) *attempt {
	return &attempt{sendBy: sendBy.Round(0)}
}

// late compares wall clocks: the monotonic clock stands still while a machine
// is suspended, and would let a request out hours after sendBy.
func (a *attempt) late() bool { return time.Now().Round(0).After(a.sendBy) }

func (a *attempt) finish() { a.over = true }

// guardedConn is a connection to which only the current attempt may write. It
// lies under TLS, so it counts and stops what really leaves. Before the first
// attempt it lets all writes pass: those are the TLS handshake.
//
// An attempt stays the current one until the next request takes the connection,
// so nothing (not even a TLS alert) leaves between two requests.
type guardedConn struct {
	net.Conn
	current *attempt
	polling bool // Read does not wait
}

// guard makes a the current attempt, of a call that ends at until.
func (g *guardedConn) guard(a *attempt, until time.Time) {
	// A write that blocks ends at sendBy too. This timer is monotonic, so it is
	// only the second lock: the first is in Write.
	if a.sendBy.Before(until) {
		until = a.sendBy
	}
	_ = g.Conn.SetWriteDeadline(until)
	g.current = a
}

// Write writes p if the current attempt may still write.
func (g *guardedConn) Write(p []byte) (int, error) {
	a := g.current
	switch {
	case a == nil:
		return g.Conn.Write(p)
	case a.over:
		return 0, errAttemptOver
	case a.late():
		return 0, errTooLate
	}
	n, err := g.Conn.Write(p)
	a.wrote += int64(n)
	return n, err
}

// Read reads what has come. While polling it returns os.ErrDeadlineExceeded,
// after which TLS can read on, instead of waiting for more.
func (g *guardedConn) Read(p []byte) (int, error) {
	if g.polling && quiet(g.Conn) {
		return 0, os.ErrDeadlineExceeded
	}
	return g.Conn.Read(p)
}

// reset closes the connection, and has the kernel throw away what it has not
// delivered. After a plain close, and no less after a tls.Conn's, it goes on
// sending: a request whose call had timed out was executed seconds later.
func (g *guardedConn) reset() {
	if tcp, ok := g.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = g.Conn.Close()
}
