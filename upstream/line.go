package upstream

import (
	"context"
	"errors"
	"fmt"
)

// Line is one connection to the vendor that is reserved for one request. It ends
// with Place, Lookup or Release. It belongs to one goroutine.
type Line struct {
	client *Client
	conn   *conn // nil: the line has ended
}

// errLineEnded says that a Line was used after its end.
var errLineEnded = errors.New("the connection was used or released before")

// errStale says that a connection was lost before its request was sent.
var errStale = errors.New("the connection is not usable any more: the vendor closed it, sent unsolicited data, or it was idle for too long")

// Connect returns a line on a connection that was kept, or on a new one, whose TLS
// handshake is then done. It waits for a new one until ctx ends or the client's
// time-out has passed. Connect before waiting for a slot of the quota: then nothing
// slow lies between the slot and the request.
//
// The error is always an *Error of class Unreachable.
func (c *Client) Connect(ctx context.Context) (*Line, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, context.DeadlineExceeded)
	defer cancel()
	err := ctx.Err()
	if err == nil {
		var conn *conn
		if conn, err = c.conns.get(ctx); err == nil {
			return &Line{client: c, conn: conn}, nil
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	hide := redactor{secret: string(*c.secret.Load())}
	return nil, &Error{Class: Unreachable, Err: hide.err(fmt.Errorf("connect: %w", err))}
}

// Reconnect returns line if it is ready. Otherwise it releases line, which is the
// zero L before the first connection, and returns what connect returns. L is *Line,
// or an interface that has its methods.
func Reconnect[L interface {
	comparable
	Ready() bool
	Release()
}](ctx context.Context, line L, connect func(context.Context) (L, error)) (L, error) {
	var none L
	switch {
	case line == none:
	case line.Ready():
		return line, nil
	default:
		line.Release()
	}
	return connect(ctx)
}

// Ready reports whether a request can be sent on the line: the vendor has not
// closed the connection, it sent no unsolicited data, and the connection was not
// idle for too long. If not, release the line and connect again. Ready does not
// block.
func (l *Line) Ready() bool { return l != nil && l.conn != nil && l.conn.ready() }

// Release ends the line without a request, and keeps its connection for another.
// After Place or Lookup it does nothing.
func (l *Line) Release() {
	if l == nil {
		return
	}
	conn := l.end()
	switch {
	case conn == nil:
	case conn.ready():
		l.client.conns.put(conn)
	default:
		_ = conn.Close()
	}
}

// end ends the line, and returns its connection; nil: it had ended before.
func (l *Line) end() *conn {
	conn := l.conn
	l.conn = nil
	return conn
}
