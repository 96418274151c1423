package upstream

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errTooLate     = errors.New("send-by time has passed")
	errAttemptOver = errors.New("the attempt is over")
)

// attempt is the licence of one request to write on a connection. It ends at
// sendBy or with finish, whichever comes first; from then on not one byte of
// the request leaves. It counts what was written, because "nothing was written"
// is the only proof that nothing was bought.
type attempt struct {
	sendBy time.Time // without a monotonic reading: see late

	mu      sync.Mutex
	over    bool
	writing int   // writes that have begun and not ended
	wrote   int64 // bytes that the kernel took
}

func newAttempt(sendBy time.Time) *attempt {
	return &attempt{sendBy: sendBy.Round(0)}
}

// late compares wall clocks: the monotonic clock stands still while a machine
// is suspended, and would let a request out hours after sendBy.
func (a *attempt) late() bool { return time.Now().Round(0).After(a.sendBy) }

// begin asks for leave to write.
func (a *attempt) begin() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.over:
		return errAttemptOver
	case a.late():
		return errTooLate
	}
	a.writing++
	return nil
}

// end says that n bytes of a begun write left.
func (a *attempt) end(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writing--
	a.wrote += int64(n)
}

// finish ends the attempt and says whether any byte left, or may still: a write
// that is under way in net/http's own goroutine counts as one that left.
func (a *attempt) finish() (written bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	return a.wrote > 0 || a.writing > 0
}

// guardedConn is a connection on which only the current attempt may write. It
// lies under TLS, so it counts and stops what really leaves. Before the first
// attempt it lets writes pass: those are the TLS handshake.
//
// An attempt stays the current one until the next request takes the connection,
// so nothing (not even a TLS alert) leaves between two requests.
type guardedConn struct {
	net.Conn
	current atomic.Pointer[attempt]
}

// guard makes a the current attempt of conn, as httptrace.GotConn reports it. A
// connection that cannot be guarded is closed before anything is written on it.
func guard(conn net.Conn, a *attempt) {
	raw := conn
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = tls.NetConn()
	}
	g, ok := raw.(*guardedConn)
	if !ok {
		_ = conn.Close()
		return
	}
	// A write that blocks ends at sendBy too. This timer is monotonic, so it is
	// only the second lock: the first is begin.
	_ = g.Conn.SetWriteDeadline(a.sendBy)
	g.current.Store(a)
}

// Write writes p if the current attempt may still write.
func (g *guardedConn) Write(p []byte) (int, error) {
	a := g.current.Load()
	if a == nil {
		return g.Conn.Write(p)
	}
	if err := a.begin(); err != nil {
		return 0, err
	}
	n, err := g.Conn.Write(p)
	a.end(n)
	return n, err
}
