package main

import (
	"context"
	"fmt"
	"time"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

type pauseCmd struct {
	Reason string        `name:"reason" required:"" placeholder:"TEXT" help:"Why: it is shown to everybody who looks."`
	For    time.Duration `name:"for" placeholder:"DURATION" help:"The pause ends by itself after this long, such as 2h; otherwise with orderworker resume."`
	By     string        `name:"by" placeholder:"NAME" help:"Who says so; otherwise the user's name and the host's."`
	Yes    bool          `name:"yes" help:"Do not ask whether that is right."`
	JSON   bool          `name:"json" help:"One JSON object instead of a sentence."`
	deskCmd
}

// Help is what the command's help says first.
func (pauseCmd) Help() string {
	return `Stops the buying in the whole fleet. Within a second no worker sends an order any more. Requests that are under way finish; orders wait in their stream, none spends an attempt, none fails except by its own expiresAt; lookups, orderworker settle and orderworker cancel go on. It survives restarts of everything, and lasts until orderworker resume, or as long as --for says.

It is written into the key-value bucket ORDER_CONTROL. If another operator has spoken meanwhile, nothing is written and you are told what.

    orderworker pause --reason "the vendor sells at wrong prices" --yes
    orderworker pause --reason "maintenance at the vendor" --for 2h

` + config.Folded()
}

// Check reports what is wrong with the flags.
func (c *pauseCmd) Check(f *config.Faults) {
	c.deskCmd.Check(f)
	if c.Reason == "" || len(c.Reason) > 1000 {
		f.Add("--reason", "must be 1 to 1000 bytes long")
	}
	if c.For < 0 {
		f.Add("--for", "(%v) must be more than 0", c.For)
	}
}

// Run pauses.
func (c *pauseCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.open(soft)
	if err != nil {
		return err
	}
	defer done()
	was, seen, err := d.Word(ctx)
	if err != nil {
		return fmt.Errorf("pause: read what was said before: %w", err)
	}
	question := "No order is bought any more, by any worker, until somebody resumes."
	if c.For > 0 {
		question = fmt.Sprintf("No order is bought any more, by any worker, for %v.", c.For)
	}
	if was.Lasts(time.Now()) {
		question += "\nIt is paused already: " + operator.Said(was) + ". Yours replaces that."
	}
	if err := confirm(soft, std, c.Yes, question); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	ctx, cancel := c.again(soft)
	defer cancel()
	now, err := d.Pause(ctx, operator.PauseRequest{Reason: c.Reason, By: operatorName(c.By), For: c.For, Seen: seen})
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, now)
	}
	if was.Lasts(time.Now()) {
		fmt.Fprintln(std.out, "before:", operator.Said(was))
	}
	_, err = fmt.Fprintf(std.out, "paused: %s. Within a second nothing is sent any more; orderworker resume ends it\n", operator.Said(now))
	return err
}

type resumeCmd struct {
	By   string `name:"by" placeholder:"NAME" help:"Who says so; otherwise the user's name and the host's."`
	Yes  bool   `name:"yes" help:"Do not ask whether that is right."`
	JSON bool   `name:"json" help:"One JSON object instead of a sentence."`
	deskCmd
}

// Help is what the command's help says first.
func (resumeCmd) Help() string {
	return `Ends a pause of orderworker pause: orders are bought again within a few seconds. It does not end a pause of the account, which ends by itself when the vendor sells again. If nobody has paused, it changes nothing.

` + config.Folded()
}

// Run resumes.
func (c *resumeCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.open(soft)
	if err != nil {
		return err
	}
	defer done()
	was, seen, err := d.Word(ctx)
	if err != nil {
		return fmt.Errorf("resume: read what was said before: %w", err)
	}
	if !was.Paused {
		if c.JSON {
			return printJSON(std.out, was)
		}
		_, err := fmt.Fprintf(std.out, "not paused by an operator: %s\n", operator.Said(was))
		return err
	}
	if err := confirm(soft, std, c.Yes, operator.Said(was)+".\nOrders are bought again."); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	ctx, cancel := c.again(soft)
	defer cancel()
	now, err := d.Resume(ctx, operatorName(c.By), "", seen)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, now)
	}
	_, err = fmt.Fprintf(std.out, "resumed: orders are bought again. Before: %s\n", operator.Said(was))
	return err
}
