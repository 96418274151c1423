package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/submit"
)

// fileCmd is what the commands about a file of orders have in common.
type fileCmd struct {
	File        string        `arg:"" name:"FILE" help:"Orders: .csv with a header line, or .jsonl; - is standard input."`
	Out         string        `name:"out" placeholder:"FILE" help:"Results file, CSV, or JSON Lines if its name ends in .jsonl."`
	Force       bool          `name:"force" help:"Overwrite the results file."`
	InboxPrefix string        `name:"inbox-prefix" placeholder:"SUBJECT" help:"Where this NATS user may have replies sent; found out otherwise: _INBOX, or _INBOX_USER."`
	Timeout     time.Duration `name:"timeout" default:"10s" help:"How long to wait for a connection to NATS."`
	config.Settings
}

// BeforeReset hides the settings that the commands have no use for. Both need NATS only.
func (c *fileCmd) BeforeReset(command *kong.Path) error {
	config.NarrowTo(command, "NATS_URL", "NATS_CREDS", "NATS_CA", "NATS_CERT", "NATS_KEY",
		"ORDERS_STREAM", "ORDERS_SUBJECT", "RESULTS_STREAM", "RESULTS_SUBJECT", "UPSTREAM_RATE", "UPSTREAM_JITTER")
	return nil
}

// Check reports what is wrong with what the commands use.
func (c *fileCmd) Check(f *config.Faults) {
	c.CheckServers(f)
	c.CheckRate(f)
	config.Positive(f, "--timeout", c.Timeout)
	if strings.ContainsAny(c.InboxPrefix, "*> \t") {
		f.Add("--inbox-prefix", "(%q) must be a subject without wildcards", c.InboxPrefix)
	}
}

// options are the flags as package submit takes them.
func (c *fileCmd) options() submit.Options {
	return submit.Options{Path: c.File, Out: c.Out, Force: c.Force, InboxPrefix: c.InboxPrefix, Timeout: c.Timeout}
}

// terminal is where a command about a file talks to people.
func (s *std) terminal() submit.Terminal { return submit.Terminal{Out: s.out, Err: s.err, In: s.in} }

// ended turns the outcome of such a command into its exit status.
func ended(err error) error {
	if errors.Is(err, submit.ErrNotAll) { // it was printed
		return exitStatus(statusFailed)
	}
	return err
}

// mustConfirm returns a question that needs --yes where nobody can be asked.
func mustConfirm(ask func(question string) error, std *std, terminal bool) func(string) error {
	return func(question string) error {
		if !terminal {
			fmt.Fprintln(std.err, "orderworker: nobody can be asked here: --yes publishes without asking, --dry-run only checks; nothing was published")
			return exitStatus(statusUsage)
		}
		return ask(question)
	}
}
