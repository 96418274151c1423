package upstream

import (
	"context"
	"errors"
	"fmt"
)

// Line is one open connection to the vendor, reserved for one request. It ends
// with Place, Lookup or Release, and belongs to one goroutine.
type Line struct {
	client *Client
	conn   *conn // nil: the line has ended
}

// errLineEnded says that a Line was used after its end.
var errLineEnded = errors.New("the connection was used or released before")

// errStale says that a connection was lost while it waited for its request.
var errStale = errors.New("the connection is not usable any more: the vendor closed it, sent unsolicited data, or it was idle for too long")

// Connect returns an open connection to the vendor, its TLS handshake done: one
// that was kept, or else a new one, for which it waits until ctx ends or the
// client's time-out is over. Nothing slow is then left between a slot of the
// quota and the wire.
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

// Ready reports whether a request can be sent on the connection: the vendor has
// not closed it or sent anything unasked, and it was not idle for too long. If
// not, Release it and connect again. It does not block.
func (l *Line) Ready() bool { return l != nil && l.conn != nil && l.conn.ready() }

// Release gives the connection back unused. After Place or Lookup it does nothing.
func (l *Line) Release() {
	if l == nil {
		return
	}
	conn := l.end()
	switch {
	case conn == nil:
	case conn.ready():
		l.client.conns.keep(conn)
	default:
		_ = conn.Close()
	}
}

func (l *Line) end() *conn {
	conn := l.conn
	l.conn = nil
	return conn
}
