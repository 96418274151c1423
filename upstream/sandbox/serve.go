package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Times of Serve.
const (
	readHeaderTimeout = 10 * time.Second // no limit for the whole request: it would cut Hang and Delay short
	closeTimeout      = 5 * time.Second  // for answers in progress when ctx ends
)

// Serve answers calls on l until ctx ends. Then it closes l and the vendor (see
// Close: what hangs is ended), lets answers in progress be finished within 5 s, and
// returns nil. It returns an error when l fails, or when that time was not enough.
func (v *Vendor) Serve(ctx context.Context, l net.Listener) error {
	var unused sync.Map // net.Conn: those that have not sent a byte
	server := &http.Server{
		Handler:           v,
		ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog:          log.New(io.Discard, "", 0), // broken connections are what it is for
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch {
			case state != http.StateNew:
				unused.Delete(conn)
			case ctx.Err() != nil:
				_ = conn.Close()
			default:
				unused.Store(conn, nil)
			}
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()

	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("serve the sandbox on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	v.Close()
	// Shutdown would wait 5 s for these, which http.Transport makes in its haste.
	unused.Range(func(conn, _ any) bool {
		_ = conn.(net.Conn).Close()
		return true
	})
	soft, stop := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer stop()
	if late := server.Shutdown(soft); late != nil {
		err = errors.Join(err, fmt.Errorf("close the sandbox on %s: %w", l.Addr(), late), server.Close())
	}
	return err
}
