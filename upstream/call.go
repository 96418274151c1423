package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxBodyBytes is the largest body of an answer that is read: contract, section 7.
const maxBodyBytes = 1 << 20

// call makes one signed request, and returns the reply if its code is "200". The
// redactor hides the secret and this request's signature.
func (l *Line) call(ctx context.Context, to endpoint, business []param, sendBy time.Time) (reply, redactor, *Error) {
	defer l.Release() // does nothing after a round trip
	c := l.client
	secret := *c.secret.Load()
	hide := redactor{secret: string(secret)}
	body, sign, err := encode(c.appKey, secret, business, time.Now(), nonce())
	if err != nil {
		return reply{}, hide, &Error{Class: Unreachable, Err: fmt.Errorf("encode: %w", hide.err(err))}
	}
	hide.sign = string(sign[:])

	a, written, err := l.roundTrip(ctx, to, body, sendBy)
	switch {
	case !written:
		return reply{}, hide, &Error{Class: Unreachable, Err: hide.err(err)}
	case err != nil:
		return reply{}, hide, &Error{Class: Ambiguous, Err: hide.err(err)}
	}
	r, fail := classify(a, c.codes, hide, time.Now())
	return r, hide, fail
}

// roundTrip sends body to an endpoint and reads the whole answer; it follows no
// redirect. Written reports whether a byte of the request left.
func (l *Line) roundTrip(ctx context.Context, to endpoint, body []byte, sendBy time.Time) (a answer, written bool, err error) {
	x := newExchange(sendBy)
	if err := l.usable(ctx, x); err != nil {
		return answer{}, false, err
	}
	conn, until := l.end(), time.Now().Add(l.client.timeout)
	_ = conn.SetReadDeadline(until)
	conn.guarded.begin(x, until)
	// From here on no other deadline is set, which would overwrite this one.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	more := false
	if _, err = conn.Write(to.request(body)); err == nil {
		a, more, err = conn.readAnswer()
	}
	x.finish()
	switch completed := stop() && err == nil; {
	case !completed:
		conn.guarded.reset()
	case more:
		conn.touch()
		l.client.conns.put(conn)
	default:
		_ = conn.Close()
	}
	if err != nil {
		err = reason(ctx, err, until)
	}
	return a, x.wrote > 0, err
}

// usable returns why no request can be sent now, or nil.
func (l *Line) usable(ctx context.Context, x *exchange) error {
	switch {
	case l.conn == nil:
		return errLineEnded
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case x.late():
		return errTooLate
	case !l.Ready():
		return errStale
	}
	return nil
}

// reason returns why an exchange failed: the cause of ctx if that has ended. A
// deadline that passed before until, the end of the time-out, was sendBy.
func reason(ctx context.Context, err error, until time.Time) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until):
		return fmt.Errorf("%w: %w", errTooLate, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}

// endpoint is the head that all requests to one path share. It is made once, by
// net/http, and split where the value of Content-Length belongs.
type endpoint struct {
	before, after []byte
}

func newEndpoint(u *url.URL) endpoint {
	const length, body = "\r\nContent-Length: ", "x"
	var b bytes.Buffer
	err := (&http.Request{
		Method: http.MethodPost,
		URL:    u,
		Header: http.Header{
			"Content-Type": {"application/json;charset=utf-8"},
			"User-Agent":   {"orderworker"},
		},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
	}).Write(&b)
	if err != nil {
		panic(err) // cannot happen: the request has a host and a body, and is written to memory
	}
	before, after, _ := strings.Cut(strings.TrimSuffix(b.String(), body), length+"1")
	return endpoint{before: []byte(before + length), after: []byte(after)}
}

// request returns the bytes of a request with this body.
func (e endpoint) request(body []byte) []byte {
	r := make([]byte, 0, len(e.before)+len("1234567890")+len(e.after)+len(body))
	r = strconv.AppendInt(append(r, e.before...), int64(len(body)), 10)
	return append(append(r, e.after...), body...)
}
