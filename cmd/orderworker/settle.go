package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/dedupe"
	"orderworker/upstream"
	"orderworker/worker"
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

Refused, with exit status 1 and the reason: an order that is not in doubt (unknown, never sent, waiting for its next attempt, final), one whose request may still be under way, --not-bought where the vendor has said that it was bought, and one whose request message cannot be read. On a terminal it asks first; without one, or with --yes, it does not. Put -- before a number that begins with a hyphen.`
}

// BeforeReset hides the settings that the command has no use for.
func (c *settleCmd) BeforeReset(command *kong.Path) error {
	narrow(command, "UPSTREAM_TIMEOUT")
	return nil
}

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

// Run looks, asks, and writes the verdict down.
func (c *settleCmd) Run(soft context.Context, std *std) error {
	ctx, cancel := c.within(soft)
	defer cancel()
	v, err := reachServers(ctx, &c.Settings)
	if err != nil {
		return c.failed(ctx, "settle", err)
	}
	defer v.close()
	d, err := c.examine(ctx, v)
	if err != nil {
		return c.failed(ctx, "settle", err)
	}
	if d.seen == 0 {
		fmt.Fprintf(std.err, "orderworker: the journal has nothing of %s, only Redis: make sure that JOURNAL_STREAM, JOURNAL_SUBJECT and JOURNAL_TTL are the workers' own\n", c.OutTradeNo)
	}
	if err := confirm(soft, std, c.Yes, c.question(d, time.Now())); err != nil {
		return c.failed(soft, "settle", err)
	}
	ctx, cancel = c.within(soft) // however long the answer took
	defer cancel()
	switch err := v.store.Settle(ctx, c.OutTradeNo, c.ruling(d, time.Now())); {
	case err == nil:
		_, err = fmt.Fprintln(std.out, c.done(d, time.Now()))
		return err
	case errors.Is(err, dedupe.ErrNotInDoubt):
		return err
	case errors.Is(err, dedupe.ErrLost):
		return c.failed(ctx, "settle", errors.New("it has changed meanwhile, nothing was written: look again with orderworker status"))
	default:
		return c.failed(ctx, "settle", fmt.Errorf("%w: it may have been written, look with orderworker status", err))
	}
}

// doubtful is an order in doubt, as it was shown to the operator.
type doubtful struct {
	storedOrder
	open dedupe.Record // the attempt
	seen uint64        // journal revision
	due  time.Time     // when a worker looks at it next; zero: not known
}

// examine returns the order, or why it cannot be settled.
func (c *settleCmd) examine(ctx context.Context, v *servers) (doubtful, error) {
	known, err := v.store.Look(ctx, c.OutTradeNo)
	if err != nil {
		return doubtful{}, err
	}
	now := time.Now()
	open, err := known.Open(now, c.UpstreamTimeout, c.Bought)
	if err != nil {
		return doubtful{}, err
	}
	d := doubtful{open: open, seen: known.JournalRev}
	seqs := []uint64{open.Seq}
	if e := known.Redis; e != nil {
		if e.Owner == "" {
			d.due = now.Add(e.Left)
		}
		if e.Seq != open.Seq && e.Seq != 0 { // the message that it was last looked at for, where the first was removed
			seqs = append(seqs, e.Seq)
		}
	}
	stream, err := v.js.Stream(ctx, c.OrdersStream)
	if err != nil {
		return doubtful{}, fmt.Errorf("stream %s: %w", c.OrdersStream, err)
	}
	var gone error
	for _, seq := range seqs {
		d.storedOrder, err = v.order(ctx, stream, c.OutTradeNo, seq)
		if err == nil && d.Fingerprint() != open.Fingerprint {
			err = &notThere{why: fmt.Sprintf("message %d of stream %s is another order with this number", seq, c.OrdersStream)}
		}
		if err == nil {
			return d, nil
		}
		if _, ok := errors.AsType[*notThere](err); !ok {
			return doubtful{}, err
		}
		gone = errors.Join(gone, err)
	}
	why := "it says what was ordered, and without it the worker does not publish the result"
	if c.NotBought {
		why = "without it the worker does not send the order again"
	}
	return doubtful{}, fmt.Errorf("its request cannot be read (%s): %w", why, gone)
}

// ruling is the verdict on d.
func (c *settleCmd) ruling(d doubtful, now time.Time) dedupe.Ruling {
	r := dedupe.Ruling{Seen: d.seen, Call: c.UpstreamTimeout}
	if c.Bought {
		p := upstream.Purchase{Code: "200", OrderNumber: c.OrderNumber}
		if c.OrderID != nil {
			p.OrderID = int64(*c.OrderID)
		}
		r.Result = worker.SettledResult(d.Order, p, d.open.Attempts, d.received, now)
	}
	return r
}

// question says what is about to happen.
func (c *settleCmd) question(d doubtful, now time.Time) string {
	order := fmt.Sprintf("Order %s: package %s for iccid %s, received %s; in doubt since %s (attempt %d, %s).\n", c.OutTradeNo, d.PackageCode, d.ICCID,
		worker.Time{Time: d.received}, worker.Time{Time: d.open.Since}, d.open.Attempt, counted(d.open.Attempts, "refusal"))
	switch {
	case c.Bought:
		id := ""
		if c.OrderID != nil {
			id = fmt.Sprintf(", order id %d", *c.OrderID)
		}
		return order + fmt.Sprintf("You say that it WAS BOUGHT, order number %s%s. The worker publishes it as succeeded; that cannot be taken back.", c.OrderNumber, id)
	case expired(d, now):
		return order + fmt.Sprintf("You say that it was NOT BOUGHT. It expired at %s, so the worker does not send it again but publishes it as failed; that cannot be taken back.",
			worker.Time{Time: *d.ExpiresAt})
	default:
		return order + "You say that it was NOT BOUGHT. The worker sends it to the vendor again; if it was bought after all, it is bought twice."
	}
}

// done says what has happened, and what comes next.
func (c *settleCmd) done(d doubtful, now time.Time) string {
	next := "when the request is delivered next"
	if left := d.due.Sub(now); left > 0 {
		next = fmt.Sprintf("when it looks at the order next, in %v", left.Round(time.Second/10))
	}
	switch {
	case c.Bought:
		return fmt.Sprintf("%s is settled as bought, order number %s: the worker publishes the result %s", c.OutTradeNo, c.OrderNumber, next)
	case expired(d, now):
		return fmt.Sprintf("%s is settled as not bought, and has expired: the worker publishes it as failed %s", c.OutTradeNo, next)
	default:
		return fmt.Sprintf("%s is settled as not bought: the worker sends it again %s", c.OutTradeNo, next)
	}
}

func expired(d doubtful, now time.Time) bool {
	return d.ExpiresAt != nil && now.After(*d.ExpiresAt)
}

// confirm asks the question on a terminal and wants a yes. Where nobody can
// answer, or with yes said before, it does not ask.
func confirm(ctx context.Context, std *std, yes bool, question string) error {
	if yes || !std.isTerminal() {
		return nil
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
