package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"orderworker/dedupe"
	"orderworker/worker"
)

// batchSize is how many orders are read together. An order has at most four subjects with
// an event, and the server replies to one request with at most 1,024 messages.
const batchSize = 200

const (
	readTimeout = 5 * time.Second // limit of one try to read a batch
	readTries   = 4               // a replica may be unavailable for a moment
)

// Results returns the outcome of each request, in the order of requests. It cannot tell an
// open order from one that was never published. It reads by the orders' subjects and does
// not search the stream. A request that breaks a rule is an error. While the connection is
// lost it waits, until ctx ends. An error that may pass wraps ErrUnavailable.
func (c *Client) Results(ctx context.Context, requests []Request) ([]Outcome, error) {
	outcomes := make([]Outcome, 0, len(requests))
	for len(requests) > 0 {
		n := min(len(requests), batchSize)
		asked := make([]question, n)
		for i, r := range requests[:n] {
			if err := r.Validate(); err != nil {
				return nil, fmt.Errorf("request %q: %w", r.OutTradeNo, err)
			}
			asked[i] = question{dedupe.SubjectToken(r.OutTradeNo), r.fingerprint()}
		}
		events, err := c.read(ctx, asked)
		if err != nil {
			return nil, err
		}
		for i, r := range requests[:n] {
			o, err := outcome(r, events[asked[i].token])
			if err != nil {
				return nil, err
			}
			outcomes = append(outcomes, o)
		}
		requests = requests[n:]
	}
	return outcomes, nil
}

// Wait waits until the outcome of the request is final, and returns its event: succeeded,
// failed or rejected. It reads at intervals that grow from 50 ms to 1 s. When ctx ends, it
// returns the newest event so far with an error.
func (c *Client) Wait(ctx context.Context, r Request) (Event, error) {
	for pause := 50 * time.Millisecond; ; pause = min(pause*3/2, time.Second) {
		outcomes, err := c.Results(ctx, []Request{r})
		if err != nil {
			return Event{}, err
		}
		if outcomes[0].Final {
			return outcomes[0].Event, nil
		}
		select {
		case <-ctx.Done():
			return outcomes[0].Event, fmt.Errorf("wait for %s, which is %s: %w", r.OutTradeNo, outcomes[0].state(), context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// read returns the last event of each status of each order, by the order's token and by
// status. It repeats a read that fails, since reading changes nothing. While the connection
// is lost it waits until ctx ends: nats.go reconnects by itself, and until then each
// request fails at once.
func (c *Client) read(ctx context.Context, asked []question) (map[string]map[worker.Status]storedEvent, error) {
	for try := 1; ; {
		reconnects := c.nc.Stats().Reconnects
		events, err := c.readOnce(ctx, asked)
		lost := !c.nc.IsConnected() || c.nc.Stats().Reconnects != reconnects
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err == nil:
			return events, nil
		case c.nc.IsClosed():
			return nil, nats.ErrConnectionClosed
		case lost: // the failure says nothing about the stream
		case errors.Is(err, ErrNoResults):
			return nil, err
		case errors.Is(err, errUnreadable):
			return nil, fmt.Errorf("read stream %s: %w", c.config.ResultsStream, err)
		case try >= readTries:
			return nil, fmt.Errorf("%w: stream %s: %w", ErrUnavailable, c.config.ResultsStream, err)
		default:
			try++
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try) * 200 * time.Millisecond):
		}
	}
}

// readOnce tries to read a batch, after choosing how to.
func (c *Client) readOnce(ctx context.Context, asked []question) (map[string]map[worker.Status]storedEvent, error) {
	mode, err := c.chooseReadMode(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return mode(ctx, c, asked)
}
