package main

import (
	"cmp"
	"context"
	"os"
	"runtime/debug"
	"time"

	"orderworker/cmd/internal/app"
	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/telemetry"
)

type runCmd struct {
	config.Settings
	auditPeriod time.Duration `kong:"-"` // 0: connect.AuditPeriod
}

// Check reports what is wrong with the settings and the OTEL_ variables.
func (c *runCmd) Check(f *config.Faults) {
	c.Settings.Check(f)
	telemetry.CheckTraces(f, os.Getenv)
}

// gcPercent is how much the heap may grow between two collections, in percent of what
// is live. A worker has a few MB live, so with Go's default of 100 it collects after each
// few hundred orders. More than 200 saves little more, and with 512 orders in flight
// takes over 80 MiB.
const gcPercent = 200

// collectLess sets gcPercent, unless the environment has GOGC. The limit of GOMEMLIMIT
// stays: near it the runtime collects whatever the percentage is.
//
// Source: package runtime, "Environment Variables".
func collectLess(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// Run takes orders until soft ends.
func (c *runCmd) Run(soft context.Context, std *std) error {
	collectLess(os.Getenv)
	log := telemetry.NewLogger(c.LogLevel, c.LogFormat, std.err)
	return app.Run(soft, &c.Settings, log, cmp.Or(c.auditPeriod, connect.AuditPeriod))
}
