package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/dedupe"
	"orderworker/upstream"
	"orderworker/worker"
)

// Verdict is how an order in doubt ended, in the words of an operator.
type Verdict struct {
	Bought      bool   // otherwise it was not bought
	OrderNumber string // the vendor's, if it was bought
	OrderID     *int   // the vendor's, if it was bought and the id is known
}

// Case is an order in doubt, as it is shown to the operator, and the verdict on it.
type Case struct {
	Verdict
	storedOrder
	servers *servers
	open    dedupe.Record // the attempt
	seen    uint64        // journal revision
	due     time.Time     // when a worker looks at it next; zero: not known
}

// Examine reads what is known of o. The error says why verdict cannot be applied to it. The
// caller must close the case.
func Examine(ctx context.Context, o *Order, verdict Verdict) (*Case, error) {
	ctx, cancel := o.within(ctx)
	defer cancel()
	v, err := o.reach(ctx)
	if err != nil {
		return nil, o.failed(ctx, "settle", err)
	}
	c := &Case{Verdict: verdict, servers: v}
	ctx, refuse := v.refusable(ctx)
	defer refuse(nil)
	if err := c.examine(ctx); err != nil {
		c.Close()
		return nil, o.failed(ctx, "settle", refusal(ctx, err))
	}
	return c, nil
}

// Close closes the connections of the case.
func (c *Case) Close() { c.servers.close() }

// Warning says what is suspicious about the case; empty if nothing is.
func (c *Case) Warning() string {
	if c.seen != 0 {
		return ""
	}
	return fmt.Sprintf("the journal has nothing of %s, only Redis: make sure that JOURNAL_STREAM, JOURNAL_SUBJECT and JOURNAL_TTL are the workers' own", c.OutTradeNo)
}

// Settle writes the verdict into the journal, unless the order has changed since Examine.
// It returns what happens next.
func (c *Case) Settle(ctx context.Context) (next string, err error) {
	o := c.servers.Order
	ctx, cancel := o.within(ctx)
	defer cancel()
	ctx, refuse := c.servers.refusable(ctx)
	defer refuse(nil)
	switch err := refusal(ctx, c.servers.store.Settle(ctx, c.OutTradeNo, c.ruling(time.Now()))); {
	case err == nil:
		return c.done(time.Now()), nil
	case errors.Is(err, dedupe.ErrNotInDoubt):
		return "", err
	case errors.Is(err, dedupe.ErrLost):
		return "", o.failed(ctx, "settle", errors.New("it has changed meanwhile, nothing was written: look again with orderworker status"))
	case notWritten(err):
		return "", o.failed(ctx, "settle", fmt.Errorf("%w: nothing was written", err))
	default:
		return "", o.failed(ctx, "settle", fmt.Errorf("%w: it may have been written, look with orderworker status", err))
	}
}

// examine fills in the case. The error says why the order cannot be settled.
func (c *Case) examine(ctx context.Context) error {
	v := c.servers
	known, err := v.store.Look(ctx, v.OutTradeNo)
	if err != nil {
		return err
	}
	now := time.Now()
	if c.open, err = known.Settleable(now, v.UpstreamTimeout, c.Bought); err != nil {
		return err
	}
	c.seen = known.JournalRev
	seqs := []uint64{c.open.Seq}
	if e := known.Cache; e != nil {
		if e.Owner == "" {
			c.due = now.Add(e.Left)
		}
		if e.Seq != c.open.Seq && e.Seq != 0 { // that of its last delivery, in case the first message was removed
			seqs = append(seqs, e.Seq)
		}
	}
	return c.readRequest(ctx, seqs)
}

// readRequest reads the order's request, from the first of seqs where the stream has it.
func (c *Case) readRequest(ctx context.Context, seqs []uint64) error {
	v := c.servers
	before := time.Now()
	stream, err := v.js.Stream(ctx, v.OrdersStream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", v.OrdersStream, err)
	}
	if fault := clockApart(before, stream.CachedInfo()); fault != "" { // by that clock the request is over
		return errors.New(fault)
	}
	var gone error
	for _, seq := range seqs {
		c.storedOrder, err = v.stored(ctx, stream, seq)
		if err == nil && c.Fingerprint() != c.open.Fingerprint {
			err = &notThere{why: fmt.Sprintf("message %d of stream %s is another order with this number", seq, v.OrdersStream)}
		}
		if err == nil {
			return nil
		}
		if _, ok := errors.AsType[*notThere](err); !ok {
			return err
		}
		gone = errors.Join(gone, err)
	}
	why := "it says what was ordered, and without it the worker does not publish the result"
	if !c.Bought {
		why = "without it the worker does not send the order again"
	}
	return fmt.Errorf("its request cannot be read (%s): %w", why, gone)
}

// ruling returns the verdict in the form that the journal stores.
func (c *Case) ruling(now time.Time) dedupe.Ruling {
	r := dedupe.Ruling{Seen: c.seen, Timeout: c.servers.UpstreamTimeout}
	if c.Bought {
		p := upstream.Purchase{Code: "200", OrderNumber: c.OrderNumber}
		if c.OrderID != nil {
			p.OrderID = int64(*c.OrderID)
		}
		r.Result = worker.SettledResult(c.Order, p, c.open.Refusals, c.received, now)
	}
	return r
}

// Question says what Settle is about to do.
func (c *Case) Question() string {
	order := fmt.Sprintf("Order %s: package %s for iccid %s, received %s; in doubt since %s (attempt %d, %s).\n", c.OutTradeNo, c.PackageCode, c.ICCID,
		worker.Time{Time: c.received}, worker.Time{Time: c.open.Since}, c.open.Attempt, text.Counted(c.open.Refusals, "refusal"))
	switch {
	case c.Bought:
		id := ""
		if c.OrderID != nil {
			id = fmt.Sprintf(", order id %d", *c.OrderID)
		}
		return order + fmt.Sprintf("You say that it WAS BOUGHT, order number %s%s. The worker publishes it as succeeded; that cannot be taken back.", c.OrderNumber, id)
	case c.expired(time.Now()):
		return order + fmt.Sprintf("You say that it was NOT BOUGHT. It expired at %s, so the worker does not send it again but publishes it as failed; that cannot be taken back.",
			worker.Time{Time: *c.ExpiresAt})
	default:
		return order + "You say that it was NOT BOUGHT. The worker sends it to the vendor again; if it was bought after all, it is bought twice."
	}
}

// done says what has happened, and what happens next.
func (c *Case) done(now time.Time) string {
	next := "when the request is delivered next"
	if left := c.due.Sub(now); left > 0 {
		next = fmt.Sprintf("when it looks at the order next, in %v", left.Round(time.Second/10))
	}
	switch {
	case c.Bought:
		return fmt.Sprintf("%s is settled as bought, order number %s: the worker publishes the result %s", c.OutTradeNo, c.OrderNumber, next)
	case c.expired(now):
		return fmt.Sprintf("%s is settled as not bought, and has expired: the worker publishes it as failed %s", c.OutTradeNo, next)
	default:
		return fmt.Sprintf("%s is settled as not bought: the worker sends it again %s", c.OutTradeNo, next)
	}
}

// expired reports whether the order is past its expiresAt.
func (c *Case) expired(now time.Time) bool {
	return c.ExpiresAt != nil && now.After(*c.ExpiresAt)
}
