package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
)

type settleCmd struct {
	orderCmd
	Bought      bool   `name:"bought" help:"It was bought: the worker publishes it as succeeded."`
	NotBought   bool   `name:"not-bought" help:"It was not bought: it becomes ready, and the worker sends it to the vendor again."`
	OrderNumber string `name:"order-number" placeholder:"X" help:"The vendor's orderNumber; required with --bought."`
	OrderID     *int   `name:"order-id" placeholder:"N" help:"The vendor's orderId, where it is known; with --bought."`
	Yes         bool   `name:"yes" help:"Do not ask on a terminal whether that is right."`
}

// Help is what the command's help says first.
func (settleCmd) Help() string {
	return `Writes an operator's verdict on an order in doubt into the journal; the worker finds it there when it looks at the order next, and goes on by it. Find out with the vendor first what became of the order (orderworker status OUT_TRADE_NO --ask-vendor).

--bought: the worker publishes the final result succeeded, reconciled, with the order number given here. That cannot be taken back.

--not-bought: the order becomes ready, and the worker sends it to the vendor again (past its expiresAt it publishes failed, expired, instead). If it was bought after all, it is bought twice.

Refused, with exit status 1 and the reason: an order that is not in doubt (unknown, never sent, waiting for its next attempt, final), one whose request may still be under way, --not-bought where the vendor has said that it was bought, and one whose request message cannot be read; and every order while this host's clock is more than 5 s from that of NATS. It asks first; without a terminal it needs --yes. Put -- before a number that begins with a hyphen.

` + config.Folded("UPSTREAM_TIMEOUT")
}

// BeforeReset hides the settings that the command has no use for.
func (c *settleCmd) BeforeReset(command *kong.Path) error {
	config.Narrow(command, "UPSTREAM_TIMEOUT")
	config.Hide(command)
	return nil
}

// Check reports what is wrong with what the command uses.
func (c *settleCmd) Check(f *config.Faults) {
	c.orderCmd.Check(f)
	if c.Bought == c.NotBought {
		f.Add("--bought", "or --not-bought: exactly one of them must say how the order ended")
	}
	switch {
	case c.Bought && c.OrderNumber == "":
		f.Add("--order-number", "is not given: --bought requires it")
	case c.NotBought && !c.Bought && c.OrderNumber != "":
		f.Add("--order-number", "(%q) is not allowed with --not-bought", c.OrderNumber)
	case len(c.OrderNumber) > 128 || strings.ContainsFunc(c.OrderNumber, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		f.Add("--order-number", "(%q) must be 1 to 128 printable characters without space", c.OrderNumber)
	}
	switch {
	case c.OrderID == nil:
	case c.NotBought && !c.Bought:
		f.Add("--order-id", "(%d) is not allowed with --not-bought", *c.OrderID)
	case *c.OrderID <= 0:
		f.Add("--order-id", "(%d) must be more than 0", *c.OrderID)
	}
}

// errNotConfirmed ends a settle whose question was not answered with yes.
var errNotConfirmed = errors.New("not confirmed, nothing was written")

// Run shows the order, asks for confirmation, and writes the verdict.
func (c *settleCmd) Run(soft context.Context, std *std) error {
	found, err := operator.Examine(soft, c.order(), operator.Verdict{Bought: c.Bought, OrderNumber: c.OrderNumber, OrderID: c.OrderID})
	if err != nil {
		return err
	}
	defer found.Close()
	if warning := found.Warning(); warning != "" {
		fmt.Fprintf(std.err, "orderworker: %s\n", warning)
	}
	if err := confirm(soft, std, c.Yes, found.Question()); err != nil {
		return fmt.Errorf("settle %s: %w", c.OutTradeNo, err)
	}
	next, err := found.Settle(soft) // with a time of its own, however long the answer took
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, next)
	return err
}

// confirm asks the question on a terminal; every answer but yes is an error. It does
// not ask if yes is set. If nobody can answer, that is wrong usage.
func confirm(ctx context.Context, std *std, yes bool, question string) error {
	switch {
	case yes:
		return nil
	case !std.isTerminal():
		return fmt.Errorf("%w; nothing was changed", errNoTerminal)
	}
	fmt.Fprintf(std.err, "%s\nType yes if that is right: ", question)
	answer := make(chan string, 1)
	go func() { // a read cannot be cancelled: where a signal comes first, this ends with the process
		line, _ := bufio.NewReader(std.in).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case a := <-answer:
		if strings.EqualFold(a, "yes") {
			return nil
		}
		return errNotConfirmed
	case <-ctx.Done():
		fmt.Fprintln(std.err)
		return fmt.Errorf("%w: %w", errNotConfirmed, context.Cause(ctx))
	}
}
