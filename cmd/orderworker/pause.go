package main

import (
	"context"
	"fmt"
	"time"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

type pauseCmd struct {
	Reason string         `name:"reason" required:"" placeholder:"TEXT" help:"Why: it is shown to everybody who looks."`
	For    *time.Duration `name:"for" placeholder:"DURATION" help:"The pause ends by itself after this long, such as 2h; otherwise with orderworker resume."`
	By     string         `name:"by" placeholder:"NAME" help:"Who says so; otherwise the user's name and the host's."`
	Yes    bool           `name:"yes" help:"Do not ask whether that is right."`
	JSON   bool           `name:"json" help:"One JSON object instead of a sentence."`
	deskCmd
}

// Help is what the command's help says first.
func (pauseCmd) Help() string {
	return `Stops the buying in the whole fleet. Within a second no worker sends an order any more. Requests that are under way finish; orders wait in their stream, none spends an attempt, none fails except by its own expiresAt; lookups, orderworker settle and orderworker cancel go on. It survives restarts of everything, and lasts until orderworker resume, or as long as --for says.

It is written into the key-value bucket ORDER_CONTROL. If another operator has spoken meanwhile, nothing is written and you are told what. Refused, with exit status 1: a deployment (ORDERS_STREAM) that does not exist, and --for while this host's clock is more than 5 s from that of NATS.

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
	if c.For != nil {
		config.Positive(f, "--for", *c.For)
	}
}

// Run pauses.
func (c *pauseCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.openNATS(soft)
	if err != nil {
		return err
	}
	defer done()
	was, err := d.Before(ctx, c.For != nil)
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	request := operator.PauseRequest{Reason: c.Reason, By: operatorName(c.By), Seen: was.Seen}
	until := "until somebody resumes"
	if c.For != nil {
		request.For, until = *c.For, fmt.Sprintf("for %v", *c.For)
	}
	question := fmt.Sprintf("No order of %s is bought any more, by any worker, %s.", c.OrdersStream, until)
	if replaced := was.Replaced(request.For, time.Now()); replaced != "" {
		question += "\n" + replaced
	}
	if err := confirm(soft, std, c.Yes, question); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	ctx, cancel := c.again(soft)
	defer cancel()
	now, err := d.Pause(ctx, request)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, now)
	}
	if was.Lasts(time.Now()) || was.Unread != nil {
		fmt.Fprintln(std.out, "before:", was)
	}
	if sooner := was.Shortened(request.For, time.Now()); sooner != "" {
		fmt.Fprintln(std.out, sooner)
	}
	_, err = fmt.Fprintf(std.out, "%s is paused: %s. Within a second nothing is sent any more; orderworker resume ends it\n", c.OrdersStream, operator.Said(now))
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
	return `Ends a pause of orderworker pause: orders are bought again within a few seconds. It does not end a pause of the account, which ends by itself when the vendor sells again. Where the last word is a resume, nothing is written. Where there is no word, or it is lost or cannot be read, a resume is written after you agree: workers that wait for a word go on.

` + config.Folded()
}

// Run resumes.
func (c *resumeCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.openNATS(soft)
	if err != nil {
		return err
	}
	defer done()
	was, err := d.Before(ctx, false)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	if !was.Paused && was.Unread == nil && was.Seen != 0 { // without a word, workers that have read one wait for this
		if c.JSON {
			return printJSON(std.out, was.State)
		}
		_, err := fmt.Fprintf(std.out, "%s is not paused by an operator: %s\n", c.OrdersStream, was)
		return err
	}
	if err := confirm(soft, std, c.Yes, fmt.Sprintf("%s.\nOrders of %s are bought again.", was, c.OrdersStream)); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	ctx, cancel := c.again(soft)
	defer cancel()
	now, err := d.Resume(ctx, operatorName(c.By), was.Seen)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, now)
	}
	_, err = fmt.Fprintf(std.out, "%s is resumed: orders are bought again, unless the account is paused too (see list). Before: %s\n", c.OrdersStream, was)
	return err
}
