package main

import (
	"cmp"
	"context"
	"os"
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

// Run takes orders until soft ends.
func (c *runCmd) Run(soft context.Context, std *std) error {
	log := telemetry.NewLogger(c.LogLevel, c.LogFormat, std.err)
	return app.Run(soft, &c.Settings, log, cmp.Or(c.auditPeriod, connect.AuditPeriod))
}
