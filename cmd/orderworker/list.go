package main

import (
	"context"
	"errors"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

type listCmd struct {
	State string `name:"state" placeholder:"STATE" help:"Only orders in this state: queued, claimed, waiting, in_doubt, paused, unknown, succeeded or failed."`
	Limit int    `name:"limit" default:"100" help:"How many orders at most."`
	JSON  bool   `name:"json" help:"One JSON object instead of a table."`
	deskCmd
}

// Help is what the command's help says first.
func (listCmd) Help() string {
	return `Lists the orders that are not finished, or with --state succeeded or failed the newest that are, newest first, below a few lines on how the deployment fares: whether it buys, what is wrong with the vendor's answers if something is, which servers answer, how many orders there are in which state. Nothing is changed anywhere. Times are UTC.

queued: no worker has begun with it (an old request may be in doubt once one does: see status). claimed: a worker has it, perhaps a request is under way. waiting: refused so far; NEXT says when it is sent again. in_doubt: it may have been bought; LAST ANSWER says when the vendor was asked last and why that did not end the doubt, NEXT when it is asked again, or with UPSTREAM_RECONCILE=resend when the order is sent again, or with hold that an operator must settle it. paused: it is held back until somebody resumes or the pause that has an end is over (NEXT resume), or until the account's pause is over (NEXT probe). unknown: a server could not be asked about it, it may have been bought. succeeded or failed with NEXT publish: the result is known, and a worker has yet to publish it. TRIES is refusals of those that are allowed, or the number of the request.

Exit status 1 if a server could not be asked: what the others know is shown all the same.

` + config.Folded(deskSettings...)
}

// Check reports what is wrong with the flags.
func (c *listCmd) Check(f *config.Faults) {
	c.deskCmd.Check(f)
	if c.State != "" {
		var words []string
		for _, s := range operator.States {
			words = append(words, string(s))
		}
		config.OneOf(f, "--state", c.State, words...)
	}
	config.AtLeast(f, "--limit", c.Limit, 1, "")
}

// Run prints the list.
func (c *listCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.open(soft)
	if err != nil {
		return err
	}
	defer done()
	list := d.Orders(ctx, operator.Filter{State: operator.State(c.State), Limit: c.Limit})
	if c.JSON {
		err = printJSON(std.out, list)
	} else {
		err = list.Print(std.out, c.MaxAttempts)
	}
	if err == nil && len(list.Errors) > 0 {
		err = errors.New("list: not everything could be asked") // why is in the list
	}
	return err
}
