package main

import (
	"context"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/doctor"
	"orderworker/cmd/internal/telemetry"
)

type doctorCmd struct {
	Known        string        `name:"known" placeholder:"OUT_TRADE_NO" help:"An order that was bought: measure which form of the vendor's lookup shows it (5 lookups)."`
	BadSignature bool          `name:"bad-signature" help:"Sign one lookup wrongly, to learn the code that means it."`
	JSON         bool          `name:"json" help:"One JSON object instead of a table."`
	Timeout      time.Duration `name:"timeout" default:"15s" help:"How long all checks may take together."`
	config.Settings
}

// Help is what the command's help says first.
func (doctorCmd) Help() string {
	return `Checks the settings, NATS (version, permissions, streams, consumer), Redis (version, permissions, eviction, persistence), the clocks, the way to the vendor, and whether the vendor accepts the account. Prints one table: what was checked, the result (ok, warning or failed), and what to do. It changes nothing, and it never buys; each lookup takes a slot of the account's quota.

--known NO, an order that was bought, says which UPSTREAM_LOOKUP_STATES finds it. --bad-signature says which code belongs into UPSTREAM_ACCOUNT_CODES.

The settings are those of the worker, as variables or flags: see orderworker run --help.

Exit status 0: nothing failed (there may be warnings); 1: something failed; 2: wrong usage or settings.

    orderworker doctor
    orderworker doctor --known 630000198311142676 --bad-signature
    orderworker doctor --json | jq '.checks[] | select(.result != "ok")'`
}

// BeforeReset hides the settings, which would fill three screens. They are read all the
// same.
func (c *doctorCmd) BeforeReset(command *kong.Path) error {
	config.Hide(command)
	return nil
}

// Check reports what is wrong with the settings, as that of run does.
func (c *doctorCmd) Check(f *config.Faults) {
	c.Settings.Check(f)
	telemetry.CheckTraces(f, os.Getenv)
	config.Positive(f, "--timeout", c.Timeout)
	if c.Known != "" {
		checkOutTradeNo(f, "--known", c.Known)
	}
}

// Run makes the checks and prints them.
func (c *doctorCmd) Run(soft context.Context, std *std) error {
	report, err := doctor.Run(soft, &c.Settings, doctor.Options{Known: c.Known, BadSignature: c.BadSignature, Timeout: c.Timeout})
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(std.out, report)
	} else {
		err = report.Print(std.out)
	}
	if err == nil && !report.OK {
		return exitStatus(statusFailed)
	}
	return err
}
