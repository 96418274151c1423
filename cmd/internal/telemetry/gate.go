package telemetry

import (
	"context"
	"errors"
	"sync/atomic"
)

// Gate is the check of a server that is perhaps not connected yet. Until Open gives
// it the check of the connection, it fails with the reason.
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
