package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"
)

const (
	// maxBodyBytes is the most of an answer that is read: contract, section 7.
	maxBodyBytes = 1 << 20
	// maxHeaderBytes is far above what the vendor sends (net/http: 10 MiB).
	maxHeaderBytes = 64 << 10
	// maxIdle closes a kept connection before the vendor does. Servers often do
	// so after 5 s, and a request that meets the close ends as ambiguous.
	maxIdle = 4 * time.Second

	defaultMaxConns = 64
)

// newTransport returns a transport that sends what it is given, once: HTTP/1.1,
// no proxy from the environment, no compression, and only guarded connections.
func newTransport(timeout time.Duration, maxConns int) *http.Transport {
	if maxConns == 0 {
		maxConns = defaultMaxConns
	}
	dialer := &net.Dialer{Timeout: timeout}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &guardedConn{Conn: conn}, nil
		},
		Protocols:              protocols,
		Proxy:                  nil,
		DisableCompression:     true,
		TLSHandshakeTimeout:    timeout,
		MaxIdleConns:           maxConns,
		MaxIdleConnsPerHost:    maxConns,
		IdleConnTimeout:        maxIdle,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// call makes one request, and returns the reply where its code is "200".
func (c *Client) call(ctx context.Context, to *url.URL, business []param, sendBy time.Time) (reply, redactor, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	secret := *c.secret.Load()
	hide := redactor{secret: string(secret)}
	body, sign, err := encode(c.appKey, secret, business, time.Now(), nonce())
	if err != nil {
		return reply{}, hide, &Error{Class: Unreachable, Err: fmt.Errorf("encode: %w", hide.err(err))}
	}
	hide.sign = string(sign[:])

	a, written, err := c.exchange(ctx, to, body, sendBy)
	switch {
	case !written:
		// Nothing left, so even a complete answer is not one to this request.
		return reply{}, hide, &Error{Class: Unreachable, Err: hide.err(err)}
	case err != nil:
		return reply{}, hide, &Error{Class: Ambiguous, Err: hide.err(err)}
	}
	r, fail := classify(a, c.throttle, hide, time.Now())
	return r, hide, fail
}

// exchange sends body to to and reads the whole answer. Written says whether a
// byte of the request left, or may have.
//
// It goes to the transport, not through an http.Client: no redirect is
// followed, no cookie is kept. GetBody is nil and there is no Idempotency-Key
// header, so net/http has no means to send the body a second time.
func (c *Client) exchange(ctx context.Context, to *url.URL, body []byte, sendBy time.Time) (a answer, written bool, err error) {
	at := newAttempt(sendBy)
	if at.late() {
		return answer{}, false, errTooLate
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Waiting for a connection ends at sendBy: there is nothing to gain after it.
	waited := time.AfterFunc(time.Until(at.sendBy), func() { cancel(errTooLate) })
	defer waited.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// GotConn is called before the request may be written.
		GotConn: func(info httptrace.GotConnInfo) {
			waited.Stop()
			guard(info.Conn, at)
		},
	})
	req := (&http.Request{
		Method: http.MethodPost,
		URL:    to,
		Header: http.Header{
			"Content-Type": {"application/json;charset=utf-8"},
			"User-Agent":   {"orderworker"},
		},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
	}).WithContext(ctx)

	a, err = c.roundTrip(req)
	written = at.finish()
	if err == nil && !written {
		err = fmt.Errorf("HTTP %d came before the request was written", a.status)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return a, written, err
}

func (c *Client) roundTrip(req *http.Request) (answer, error) {
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return a, nil // what follows is not HTTP any more, and has no end
	}
	// One byte more than allowed: so a body that is too large can be told from
	// one that just fits.
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes+1))
	if err != nil {
		return answer{}, fmt.Errorf("HTTP %d: read the body: %w", a.status, err)
	}
	return a, nil
}
