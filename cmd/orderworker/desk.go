package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

// deskCmd is what the commands have in common that look at a whole deployment.
type deskCmd struct {
	Timeout time.Duration `name:"timeout" default:"15s" help:"How long to wait for the servers before giving up."`
	config.Settings
}

// BeforeReset hides the settings; the help has them in one paragraph. Those that the
// commands have no use for are not read.
func (c *deskCmd) BeforeReset(command *kong.Path) error {
	config.Narrow(command, deskSettings...)
	config.Hide(command)
	return nil
}

// deskSettings are the settings of other groups that these commands read.
var deskSettings = []string{"UPSTREAM_TIMEOUT", "UPSTREAM_RECONCILE", "MAX_ATTEMPTS"}

// Check reports what is wrong with what every such command uses.
func (c *deskCmd) Check(f *config.Faults) {
	config.Positive(f, "--timeout", c.Timeout)
	c.CheckServers(f)
	config.Positive(f, "UPSTREAM_TIMEOUT", c.UpstreamTimeout)
	c.CheckPolicy(f)
	config.AtLeast(f, "MAX_ATTEMPTS", c.MaxAttempts, 1, "")
}

// open returns a desk and a context with the command's time. done ends both. If NATS is
// away, there is time left for Redis.
func (c *deskCmd) open(soft context.Context) (ctx context.Context, d *operator.Desk, done func(), err error) {
	return c.openWithin(soft, c.Timeout/3)
}

// openNATS is open for a command that can do nothing without NATS.
func (c *deskCmd) openNATS(soft context.Context) (ctx context.Context, d *operator.Desk, done func(), err error) {
	return c.openWithin(soft, c.Timeout)
}

// openWithin is open, with this much time to reach NATS.
func (c *deskCmd) openWithin(soft context.Context, reach time.Duration) (ctx context.Context, d *operator.Desk, done func(), err error) {
	ctx, cancel := context.WithTimeoutCause(soft, c.Timeout, fmt.Errorf("gave up after --timeout %v", c.Timeout))
	reaching, stop := context.WithTimeout(ctx, reach)
	defer stop()
	d, err = operator.Open(reaching, &c.Settings)
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	return ctx, d, func() { cancel(); d.Close() }, nil
}

// again is a context with the command's time anew: somebody has answered a question.
func (c *deskCmd) again(soft context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(soft, c.Timeout, fmt.Errorf("gave up after --timeout %v", c.Timeout))
}

// operatorName is who gives a command, as far as this machine knows.
func operatorName(given string) string {
	if given != "" {
		return given
	}
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if name == "" {
		name = "unknown"
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// errNoTerminal is wrong usage: nobody can be asked.
var errNoTerminal = errors.New("there is no terminal to ask on: --yes says that it is right")
