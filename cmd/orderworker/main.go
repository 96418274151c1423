// Command orderworker buys the data packages that order requests in NATS JetStream ask
// for.
//
// It has the commands, their flags and exit statuses; the packages below cmd/internal do
// what they say, and package worker is the life of an order. Read it in this order:
// main.go with signals.go, run.go, then the other commands (status.go and settle.go share
// order.go, submit.go and results.go share file.go).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/redis/go-redis/v9/logging"

	"orderworker/cmd/internal/config"
)

// The exit statuses, section 6 of the contract.
const (
	statusDone   = 0
	statusFailed = 1 // failed while running
	statusUsage  = 2 // wrong usage or settings; nothing was touched
)

// commands are the commands of orderworker.
type commands struct {
	Run     runCmd     `cmd:"" help:"Run the worker."`
	Demo    demoCmd    `cmd:"" help:"Show it all at work: no server needed, nothing left behind."`
	Sandbox sandboxCmd `cmd:"" help:"Run the simulated vendor alone, for tests and trials."`
	Submit  submitCmd  `cmd:"" help:"Publish a file of orders, CSV or JSON Lines."`
	Results resultsCmd `cmd:"" help:"Write how each order of a file ended."`
	List    listCmd    `cmd:"" help:"List the orders that are not finished, and how the deployment fares."`
	Status  statusCmd  `cmd:"" help:"Show what is known of an order, or of all orders of a card."`
	Settle  settleCmd  `cmd:"" help:"Say how an order in doubt ended, where nobody but an operator can."`
	Cancel  cancelCmd  `cmd:"" help:"End an order that is certainly not bought."`
	Pause   pauseCmd   `cmd:"" help:"Stop the buying in the whole fleet."`
	Resume  resumeCmd  `cmd:"" help:"Restart it."`
	Dead    deadCmd    `cmd:"" help:"List, show and replay dead letters."`
	Console consoleCmd `cmd:"" help:"Serve the operator's desk as web pages."`
	Doctor  doctorCmd  `cmd:"" help:"Check everything that a deployment stands on, and say what to fix."`
	Schema  schemaCmd  `cmd:"" help:"Print the JSON Schema of a message, or the AsyncAPI document of all."`
	Version versionCmd `cmd:"" help:"Print the version."`

	Completion  completionCmd `cmd:"" help:"Print a script that completes commands and flags in bash, zsh or fish."`
	VersionFlag versionFlag   `name:"version" help:"Print the version."`
}

// std is where a command writes what it was asked for (out) and everything else (err),
// and where it reads the answer to a question.
type std struct {
	out, err   io.Writer
	in         io.Reader
	isTerminal func() bool // in is one
}

// exitStatus is the error of a command that has printed everything itself. run prints
// nothing more and returns the status.
type exitStatus int

// Error names the status.
func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func main() {
	logging.Disable() // go-redis would write lines of its own to stderr; its errors come back to us anyway
	os.Exit(run(os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// run is main without the process. It runs the command of args, with settings from
// lookup if args have none, and returns the exit status. It writes one line to stderr
// for each thing that went wrong.
func run(args []string, lookup config.LookupFunc, stdout, stderr io.Writer) int {
	complain := func(err error) {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "orderworker: %s\n", strings.TrimRight(line, "\n"))
		}
	}
	var found config.Faults
	parser, err := config.NewParser(new(commands), lookup, &found, stdout, stderr)
	if err != nil {
		complain(err) // a broken tag in this program
		return statusFailed
	}
	helped := false
	parser.Exit = func(int) { helped = true } // kong prints the help, then exits
	kctx, err := parser.Parse(args)
	switch {
	case helped:
		return statusDone
	case err != nil:
		complain(err)
		return statusUsage
	}
	// A command that embeds Settings has their check.
	if c, ok := reflect.TypeAssert[interface{ Check(*config.Faults) }](kctx.Selected().Target.Addr()); ok {
		c.Check(&found)
	}
	if err := found.Err(); err != nil {
		complain(err)
		return statusUsage
	}

	soft, stop := softContext(os.Exit)
	defer stop()
	kctx.BindTo(soft, (*context.Context)(nil))
	kctx.Bind(parser.Model)
	err = kctx.Run(&std{
		out: stdout, err: stderr, in: os.Stdin,
		isTerminal: func() bool { return isatty.IsTerminal(os.Stdin.Fd()) },
	})
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	if errors.Is(err, errNoTerminal) {
		complain(err)
		return statusUsage
	}
	if err != nil {
		complain(err)
		return statusFailed
	}
	return statusDone
}

// printJSON writes v as one line of JSON.
func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
