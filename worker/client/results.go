package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"orderworker/dedupe"
	"orderworker/worker"
)

// batchSize is how many orders one question is about: each has four events at most, and
// the server gives 1,024 messages for one question.
const batchSize = 200

// readTimeout limits one question to the results stream. A replica that is away is asked
// again.
const (
	readTimeout = 5 * time.Second
	readTries   = 4
)

// Results returns the outcome of each request, in their order. Whether an order is open or
// was never published cannot be told. It asks by the orders' subjects; the stream is not
// searched. A request that breaks a rule is an error.
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

// Wait returns the event that ends the order of a request: succeeded, failed or rejected.
// It asks at intervals that grow from 50 ms to 1 s, until ctx ends.
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

// read returns the last event of each status of each order, by the order's token. A
// question without an answer is asked again: to read changes nothing.
func (c *Client) read(ctx context.Context, asked []question) (events map[string]map[worker.Status]stored, err error) {
	mode, err := c.readMode(ctx)
	if err != nil {
		return nil, err
	}
	for try := range readTries {
		events, err = func() (map[string]map[worker.Status]stored, error) {
			ctx, cancel := context.WithTimeout(ctx, readTimeout)
			defer cancel()
			return mode(ctx, c, asked)
		}()
		if err == nil || errors.Is(err, errUnreadable) || ctx.Err() != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(try+1) * 200 * time.Millisecond):
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", c.config.ResultsStream, err)
	}
	return events, nil
}
