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
	readHeaderTimeout = 10 * time.Second // there is no limit for the whole request, which would end Hang and Delay
	closeTimeout      = 5 * time.Second  // for answers in progress after ctx has ended
)

// Serve serves the vendor on l until ctx ends. Then it closes l and the vendor (see
// Close), and waits up to 5 s for answers in progress. It returns an error if l fails,
// or if that time was not enough.
func (v *Vendor) Serve(ctx context.Context, l net.Listener) error {
	var unused sync.Map // the connections (net.Conn) that have not sent a byte
	server := &http.Server{
		Handler:           v,
		ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog:          log.New(io.Discard, "", 0), // a sandbox breaks connections on purpose
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
	// Shutdown would wait 5 s for the connections that http.Transport opens in advance.
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
