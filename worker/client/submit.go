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

// Progress is how far SubmitAll has come.
type Progress struct {
	Stored  int   // requests that are certainly stored
	Waiting error // why nothing can be stored at the moment; nil: SubmitAll does not wait
}

// Errors of Submit and SubmitAll that a program may want to tell apart.
var (
	// ErrNoStream means that no stream takes requests: there is none for the subject, it
	// cannot be reached from this account, or it has no leader.
	ErrNoStream = errors.New("no stream answers")
	// ErrFull is Progress.Waiting while the stream is at one of its limits, and refuses
	// instead of dropping old requests.
	ErrFull = errors.New("the stream is full")
)

const (
	firstPause = 100 * time.Millisecond // before the first try after a failure; it doubles each time
	lastPause  = 2 * time.Second
)

// Submit publishes one request and returns when the stream has stored it. While the stream
// is full or the server unavailable it waits, until ctx ends.
func (c *Client) Submit(ctx context.Context, r Request) error {
	_, err := c.SubmitAll(ctx, func(yield func(Request, error) bool) { yield(r, nil) }, nil)
	return err
}

// SubmitAll publishes requests in their order, at most Config.Window at a time, and waits
// for every acknowledgement. It returns how many are certainly stored. While the stream is
// full or the server unavailable it waits, until ctx ends. It calls watch with each change
// of its progress; watch may be nil.
//
// An error of the sequence, or an invalid request, ends it: it waits for the
// acknowledgements of what it has published, and returns that error.
//
// If it is unknown whether a request was stored, SubmitAll publishes it again: the second
// one is a duplicate and changes nothing.
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

// submission is the state of one SubmitAll.
type submission struct {
	c     *Client
	next  func() (Request, error, bool)
	watch func(Progress)

	queue    [][]byte  // payloads to publish next, before the sequence is asked for more
	unacked  []publish // published and not acknowledged yet, oldest first
	unstored [][]byte  // published, and known to have failed
	ended    error     // why the sequence gives no more requests; errEnd: it has no more
	stored   int

	limit  int           // largest length of unacked; 1 after a failure, then it doubles with each success
	pause  time.Duration // the last wait after a failure; 0: there was a success since
	silent time.Time     // when the stream first failed to answer; zero: it has answered since
}

// publish is a request that was published, and the acknowledgement to come.
type publish struct {
	payload []byte
	ack     jetstream.PubAckFuture
}

var errEnd = errors.New("end of the requests")

// run publishes until the sequence has ended and everything is acknowledged.
func (s *submission) run(ctx context.Context) error {
	for {
		err := s.fill()
		if err == nil && len(s.unacked) == 0 {
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

// fill publishes until s.limit requests are unacknowledged, or there are no more.
func (s *submission) fill() error {
	for len(s.unacked) < s.limit {
		if len(s.queue) == 0 && s.ended == nil {
			s.takeNext()
		}
		if len(s.queue) == 0 {
			return nil
		}
		ack, err := s.c.js.PublishMsgAsync(&nats.Msg{Subject: s.c.config.OrdersSubject, Data: s.queue[0]}, jetstream.WithExpectStream(s.c.config.OrdersStream))
		if err != nil {
			return err
		}
		s.unacked = append(s.unacked, publish{s.queue[0], ack})
		s.queue = s.queue[1:]
	}
	return nil
}

// takeNext queues the next request of the sequence.
func (s *submission) takeNext() {
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
	s.queue = append(s.queue, payload)
}

// await waits for the acknowledgement of the oldest request that has none.
func (s *submission) await(ctx context.Context) error {
	select {
	case <-s.unacked[0].ack.Ok():
		s.unacked = s.unacked[1:]
		s.stored++
		s.silent, s.pause, s.limit = time.Time{}, 0, min(2*s.limit, s.c.config.Window)
		s.watch(Progress{Stored: s.stored})
		return nil
	case err := <-s.unacked[0].ack.Err():
		s.unstored, s.unacked = append(s.unstored, s.unacked[0].payload), s.unacked[1:]
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recover deals with a failed publish. It waits for the acknowledgements that are still to
// come, queues whatever was not stored, and waits before the next try. It returns an error
// if trying again cannot help.
func (s *submission) recover(ctx context.Context, cause error) error {
	unstored := s.unstored
	for _, f := range s.unacked {
		select {
		case <-f.ack.Ok():
			s.stored++
			s.silent, s.pause = time.Time{}, 0
		case <-f.ack.Err():
			unstored = append(unstored, f.payload)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.queue, s.unacked, s.unstored, s.limit = append(unstored, s.queue...), nil, nil, 1
	waiting, err := s.classify(cause)
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

// classify returns err as the reason to wait or, if trying again cannot help, as fatal.
func (s *submission) classify(err error) (waiting, fatal error) {
	api, refused := errors.AsType[*jetstream.APIError](err)
	subject, stream := s.c.config.OrdersSubject, s.c.config.OrdersStream
	silent := s.silent
	s.silent = time.Time{}
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
	if s.silent = silent; silent.IsZero() {
		s.silent = time.Now()
	}
	return s.unanswered(err)
}

// unanswered deals with a publish that no stream has answered. It gives up by time, not by
// tries: without a leader a stream is as silent as one that is missing, and an election may
// take many seconds.
func (s *submission) unanswered(err error) (waiting, fatal error) {
	absent := errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
	if time.Since(s.silent) < s.c.config.StreamTimeout {
		if absent {
			return ErrNoStream, nil
		}
		return fmt.Errorf("no acknowledgement: %w", err), nil
	}
	text := "is stream %s there, and may this user publish?"
	switch {
	case s.stored > 0:
		text = "stream %s has stored requests before; it may have no leader"
	case absent:
		text = "stream %s is missing (a worker makes it when it starts), or has no leader"
	}
	return nil, fmt.Errorf("publish to %s: %w for %v: "+text, s.c.config.OrdersSubject, ErrNoStream, s.c.config.StreamTimeout, s.c.config.OrdersStream)
}

// fullCodes are the error codes of limits that the stream or the account has reached. They
// pass when workers have finished orders.
//
// Source: nats-server, server/errors.json.
var fullCodes = map[jetstream.ErrorCode]bool{
	10023: true, // insufficient resources
	10028: true, // memory of the account
	10047: true, // storage of the account
	10077: true, // max_msgs, max_bytes
	10167: true, // too many requests under way in the stream
}
