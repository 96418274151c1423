package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"orderworker/worker"
)

// question is about the events of one order.
type question struct {
	token       string // of the order, in subjects
	fingerprint string // of the content that is asked for
}

// readMode is one of three ways to read the last events of some orders by subject. It
// returns them by token and status.
type readMode func(ctx context.Context, c *Client, asked []question) (map[string]map[worker.Status]stored, error)

// ErrNoResults means that the results stream is missing, or may not be read.
var ErrNoResults = errors.New("the results stream cannot be read")

// errUnreadable marks an answer that would be the same again.
var errUnreadable = errors.New("unreadable answer")

const (
	probeTimeout = 2 * time.Second
	readersAtOne = 64 // questions under way, where each is about one order
)

// readMode returns the way in which this user may read the results stream, and finds it
// out at the first call: many orders with one question where that is allowed (the
// subject DIRECT.GET.STREAM), else one by one (DIRECT.GET.STREAM.SUBJECT), else from the
// leader, where the stream does not allow Direct Get (STREAM.MSG.GET).
func (c *Client) readMode(ctx context.Context) (readMode, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode != nil {
		return c.mode, nil
	}
	var errs []error
	for _, mode := range []readMode{readBatch, readDirect, readLeader} {
		err := c.probe(ctx, mode)
		if err == nil {
			c.mode = mode
			return mode, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%w: stream %s is missing (a worker makes it when it starts), or this user may not read it: %w",
		ErrNoResults, c.config.ResultsStream, errs[len(errs)-1])
}

// probe tries one way to read. A refused permission is told to the connection alone, and
// the question stays without an answer: so the connection's last error is looked at.
func (c *Client) probe(ctx context.Context, mode readMode) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	before := c.nc.LastError()
	done := make(chan error, 1)
	go func() {
		_, err := mode(ctx, c, []question{{token: "_"}}) // any order will do: no answer, or none about it, is what counts
		done <- err
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if err := c.nc.LastError(); err != before && errors.Is(err, nats.ErrPermissionViolation) {
				cancel()
				<-done
				return err
			}
		}
	}
}

// subject returns the subject of an order's events of a status.
func (c *Client) subject(status worker.Status, token string) string {
	return c.config.ResultsSubject + "." + string(status) + "." + token
}

// readBatch reads all events of all orders with one question.
func readBatch(ctx context.Context, c *Client, asked []question) (map[string]map[worker.Status]stored, error) {
	subjects := make([]string, 0, len(asked))
	events := make(map[string]map[worker.Status]stored, len(asked))
	for _, q := range asked {
		if events[q.token] == nil {
			events[q.token] = map[worker.Status]stored{}
			subjects = append(subjects, c.subject("*", q.token))
		}
	}
	all, err := jetstreamext.GetLastMsgsFor(ctx, c.js, c.config.ResultsStream, subjects)
	if err != nil {
		return nil, err
	}
	for m, err := range all {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			break
		}
		if err != nil {
			return nil, err
		}
		status, token, ok := strings.Cut(strings.TrimPrefix(m.Subject, c.config.ResultsSubject+"."), ".")
		if ok && events[token] != nil {
			events[token][worker.Status(status)] = stored{m.Header, m.Data}
		}
	}
	return events, ctx.Err() // the sequence ends early with its context
}

// readDirect asks for each event by its own subject, many at a time.
func readDirect(ctx context.Context, c *Client, asked []question) (map[string]map[worker.Status]stored, error) {
	return c.readEach(ctx, asked, func(ctx context.Context, subject string) (stored, bool, error) {
		m, err := c.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+c.config.ResultsStream+"."+subject, nil)
		if err != nil {
			return stored{}, false, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			return stored{m.Header, m.Data}, true, nil
		case "404":
			return stored{}, false, nil
		default:
			return stored{}, false, fmt.Errorf("%s %s", status, m.Header.Get("Description"))
		}
	})
}

// readLeader asks the stream's leader, which every stream allows.
func readLeader(ctx context.Context, c *Client, asked []question) (map[string]map[worker.Status]stored, error) {
	return c.readEach(ctx, asked, func(ctx context.Context, subject string) (stored, bool, error) {
		question, err := json.Marshal(map[string]string{"last_by_subj": subject})
		if err != nil {
			return stored{}, false, err
		}
		m, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+c.config.ResultsStream, question)
		if err != nil {
			return stored{}, false, err
		}
		var reply struct {
			Error   *jetstream.APIError `json:"error"`
			Message struct {
				Header []byte `json:"hdrs"`
				Data   []byte `json:"data"`
			} `json:"message"`
		}
		if err := json.Unmarshal(m.Data, &reply); err != nil {
			return stored{}, false, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		switch {
		case reply.Error != nil && reply.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
			return stored{}, false, nil
		case reply.Error != nil:
			return stored{}, false, reply.Error
		}
		header := nats.Header{}
		if len(reply.Message.Header) > 0 {
			if header, err = nats.DecodeHeadersMsg(reply.Message.Header); err != nil {
				return stored{}, false, fmt.Errorf("%w: %w", errUnreadable, err)
			}
		}
		return stored{header, reply.Message.Data}, true, nil
	})
}

// readEach asks for the events of each order one by one.
func (c *Client) readEach(ctx context.Context, asked []question, get func(ctx context.Context, subject string) (stored, bool, error)) (map[string]map[worker.Status]stored, error) {
	events := make(map[string]map[worker.Status]stored, len(asked))
	fingerprints := make(map[string]string, len(asked))
	for _, q := range asked {
		events[q.token], fingerprints[q.token] = map[worker.Status]stored{}, q.fingerprint
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan string)
	var readers sync.WaitGroup
	for range min(readersAtOne, len(events)) {
		readers.Go(func() {
			for token := range work {
				if err := c.readOrder(ctx, question{token, fingerprints[token]}, events[token], get); err != nil {
					cancel(err)
				}
			}
		})
	}
	for token := range events {
		select {
		case work <- token:
		case <-ctx.Done():
		}
	}
	close(work)
	readers.Wait()
	return events, context.Cause(ctx)
}

// readOrder reads the events of one order, as far as they tell how it ended. Most orders
// succeed, and then nothing else is asked.
func (c *Client) readOrder(ctx context.Context, q question, into map[worker.Status]stored, get func(ctx context.Context, subject string) (stored, bool, error)) error {
	for _, status := range []worker.Status{worker.Succeeded, worker.Failed, worker.Rejected, worker.InDoubt} {
		m, found, err := get(ctx, c.subject(status, q.token))
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		into[status] = m
		if m.header.Get(fingerprintHeader) == q.fingerprint {
			return nil
		}
	}
	return nil
}
