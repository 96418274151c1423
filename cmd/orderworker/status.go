package main

import (
	"context"
	"errors"
	"strings"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

type statusCmd struct {
	OutTradeNo string `arg:"" optional:"" name:"OUT_TRADE_NO" help:"The order's outTradeNo."`
	ICCID      string `name:"iccid" placeholder:"ICCID" help:"In place of a number: all orders of this card."`
	JSON       bool   `name:"json" help:"One JSON object instead of a table."`
	AskVendor  bool   `name:"ask-vendor" help:"Ask the vendor's lookup too: one call, within the account's quota; needs UPSTREAM_APPKEY and UPSTREAM_SECRET."`
	deskCmd
}

// statusSettings are the settings of other groups that the command reads.
var statusSettings = []string{"UPSTREAM_URL", "UPSTREAM_APPKEY", "UPSTREAM_SECRET", "UPSTREAM_SECRET_FILE", "UPSTREAM_TIMEOUT",
	"UPSTREAM_RATE", "UPSTREAM_JITTER", "UPSTREAM_THROTTLE_CODES", "MAX_ATTEMPTS"}

// Help is what the command's help says first.
func (statusCmd) Help() string {
	return `Shows what Redis, the journal, the request stream and the results stream know of an order, and with --ask-vendor what the vendor does: its state in a sentence, what happened to it and what comes next, then who knows what. Nothing is changed anywhere. Times are UTC.

The state is one of: unknown (nothing is known of it, or a server that could not be asked may know that it was sent); queued (no worker has begun with it) and claimed (a worker took it), where the sentence says whether it is certain that nothing was sent, or that a request may be under way; in_doubt (it may have been bought: see orderworker settle); waiting (not bought so far, the next attempt is due later); paused (an operator or the account's pause holds it back); succeeded, failed, rejected; bought (only the vendor knows it).

With --iccid all orders of a card are listed: the unfinished ones, and those of the newest 200,000 results. Put -- before a number that begins with a hyphen.

Exit status 0: it is known; 1: nothing is known of it, or a server could not be asked (then what the others know is shown all the same, and one line on stderr says what failed); 2: wrong usage or settings.

` + config.Folded(statusSettings...)
}

// BeforeReset hides the settings, as those of the other commands of the desk.
func (c *statusCmd) BeforeReset(command *kong.Path) error {
	config.Narrow(command, statusSettings...)
	config.Hide(command)
	return nil
}

// Check reports what is wrong with what the command uses.
func (c *statusCmd) Check(f *config.Faults) {
	switch {
	case c.ICCID != "" && c.OutTradeNo != "":
		f.Add("--iccid", "(%q) is not allowed beside a number", c.ICCID)
	case c.ICCID != "" && c.AskVendor:
		f.Add("--ask-vendor", "is not allowed with --iccid")
	case c.ICCID != "":
	case c.OutTradeNo == "":
		f.Add("OUT_TRADE_NO", "or --iccid must say which order")
	default:
		checkOutTradeNo(f, "OUT_TRADE_NO", c.OutTradeNo)
	}
	c.deskCmd.Check(f)
	if c.AskVendor {
		c.CheckVendor(f)
	}
}

// Run asks everybody and prints what they know.
func (c *statusCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.open(soft)
	if err != nil {
		return err
	}
	defer done()
	if c.ICCID != "" {
		return c.card(ctx, d, std)
	}
	detail := d.Order(ctx, c.OutTradeNo, c.AskVendor)
	if c.JSON {
		err = printJSON(std.out, detail)
	} else {
		err = detail.Print(std.out, c.MaxAttempts)
	}
	switch {
	case err != nil:
		return err
	case len(detail.Errors) > 0:
		return c.failed(ctx, detail.Errors)
	case !detail.Known:
		return exitStatus(statusFailed)
	}
	return nil
}

// failed is the error of what could not be asked, in one line.
func (c *statusCmd) failed(ctx context.Context, what []string) error {
	text := "status " + c.OutTradeNo + c.ICCID + ": "
	if ctx.Err() != nil {
		text += context.Cause(ctx).Error() + ": "
	}
	return errors.New(text + operator.Shown(strings.ReplaceAll(strings.Join(what, "; "), "\n", "; "), 0))
}

// card lists the orders of a card.
func (c *statusCmd) card(ctx context.Context, d *operator.Desk, std *std) error {
	card := d.Card(ctx, c.ICCID)
	var err error
	if c.JSON {
		err = printJSON(std.out, card)
	} else {
		err = card.Print(std.out, c.MaxAttempts)
	}
	switch {
	case err != nil:
		return err
	case len(card.Errors) > 0:
		return c.failed(ctx, card.Errors)
	case len(card.Orders) == 0:
		return exitStatus(statusFailed)
	}
	return nil
}
