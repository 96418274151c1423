package telemetry

import (
	"context"
	"errors"
	"sync/atomic"
)

// Gate is the readiness check of a server that may not be connected yet. It fails, with the
// reason, until Open is called with the check of the connection.
type Gate struct {
	ask atomic.Pointer[func(context.Context) error]
}

// Check is the gate's check.
func (g *Gate) Check(ctx context.Context) error {
	if ask := g.ask.Load(); ask != nil {
		return (*ask)(ctx)
	}
	return errors.New("not connected yet")
}

// Fail makes the check fail with err.
func (g *Gate) Fail(err error) { g.Open(func(context.Context) error { return err }) }

// Open makes ask the check.
func (g *Gate) Open(ask func(context.Context) error) { g.ask.Store(&ask) }
