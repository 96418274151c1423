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

// question asks for the events of one order.
type question struct {
	token       string // the order's token in subjects
	fingerprint string // fingerprint of the request whose outcome is wanted
}

// readMode is one of three ways to read the last events of orders by subject. It returns
// them by token and status.
type readMode func(ctx context.Context, c *Client, asked []question) (map[string]map[worker.Status]storedEvent, error)

// Errors of Results and Wait that a program may want to tell apart.
var (
	// ErrNoResults means that the results stream is missing, or may not be read.
	ErrNoResults = errors.New("the results stream cannot be read")
	// ErrUnavailable means that several tries to read the results stream have failed, as
	// during the election of a leader. Asking again later may help.
	ErrUnavailable = errors.New("the results cannot be read at the moment")
)

// errUnreadable marks a reply that cannot be decoded. Asking again would not help.
var errUnreadable = errors.New("unreadable reply")

const (
	probeTimeout = 2 * time.Second
	readersAtOne = 64 // orders that are read at the same time, in a mode that asks for each by itself
)

// chooseReadMode returns the first mode in which this user may read the results stream. The
// modes are: many orders with one request (DIRECT.GET.STREAM), each order by itself
// (DIRECT.GET.STREAM.SUBJECT), and each from the leader (STREAM.MSG.GET), which works on a
// stream that does not allow Direct Get. The first call tries them; later ones return the
// same mode.
func (c *Client) chooseReadMode(ctx context.Context) (readMode, error) {
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

// probe tries one mode. A missing permission shows only as the connection's last error: the
// request itself gets no reply.
func (c *Client) probe(ctx context.Context, mode readMode) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	before := c.nc.LastError()
	done := make(chan error, 1)
	go func() {
		_, err := mode(ctx, c, []question{{token: "_"}}) // any token will do: the order need not exist
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

// subject returns the subject of an order's events of that status; "*" for every status.
func (c *Client) subject(status worker.Status, token string) string {
	return c.config.ResultsSubject + "." + string(status) + "." + token
}

// readBatch reads the events of all orders with one request.
func readBatch(ctx context.Context, c *Client, asked []question) (map[string]map[worker.Status]storedEvent, error) {
	subjects := make([]string, 0, len(asked))
	events := make(map[string]map[worker.Status]storedEvent, len(asked))
	for _, q := range asked {
		if events[q.token] == nil {
			events[q.token] = map[worker.Status]storedEvent{}
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
			events[token][worker.Status(status)] = storedEvent{m.Header, m.Data}
		}
	}
	return events, ctx.Err() // the sequence ends early with its context
}

// readDirect reads each event by its own subject, from any replica.
func readDirect(ctx context.Context, c *Client, asked []question) (map[string]map[worker.Status]storedEvent, error) {
	return c.readEach(ctx, asked, func(ctx context.Context, subject string) (storedEvent, bool, error) {
		m, err := c.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+c.config.ResultsStream+"."+subject, nil)
		if err != nil {
			return storedEvent{}, false, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			return storedEvent{m.Header, m.Data}, true, nil
		case "404":
			return storedEvent{}, false, nil
		default:
			return storedEvent{}, false, fmt.Errorf("%s %s", status, m.Header.Get("Description"))
		}
	})
}

// readLeader reads each event by its own subject from the stream's leader, which every
// stream allows.
func readLeader(ctx context.Context, c *Client, asked []question) (map[string]map[worker.Status]storedEvent, error) {
	return c.readEach(ctx, asked, func(ctx context.Context, subject string) (storedEvent, bool, error) {
		body, err := json.Marshal(map[string]string{"last_by_subj": subject})
		if err != nil {
			return storedEvent{}, false, err
		}
		m, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+c.config.ResultsStream, body)
		if err != nil {
			return storedEvent{}, false, err
		}
		var reply struct {
			Error   *jetstream.APIError `json:"error"`
			Message struct {
				Header []byte `json:"hdrs"`
				Data   []byte `json:"data"`
			} `json:"message"`
		}
		if err := json.Unmarshal(m.Data, &reply); err != nil {
			return storedEvent{}, false, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		switch {
		case reply.Error != nil && reply.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
			return storedEvent{}, false, nil
		case reply.Error != nil:
			return storedEvent{}, false, reply.Error
		}
		header := nats.Header{}
		if len(reply.Message.Header) > 0 {
			if header, err = nats.DecodeHeadersMsg(reply.Message.Header); err != nil {
				return storedEvent{}, false, fmt.Errorf("%w: %w", errUnreadable, err)
			}
		}
		return storedEvent{header, reply.Message.Data}, true, nil
	})
}

// readEach reads the events of each order by itself, readersAtOne orders at a time. get
// reads the last event of a subject.
func (c *Client) readEach(ctx context.Context, asked []question, get func(ctx context.Context, subject string) (storedEvent, bool, error)) (map[string]map[worker.Status]storedEvent, error) {
	events := make(map[string]map[worker.Status]storedEvent, len(asked))
	fingerprints := make(map[string]string, len(asked))
	for _, q := range asked {
		events[q.token], fingerprints[q.token] = map[worker.Status]storedEvent{}, q.fingerprint
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

// readOrder reads the events of one order into into. It stops at a final event with the
// fingerprint of the question, because no other event matters then: most orders succeed and
// take one request.
func (c *Client) readOrder(ctx context.Context, q question, into map[worker.Status]storedEvent, get func(ctx context.Context, subject string) (storedEvent, bool, error)) error {
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
