package demo

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/rs/zerolog"

	"orderworker/cmd/internal/console"
	"orderworker/cmd/internal/operator"
)

// consoleToken is what changes in the demo's console need. It is no secret: the demo says
// it, and nothing real is bought.
const consoleToken = "demo"

// serveConsole serves the console of the demo's servers at addr, until the demo stops.
func (d *demo) serveConsole(soft context.Context, out io.Writer, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s := *d.settings
	s.NATSURL, s.RedisURL = d.nats.ClientURL(), "redis://"+d.redis.Addr()
	desk, err := operator.Open(soft, &s)
	if err != nil {
		_ = listener.Close()
		return err
	}
	fmt.Fprintf(out, "Console: http://%s (the token for changes is %q)\n", listener.Addr(), consoleToken)
	ctx, stop := context.WithCancel(context.WithoutCancel(soft))
	d.closers = append(d.closers, stop)
	d.serving.Go(func() {
		defer desk.Close()
		d.failed(console.Serve(ctx, listener, console.Config{Token: consoleToken}, desk, zerolog.Nop()))
	})
	return nil
}
