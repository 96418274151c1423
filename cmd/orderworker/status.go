package main

import (
	"context"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

type statusCmd struct {
	orderCmd
	JSON      bool `name:"json" help:"One JSON object instead of a table."`
	AskVendor bool `name:"ask-vendor" help:"Ask the vendor's lookup too: one call, within the account's quota; needs UPSTREAM_APPKEY and UPSTREAM_SECRET."`
}

// Help is what the command's help says first.
func (statusCmd) Help() string {
	return `Shows what Redis, the journal, the request stream and the results stream know of an order, and with --ask-vendor what the vendor does. Nothing is changed anywhere.

Exit status 0: it is known; 1: nothing is known of it, or a server could not be asked (then what the others know is shown all the same, and one line on stderr says what failed); 2: wrong usage or settings.

The state is one of: unknown; claimed (a worker took it, nothing was sent); sending (a request may be under way); in_doubt (it may have been bought: see orderworker settle); waiting (not bought so far, the next attempt is due later); succeeded, failed, rejected; bought (only the vendor knows it).

A request that no worker has taken yet is known nowhere but in its stream, which cannot be searched; how many such requests there are is shown. Put -- before a number that begins with a hyphen.`
}

// BeforeReset hides the settings that the command has no use for.
func (c *statusCmd) BeforeReset(command *kong.Path) error {
	config.Narrow(command, "UPSTREAM_URL", "UPSTREAM_APPKEY", "UPSTREAM_SECRET", "UPSTREAM_SECRET_FILE", "UPSTREAM_TIMEOUT",
		"UPSTREAM_RATE", "UPSTREAM_JITTER", "UPSTREAM_THROTTLE_CODES")
	return nil
}

// Check reports what is wrong with what the command uses.
func (c *statusCmd) Check(f *config.Faults) {
	c.orderCmd.Check(f)
	if c.AskVendor {
		c.CheckVendor(f)
	}
}

// Run asks everybody and prints what they know.
func (c *statusCmd) Run(soft context.Context, std *std) error {
	report, failed := operator.Status(soft, c.order(), c.AskVendor)
	if report == nil {
		return failed
	}
	var err error
	if c.JSON {
		err = printJSON(std.out, report)
	} else {
		err = report.Print(std.out)
	}
	switch {
	case err != nil:
		return err
	case failed != nil:
		return failed
	case !report.Known:
		return exitStatus(statusFailed)
	}
	return nil
}
