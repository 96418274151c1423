package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/dedupe"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

// Cancel is an order that an operator wants to cancel, as it is shown, and what will be
// written.
type Cancel struct {
	Order     *Row `json:"order"`
	desk      *Desk
	request   Request
	delivered bool // a worker was given the request
	known     dedupe.Known
	seen      uint64
}

// Warning says what is suspicious about the order; empty if nothing is.
func (c *Cancel) Warning() string {
	if !c.delivered || c.known.Journal != nil {
		return ""
	}
	return fmt.Sprintf("a worker was given %s, and the journal has nothing of it: make sure that JOURNAL_STREAM, JOURNAL_SUBJECT and JOURNAL_TTL are the workers' own", c.request.OutTradeNo)
}

// PlanCancel looks at an order that is to be cancelled, and changes nothing. The error
// says why it cannot be.
func (d *Desk) PlanCancel(ctx context.Context, outTradeNo string) (*Cancel, error) {
	no := func(err error, format string, args ...any) error {
		return fmt.Errorf("cancel %s: %w: %s", outTradeNo, err, fmt.Sprintf(format, args...))
	}
	if d.JournalTTL == 0 {
		return nil, no(dedupe.ErrNotCancellable, "with JOURNAL_TTL=0 nothing says for certain that it was not sent")
	}
	switch fault, err := d.clockFault(ctx); { // by which the journal still remembers the order
	case err != nil:
		return nil, no(dedupe.ErrNotCancellable, "not everything can be asked: %v", err)
	case fault != "":
		return nil, no(dedupe.ErrNotCancellable, "%s", fault)
	}
	detail := d.Order(ctx, outTradeNo, false)
	for _, failed := range detail.Errors {
		if failed != detail.wordUnread { // the operator's word says nothing of an order
			return nil, no(dedupe.ErrNotCancellable, "not everything can be asked: %s", failed)
		}
	}
	if status := detail.finalStatus(); status != "" {
		return nil, no(dedupe.ErrNotCancellable, "it has its final result, %s", status)
	}
	c := &Cancel{desk: d, Order: detail.Order, known: detail.known, seen: detail.known.JournalRev}
	found, err := d.requestOf(ctx, detail)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cancel %s: %w", outTradeNo, err)
	case found == nil && !detail.Searched:
		return nil, no(dedupe.ErrNotCancellable, "its request was not found among the newest in the stream, and there are too many to search them all")
	case found == nil:
		return nil, no(dedupe.ErrNotCancellable, "its request is not in the stream: it is finished, or was never published")
	}
	c.request = *found
	c.delivered = slices.ContainsFunc(detail.Requests, func(r RequestSeen) bool { return r.Seq == found.Seq && r.Delivered })
	if err := c.known.Cancellable(c.order(), d.JournalTTL, time.Now()); err != nil {
		return nil, fmt.Errorf("cancel %s: %w", outTradeNo, err)
	}
	return c, nil
}

// finalStatus is the status of the order's final event; "": there is none.
func (t *Detail) finalStatus() string {
	if t.Results != nil {
		for _, e := range t.Results.Events {
			if State(e.Status).Finished() {
				return e.Status
			}
		}
	}
	return ""
}

// requestOf returns the earliest valid request of an order; nil: there is none in the
// stream. If something is known of the order, it is the earliest of that content.
func (d *Desk) requestOf(ctx context.Context, t *Detail) (*Request, error) {
	known := t.known.Journal != nil || t.known.Cache != nil
	for _, seen := range t.Requests {
		var found *Request
		err := d.walk(ctx, d.OrdersStream, d.OrdersSubject, seen.Seq, seen.Seq, func(m natsio.Stored) {
			r := requestIn(m)
			found = &r
		})
		if err != nil {
			return nil, err
		}
		if found != nil && found.Invalid == nil && found.OutTradeNo == t.OutTradeNo && (!known || isOf(t.known, found.Fingerprint())) {
			return found, nil
		}
	}
	return nil, nil
}

// order is what the stores know the request by.
func (c *Cancel) order() dedupe.Order {
	return dedupe.Order{OutTradeNo: c.request.OutTradeNo, Fingerprint: c.request.Fingerprint(), Seq: c.request.Seq, Stored: c.request.Received, Expires: c.request.ExpiresAt}
}

// Question says what Run is about to do.
func (c *Cancel) Question() string {
	return fmt.Sprintf("Order %s: package %s for iccid %s, received %s; %s, %s.\nIt is published as failed, reason cancelled, and never sent. That cannot be taken back.",
		c.request.OutTradeNo, Shown(c.request.PackageCode, 128), c.request.ICCID, timeOf(c.request.Received), c.Order.State, text.Counted(c.Order.Refusals, "refusal"))
}

// Run cancels the order, unless it has changed since PlanCancel, and returns what happens
// next.
func (c *Cancel) Run(ctx context.Context) (next string, err error) {
	no := c.request.OutTradeNo
	var last dedupe.Answer
	refusals := 0
	if j := c.known.Journal; j != nil {
		last, refusals = j.Last, j.Refusals
	}
	result := worker.CancelledResult(c.request.Order, refusals, last.Code, last.Message, c.request.Received, time.Now())
	err = c.desk.about(ctx, c.desk.JournalSubject+"."+dedupe.SubjectToken(no), func(ctx context.Context, l *link) error {
		return c.desk.store(l).Cancel(ctx, dedupe.Cancellation{Request: c.order(), Seen: c.seen, Result: result})
	})
	switch {
	case err == nil:
	case errors.Is(err, dedupe.ErrNotCancellable):
		return "", err
	case errors.Is(err, dedupe.ErrLost):
		return "", fmt.Errorf("cancel %s: it has changed meanwhile, nothing was written: a worker has begun to send it, or another operator was faster; look with orderworker status", no)
	case notWritten(err):
		return "", fmt.Errorf("cancel %s: %w: nothing was written", no, err)
	default:
		return "", fmt.Errorf("cancel %s: %w: it may have been written, look with orderworker status", no, err)
	}
	when := "when the request is delivered next"
	if e := c.known.Cache; e != nil && e.Owner == "" && e.Left > 0 {
		when += fmt.Sprintf(", in %s", ago(e.Left))
	}
	return fmt.Sprintf("%s is cancelled: a worker publishes it as failed %s", no, when), nil
}
