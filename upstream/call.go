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

// maxBodyBytes is the most of an answer that is read: contract, section 7.
const maxBodyBytes = 1 << 20

// call makes one request, and returns the reply where its code is "200".
func (l *Line) call(ctx context.Context, to endpoint, business []param, sendBy time.Time) (reply, redactor, *Error) {
	defer l.Release() // where it was not used
	c := l.client
	secret := *c.secret.Load()
	hide := redactor{secret: string(secret)}
	body, sign, err := encode(c.appKey, secret, business, time.Now(), nonce())
	if err != nil {
		return reply{}, hide, &Error{Class: Unreachable, Err: fmt.Errorf("encode: %w", hide.err(err))}
	}
	hide.sign = string(sign[:])

	a, written, err := l.exchange(ctx, to, body, sendBy)
	switch {
	case !written:
		return reply{}, hide, &Error{Class: Unreachable, Err: hide.err(err)}
	case err != nil:
		return reply{}, hide, &Error{Class: Ambiguous, Err: hide.err(err)}
	}
	r, fail := classify(a, c.codes, hide, time.Now())
	return r, hide, fail
}

// exchange sends body to to and reads the whole answer. Written says whether a
// byte of the request left; if not, the line may not have ended. It follows no
// redirect.
func (l *Line) exchange(ctx context.Context, to endpoint, body []byte, sendBy time.Time) (a answer, written bool, err error) {
	at := newAttempt(sendBy)
	switch {
	case l.conn == nil:
		return answer{}, false, errLineEnded
	case ctx.Err() != nil:
		return answer{}, false, context.Cause(ctx)
	case at.late():
		return answer{}, false, errTooLate
	case !l.Ready():
		return answer{}, false, errStale
	}
	conn, until := l.end(), time.Now().Add(l.client.timeout)
	_ = conn.SetReadDeadline(until)
	conn.guarded.guard(at, until)
	// After the deadlines, which it must not be overwritten by.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	more := false
	if _, err = conn.Write(to.request(body)); err == nil {
		a, more, err = conn.answer()
	}
	at.finish()
	switch completed := stop() && err == nil; {
	case !completed:
		conn.guarded.reset()
	case more:
		conn.used()
		l.client.conns.keep(conn)
	default:
		_ = conn.Close()
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(until):
		err = fmt.Errorf("%w: %w", errTooLate, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return a, at.wrote > 0, err
}

// endpoint is what all requests to one of the vendor's paths have in common.
type endpoint struct {
	before, after []byte // the value of Content-Length
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
		panic(err) // it has a host and a body, and goes to memory: there is nothing to fail
	}
	before, after, _ := strings.Cut(strings.TrimSuffix(b.String(), body), length+"1")
	return endpoint{before: []byte(before + length), after: []byte(after)}
}

// request is a request as it goes over the wire.
func (e endpoint) request(body []byte) []byte {
	r := make([]byte, 0, len(e.before)+len("1234567890")+len(e.after)+len(body))
	r = strconv.AppendInt(append(r, e.before...), int64(len(body)), 10)
	return append(append(r, e.after...), body...)
}
