package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// errRefused marks an answer that no waiting will change: a wrong password, a
// missing permission, a server that will not do. It ends the program.
var errRefused = errors.New("refused")

const (
	firstWait = 250 * time.Millisecond
	longWait  = 5 * time.Second
)

// waitFor tries until the server called name answers, with growing waits, and
// returns nil then. It gives up with the error where that is errRefused, and
// with ctx's cause. Every other error is told to failed, which may be a gate's,
// and logged; at debug level where it is the last one again.
func waitFor(ctx context.Context, name string, log zerolog.Logger, failed func(error), try func(context.Context) error) error {
	said := ""
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		err := try(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errRefused):
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
