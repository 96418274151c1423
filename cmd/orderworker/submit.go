package main

import (
	"context"
	"errors"
	"time"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/submit"
)

type submitCmd struct {
	fileCmd
	Prefix        string        `name:"prefix" placeholder:"P" help:"Number orders without outTradeNo P-LINE. The completed file is written beside FILE first."`
	Wait          bool          `name:"wait" help:"Follow the orders until each is final, then write --out."`
	Yes           bool          `name:"yes" help:"Do not ask; needed where there is no terminal."`
	StreamTimeout time.Duration `name:"stream-timeout" default:"10s" help:"How long to wait while no stream answers, as during an election."`
	DryRun        bool          `name:"dry-run" help:"Check the file and show what would be published."`
}

// Help is what the command's help says first.
func (submitCmd) Help() string {
	return `Publishes a file of orders. The first line of a CSV file names the columns: outTradeNo, iccid, packageCode, and, if you like, renew and expiresAt; other columns are not used. The separator is a comma, a semicolon or a tab. A .jsonl file has one request a line.

The whole file is checked first. Every broken line is named, and then nothing is published. A number that stands twice with the same content is sent once; with other content the file is refused.

After an interruption run the same command again: what is published twice is bought once. Each acknowledgement is awaited, and a full stream is waited for.

Exit status 0: all is stored, with --wait: and has succeeded; 1: not all, or a broken line; 2: wrong usage or settings.

    orderworker submit orders.csv --dry-run
    orderworker submit orders.csv --wait --out results.csv
    orderworker submit cards.csv --prefix JAN26`
}

// Check reports what is wrong with what the command uses.
func (c *submitCmd) Check(f *config.Faults) {
	c.fileCmd.Check(f)
	config.Positive(f, "--stream-timeout", c.StreamTimeout)
	switch {
	case c.Prefix != "" && c.File == "-":
		f.Add("--prefix", "(%q) needs a file: the completed one is written beside it", c.Prefix)
	case c.Prefix != "":
		checkOutTradeNo(f, "--prefix", c.Prefix)
	}
	if c.Out != "" && !c.Wait {
		f.Add("--out", "(%q) needs --wait: there are no results before", c.Out)
	}
}

// Run publishes the file.
func (c *submitCmd) Run(soft context.Context, std *std) error {
	o := c.options()
	o.Prefix, o.Wait, o.DryRun, o.StreamTimeout = c.Prefix, c.Wait, c.DryRun, c.StreamTimeout
	t := std.terminal()
	if !c.Yes {
		t.Confirm = mustConfirm(func(question string) error {
			return confirm(soft, std, false, question)
		}, std, submit.IsTerminal(o, std.isTerminal))
	}
	err := ended(submit.Submit(soft, &c.Settings, o, t))
	if status, ok := errors.AsType[exitStatus](err); ok {
		return status
	}
	return err
}
