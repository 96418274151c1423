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
	Errors []string `json:"errors"` // what could not be asked
}

// Card returns the orders of a card: the unfinished ones, and those that the newest
// results tell of.
func (d *Desk) Card(ctx context.Context, iccid string) *Card {
	c := &Card{ICCID: iccid, Orders: []Row{}, Errors: []string{}}
	o, rows := d.Unfinished(ctx, MaxScan)
	c.Errors = append(c.Errors, o.Errors...)
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
		fmt.Fprintf(out, "no order of card %s is known\n", Shown(c.ICCID, 40))
	} else if err := PrintRows(out, c.Orders, maxAttempts); err != nil {
		return err
	}
	if c.Older > 0 {
		fmt.Fprintf(out, "%d older results were not searched\n", c.Older)
	}
	return nil
}
