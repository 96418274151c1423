package main

import (
	"context"

	"orderworker/cmd/internal/submit"
)

type resultsCmd struct {
	fileCmd
	Wait bool `name:"wait" help:"Wait until each order is final."`
}

// Help is what the command's help says first.
func (resultsCmd) Help() string {
	return `Asks the results stream for each order of a file, by subject, and writes one line for each, in the order of the file: outTradeNo, iccid, packageCode, status, reason, code, message, orderNumber, orderId, attempts, completedAt. Without --out the lines go to standard output.

status is succeeded, failed or rejected; open without a final event, and then the reason is in_doubt where that was published. Whether an open order was ever published cannot be told.

A results file is written to a temporary file first. It is never overwritten without --force.

Exit status 0: all orders have succeeded; 1: not all, or something went wrong; 2: wrong usage or settings.`
}

// Run writes the results.
func (c *resultsCmd) Run(soft context.Context, std *std) error {
	o := c.options()
	o.Wait = c.Wait
	return ended(submit.Results(soft, &c.Settings, o, std.terminal()))
}
