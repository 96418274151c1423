package operator

import (
	"context"
	"fmt"
	"io"
)

// MaxEvents is how many of the newest final events are searched for the orders of a card.
const MaxEvents = 200_000

// Card is the orders of a card, newest first.
type Card struct {
	ICCID  string   `json:"iccid"`
	Orders []Row    `json:"orders"`
	Older  uint64   `json:"older"`  // results that were not searched, because there are too many
	Unread uint64   `json:"unread"` // order requests that were not searched: too many, or they could not be read
	Errors []string `json:"errors"` // what could not be asked
}

// Card returns the orders of a card: the unfinished ones, and those that the newest
// results tell of.
func (d *Desk) Card(ctx context.Context, iccid string) *Card {
	c := &Card{ICCID: iccid, Orders: []Row{}, Errors: []string{}}
	o, rows := d.Unfinished(ctx, d.ScanLimit)
	c.Errors = append(c.Errors, o.Errors...)
	c.Unread = o.Counts.Uncounted + o.unread
	finished := map[string]bool{}
	older, err := d.Finished(ctx, "", MaxEvents, func(r Row) {
		if r.ICCID == iccid {
			c.Orders = append(c.Orders, r)
			finished[r.OutTradeNo] = true
		}
	})
	if c.Older = older; err != nil {
		c.Errors = append(c.Errors, "results: "+err.Error())
	}
	for _, r := range rows {
		if r.ICCID == iccid && !finished[r.OutTradeNo] {
			c.Orders = append(c.Orders, r)
		}
	}
	byNewest(c.Orders)
	return c
}

// Print writes a line for each order.
func (c *Card) Print(out io.Writer, maxAttempts int) error {
	if len(c.Orders) == 0 {
		known := "known"
		if c.Older+c.Unread > 0 || len(c.Errors) > 0 {
			known = "among those that were searched"
		}
		fmt.Fprintf(out, "no order of card %s is %s\n", Shown(c.ICCID, 40), known)
	} else if err := PrintRows(out, c.Orders, maxAttempts); err != nil {
		return err
	}
	if c.Unread > 0 {
		fmt.Fprintf(out, "%d order requests were not searched\n", c.Unread)
	}
	if c.Older > 0 {
		fmt.Fprintf(out, "%d older results were not searched\n", c.Older)
	}
	return nil
}
