package connect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// ErrRefused marks a failure that waiting does not change: a wrong password, a
// missing permission, a server that must not be used. It ends the program.
var ErrRefused = errors.New("refused")

const (
	firstWait = 250 * time.Millisecond
	longWait  = 5 * time.Second
)

// WaitFor calls try, with growing waits in between, until it returns nil. It gives
// up when the error is ErrRefused, and with ctx's cause when ctx ends. It passes every
// other error to failed and logs it, at debug level if it is the one before again.
func WaitFor(ctx context.Context, name string, log zerolog.Logger, failed func(error), try func(context.Context) error) error {
	said := ""
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		err := try(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrRefused):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("wait for %s: %w", name, context.Cause(ctx))
		}
		level := zerolog.WarnLevel
		if err.Error() == said {
			level = zerolog.DebugLevel
		}
		said = err.Error()
		log.WithLevel(level).Err(err).Str("server", name).Dur("again_in_ms", wait).Msg("waiting for the server")
		failed(err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", name, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}
