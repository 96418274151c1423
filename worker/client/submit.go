package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Progress is how far SubmitAll is.
type Progress struct {
	Stored  int
	Waiting error // why nothing can be stored at the moment; nil: it goes on
}

// Errors of Submit and SubmitAll that a program may want to tell apart.
var (
	// ErrNoStream means that no stream takes requests: there is none for the subject, or it
	// cannot be reached from this account.
	ErrNoStream = errors.New("no stream answers")
	// ErrFull is Progress.Waiting while the stream is at one of its limits, and refuses
	// instead of dropping old requests.
	ErrFull = errors.New("the stream is full")
)

const (
	// After this many tries in a row without an answer the stream is taken to be missing,
	// or the server to acknowledge nothing.
	noStreamTries = 3
	noAckTries    = 4

	firstPause = 100 * time.Millisecond // after a refusal; it doubles
	lastPause  = 2 * time.Second
)

// Submit publishes one request and returns when the stream has stored it. It waits while
// the stream is full or the server away, until ctx ends.
func (c *Client) Submit(ctx context.Context, r Request) error {
	_, err := c.SubmitAll(ctx, func(yield func(Request, error) bool) { yield(r, nil) }, nil)
	return err
}

// SubmitAll publishes requests in their order, at most Config.Window at a time, and waits
// for every acknowledgement. It returns how many are certainly stored. An error of the
// sequence ends it, once what is under way was acknowledged; an invalid request is such an
// error. While the stream is full or the server away it waits, until ctx ends. watch may be
// nil; it is called with each step.
//
// A request of which it is unknown whether it was stored is published again, because a
// second one is a duplicate and changes nothing.
func (c *Client) SubmitAll(ctx context.Context, requests iter.Seq2[Request, error], watch func(Progress)) (stored int, err error) {
	next, stop := iter.Pull2(requests)
	defer stop()
	if watch == nil {
		watch = func(Progress) {}
	}
	s := submission{c: c, next: next, watch: watch, limit: c.config.Window}
	err = s.run(ctx)
	return s.stored, err
}

// submission is one SubmitAll.
type submission struct {
	c     *Client
	next  func() (Request, error, bool)
	watch func(Progress)

	again  [][]byte // refused or unanswered: published before anything new
	flight []flight // under way, oldest first
	failed [][]byte // no longer under way, and not stored
	ended  error    // of the sequence; errEnd: it is over
	stored int

	limit int // requests under way at most; one after a refusal, then twice as many each time
	pause time.Duration
	lost  int // failures in a row that would mean, if they go on, that there is no stream
}

// flight is a request that was published and not acknowledged yet.
type flight struct {
	payload []byte
	ack     jetstream.PubAckFuture
}

var errEnd = errors.New("end of the requests")

func (s *submission) run(ctx context.Context) error {
	for {
		err := s.fill()
		if err == nil && len(s.flight) == 0 {
			break
		}
		if err == nil {
			err = s.await(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if err := s.recover(ctx, err); err != nil {
				return err
			}
		}
	}
	if s.ended != errEnd {
		return s.ended
	}
	return nil
}

// fill publishes until as many requests are under way as may be.
func (s *submission) fill() error {
	for len(s.flight) < s.limit {
		if len(s.again) == 0 && s.ended == nil {
			s.take()
		}
		if len(s.again) == 0 {
			return nil
		}
		ack, err := s.c.js.PublishMsgAsync(&nats.Msg{Subject: s.c.config.OrdersSubject, Data: s.again[0]}, jetstream.WithExpectStream(s.c.config.OrdersStream))
		if err != nil {
			return err
		}
		s.flight = append(s.flight, flight{s.again[0], ack})
		s.again = s.again[1:]
	}
	return nil
}

// take takes the next request of the sequence.
func (s *submission) take() {
	r, err, ok := s.next()
	if !ok {
		s.ended = errEnd
		return
	}
	payload := []byte(nil)
	if err == nil {
		if payload, err = r.Payload(); err != nil {
			err = fmt.Errorf("request %q: %w", r.OutTradeNo, err)
		}
	}
	if err != nil {
		s.ended = err
		return
	}
	s.again = append(s.again, payload)
}

// await waits for the acknowledgement of the oldest request under way.
func (s *submission) await(ctx context.Context) error {
	select {
	case <-s.flight[0].ack.Ok():
		s.flight = s.flight[1:]
		s.stored++
		s.lost, s.pause, s.limit = 0, 0, min(2*s.limit, s.c.config.Window)
		s.watch(Progress{Stored: s.stored})
		return nil
	case err := <-s.flight[0].ack.Err():
		s.failed, s.flight = append(s.failed, s.flight[0].payload), s.flight[1:]
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recover is called after a failure. It waits for the other acknowledgements, and decides
// whether to wait or to give up; what was not stored is then published again.
func (s *submission) recover(ctx context.Context, cause error) error {
	failed := s.failed
	for _, f := range s.flight {
		select {
		case <-f.ack.Ok():
			s.stored++
			s.lost, s.pause = 0, 0
		case <-f.ack.Err():
			failed = append(failed, f.payload)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.again, s.flight, s.failed, s.limit = append(failed, s.again...), nil, nil, 1
	waiting, err := s.judge(cause)
	if err != nil {
		return err
	}
	s.watch(Progress{Stored: s.stored, Waiting: waiting})
	s.pause = min(max(2*s.pause, firstPause), lastPause)
	select {
	case <-time.After(s.pause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// judge says why nothing can be stored at the moment, or that it never will.
func (s *submission) judge(err error) (waiting, fatal error) {
	api, refused := errors.AsType[*jetstream.APIError](err)
	subject, stream := s.c.config.OrdersSubject, s.c.config.OrdersStream
	switch {
	case refused && fullCodes[api.ErrorCode]:
		return fmt.Errorf("%w: %s: %s", ErrFull, stream, api.Description), nil
	case refused && api.Code == 503: // no leader at the moment
		return fmt.Errorf("stream %s: %s", stream, api.Description), nil
	case refused:
		return nil, fmt.Errorf("publish to %s: stream %s: %w", subject, stream, err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrMaxPayload):
		return nil, fmt.Errorf("publish to %s: %w", subject, err)
	case !s.c.nc.IsConnected():
		return fmt.Errorf("the connection to NATS is lost"), nil
	}
	s.lost++
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse):
		if s.lost >= noStreamTries {
			return nil, fmt.Errorf("publish to %s: %w: stream %s is missing (a worker makes it when it starts)", subject, ErrNoStream, stream)
		}
		return ErrNoStream, nil
	case s.lost >= noAckTries:
		return nil, fmt.Errorf("publish to %s: %w within %v, %d times: is stream %s there, and may this user publish?", subject, ErrNoStream, ackTimeout, s.lost, stream)
	}
	return fmt.Errorf("no acknowledgement: %w", err), nil
}

// fullCodes are the error codes of limits that are reached, which pass when workers
// have finished some orders.
//
// Source: nats-server, server/errors.json.
var fullCodes = map[jetstream.ErrorCode]bool{
	10023: true, // insufficient resources
	10028: true, // memory of the account
	10047: true, // storage of the account
	10077: true, // max_msgs, max_bytes
	10167: true, // too many requests under way in the stream
}
