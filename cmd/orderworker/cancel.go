package main

import (
	"context"
	"fmt"

	"orderworker/cmd/internal/config"
)

type cancelCmd struct {
	OutTradeNo string `arg:"" name:"OUT_TRADE_NO" help:"The order's outTradeNo."`
	Yes        bool   `name:"yes" help:"Do not ask whether that is right."`
	deskCmd
}

// Help is what the command's help says first.
func (cancelCmd) Help() string {
	return `Ends an order that is certainly not bought and not being sent: one that waits for a worker or for its next attempt. Its result is written into the journal, and a worker publishes it at the next delivery: failed, reason cancelled. That cannot be taken back; the number is used up.

Refused, with exit status 1 and the reason: an order that may have been bought (see orderworker settle), is being sent or finished, or whose request is not in the stream; and every order while this host's clock is more than 5 s from that of NATS. If a worker is faster, nothing is written and you are told. Put -- before a number that begins with a hyphen.

` + config.Folded(deskSettings...)
}

// Check reports what is wrong with what the command uses.
func (c *cancelCmd) Check(f *config.Faults) {
	checkOutTradeNo(f, "OUT_TRADE_NO", c.OutTradeNo)
	c.deskCmd.Check(f)
}

// Run shows the order, asks, and cancels it.
func (c *cancelCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.openNATS(soft)
	if err != nil {
		return err
	}
	defer done()
	plan, err := d.PlanCancel(ctx, c.OutTradeNo)
	if err != nil {
		return err
	}
	if warning := plan.Warning(); warning != "" {
		fmt.Fprintf(std.err, "orderworker: %s\n", warning)
	}
	if err := confirm(soft, std, c.Yes, plan.Question()); err != nil {
		return fmt.Errorf("cancel %s: %w", c.OutTradeNo, err)
	}
	ctx, cancel := c.again(soft)
	defer cancel()
	next, err := plan.Run(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, next)
	return err
}
