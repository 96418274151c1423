package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

type deadCmd struct {
	List   deadListCmd   `cmd:"" help:"List the dead letters, newest first."`
	Show   deadShowCmd   `cmd:"" help:"Show a dead letter: what is wrong with it, its headers and its payload."`
	Replay deadReplayCmd `cmd:"" help:"Publish dead letters again, corrected if you say so, and remove them."`
}

type deadListCmd struct {
	Reason string `name:"reason" placeholder:"REASON" help:"Only those of this reason: invalid or conflict."`
	Limit  int    `name:"limit" default:"100" help:"How many at most."`
	JSON   bool   `name:"json" help:"One JSON object instead of a table."`
	deskCmd
}

// Help is what the command's help says first.
func (deadListCmd) Help() string {
	return `Lists the order requests that were put aside: invalid ones, and those whose number was used with other content (conflict). Nothing is changed. Times are UTC.

` + config.Folded()
}

// Check reports what is wrong with the flags.
func (c *deadListCmd) Check(f *config.Faults) {
	c.deskCmd.Check(f)
	checkReason(f, c.Reason)
	config.AtLeast(f, "--limit", c.Limit, 1, "")
}

func checkReason(f *config.Faults, reason string) {
	if reason != "" {
		config.OneOf(f, "--reason", reason, "invalid", "conflict")
	}
}

// Run prints the list.
func (c *deadListCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.openNATS(soft)
	if err != nil {
		return err
	}
	defer done()
	letters, failed := d.Dead(ctx, c.Reason, c.Limit) // with an error, those that were read so far
	if c.JSON {
		err = printJSON(std.out, letters)
	} else {
		err = letters.Print(std.out)
	}
	return cmp.Or(failed, err)
}

type deadShowCmd struct {
	Seq  uint64 `arg:"" name:"SEQ" help:"Its number in the list."`
	JSON bool   `name:"json" help:"One JSON object, with the whole payload."`
	deskCmd
}

// Help is what the command's help says first.
func (deadShowCmd) Help() string {
	return `Shows a dead letter. What cannot be printed is shown as \x1b and the like; a payload of more than 4,000 characters is cut (--json has all of it).

` + config.Folded()
}

// Run prints the letter.
func (c *deadShowCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.openNATS(soft)
	if err != nil {
		return err
	}
	defer done()
	letter, err := d.Letter(ctx, c.Seq)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, letter)
	}
	return letter.Print(std.out)
}

type deadReplayCmd struct {
	Seqs   []uint64 `arg:"" optional:"" name:"SEQ" help:"Their numbers in the list."`
	All    bool     `name:"all" help:"All of them, oldest first, up to --limit."`
	Reason string   `name:"reason" placeholder:"REASON" help:"With --all: only those of this reason, invalid or conflict."`
	Set    []string `name:"set" placeholder:"FIELD=VALUE" help:"A field to correct before it is published: outTradeNo, iccid, packageCode, renew or expiresAt; null takes the last two away. May be given several times."`
	Limit  int      `name:"limit" default:"1000" help:"With --all: how many at most."`
	Yes    bool     `name:"yes" help:"Do not ask whether that is right."`
	JSON   bool     `name:"json" help:"One JSON object instead of sentences."`
	deskCmd
	set map[string]string `kong:"-"`
}

// Help is what the command's help says first.
func (deadReplayCmd) Help() string {
	return `Publishes dead letters again as order requests and removes each once it is stored. The number of an invalid request was not used up. A conflict needs a new number (--set outTradeNo=...). What is neither corrected nor valid becomes a dead letter again; the question says so, and so does the result. A letter whose payload was cut cannot be replayed, which is exit status 1.

It can be interrupted: the same command goes on, and what was published twice is a duplicate, bought once. But a letter that you correct differently the second time is another request, and with another number another order, which is bought too. You are told where a letter was published and could not be removed.

    orderworker dead replay 17 --set packageCode=CN-5M --yes
    orderworker dead replay --all --reason invalid --limit 100

` + config.Folded()
}

// Check reports what is wrong with the flags, and parses the corrections.
func (c *deadReplayCmd) Check(f *config.Faults) {
	c.deskCmd.Check(f)
	checkReason(f, c.Reason)
	config.AtLeast(f, "--limit", c.Limit, 1, "")
	switch {
	case c.All == (len(c.Seqs) > 0):
		f.Add("SEQ", "or --all: exactly one of them must say which letters")
	case c.Reason != "" && !c.All:
		f.Add("--reason", "is not allowed without --all")
	}
	var err error
	if c.set, err = operator.ParseSet(c.Set); err != nil {
		f.Add("--set", "%w", err)
		return
	}
	if no, ok := c.set["outTradeNo"]; ok {
		checkOutTradeNo(f, "--set outTradeNo", no)
		if c.All || len(c.Seqs) > 1 {
			f.Add("--set", "(\"outTradeNo=%s\") would give several letters one number: replay one at a time", no)
		}
	}
}

// Run replays the letters.
func (c *deadReplayCmd) Run(soft context.Context, std *std) error {
	ctx, d, done, err := c.openNATS(soft)
	if err != nil {
		return err
	}
	defer done()
	selection := operator.ReplaySelection{Seqs: c.Seqs, All: c.All, Reason: c.Reason, Set: c.set, Limit: c.Limit, Patience: c.Timeout}
	if c.All {
		ctx = soft // reading many letters takes long: --timeout is for each part of them
	}
	plan, err := d.PlanReplay(ctx, selection)
	if err != nil {
		return err
	}
	if len(plan.Letters) > 0 {
		if err := confirm(soft, std, c.Yes, plan.Question()); err != nil {
			return fmt.Errorf("dead replay: %w", err)
		}
	}
	last := time.Now()
	replayed, failed := plan.Run(soft, func(done, of int) { // each letter has a time of its own
		if now := time.Now(); now.Sub(last) > 2*time.Second {
			last = now
			fmt.Fprintf(std.err, "orderworker: %d of %d\n", done, of)
		}
	})
	if c.JSON {
		err = printJSON(std.out, replayed)
	} else {
		replayed.Print(std.out)
	}
	switch {
	case failed != nil:
		return failed
	case err == nil && len(replayed.Skipped) > 0:
		return exitStatus(statusFailed)
	}
	return err
}
