package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"orderworker/dedupe/redisstore"
)

// crash is what is known of the worker that was killed in the middle of the demo.
type crash struct {
	at     time.Time // zero: nobody was killed
	done   int       // how many requests were done when the worker was killed
	before claims    // of both workers, soon after; nil: not read yet
	known  bool      // inHand is final
	inHand int       // orders that the killed worker had claimed; 0: not known
}

// claims are the owners of the orders that are claimed, sorted, by the worker that they
// belong to. An owner is the worker's random name and a number.
type claims map[string][]string

// claimed reads the claims from Redis.
func (d *demo) claimed() claims {
	found := make(claims)
	for _, key := range d.redis.Keys() { // sorted
		if !strings.HasPrefix(key, redisstore.OrderKey(d.settings.OrdersStream, "")) {
			continue
		}
		if owner := d.redis.HGet(key, "owner"); owner != "" {
			name, _, _ := strings.Cut(owner, "-")
			found[name] = append(found[name], owner)
		}
	}
	return found
}

// bothBusy reports whether each worker has at least so many orders in hand.
func (c claims) bothBusy(least int) bool {
	for _, owners := range c {
		if len(owners) < least {
			return false
		}
	}
	return len(c) == workerCount
}

// disturb kills a worker once calls were made and both workers have many orders in hand,
// from a quarter of the requests on even a single one, and starts it again once it is known how many it had. It empties Redis when half of them are done.
func (d *demo) disturb(soft context.Context, done, total int) error {
	least := d.settings.Concurrency / 4
	if 4*done >= total {
		least = 1
	}
	switch {
	case d.crash.at.IsZero() && 20*done >= total && d.claimed().bothBusy(least):
		if err := d.process.kill(); err != nil {
			return err
		}
		d.crash.at, d.crash.done = time.Now(), done
		return nil
	case !d.crash.at.IsZero() && !d.crash.known:
		d.crash.count(d.claimed(), time.Since(d.crash.at) > d.settings.OrdersAckWait/2)
		if d.crash.known {
			return d.startProcess(soft)
		}
		return nil
	}
	if d.emptied == 0 && 2*done >= total {
		d.redis.FlushAll() // it may be lost at any moment
		d.emptied = max(done, 1)
	}
	return nil
}

// count finds out how many orders the killed worker had: those whose claims do not
// change, while the other worker's do. late says that the killed worker's claims may soon
// change too, because its leases end and its orders are taken over.
func (c *crash) count(now claims, late bool) {
	switch {
	case late:
		c.known = true
	case c.before == nil:
		c.before = now
	default:
		var still, alive int
		for name, owners := range c.before {
			if slices.Equal(owners, now[name]) {
				still = len(owners)
			} else {
				alive++
			}
		}
		if len(c.before) == workerCount && alive == workerCount-1 {
			c.inHand, c.known = still, true
		}
	}
}

// text says it in the report of total requests.
func (c *crash) text(total int) string {
	switch {
	case c.at.IsZero():
		return "never: too few orders for two workers"
	case c.inHand == 0:
		return fmt.Sprintf("once (SIGKILL), after %d of %d requests, with an unknown number of orders in its hands, taken over by others", c.done, total)
	}
	plural := "s"
	if c.inHand == 1 {
		plural = ""
	}
	return fmt.Sprintf("once (SIGKILL), after %d of %d requests, with %d order%s in its hands, taken over by others", c.done, total, c.inHand, plural)
}
