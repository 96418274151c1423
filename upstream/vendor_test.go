package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	testAppKey = "000001"
	testSecret = "a1b1c1d1s3cr3t"
	success    = `{"code":"200","message":"success","data":{"orderNumber":"1611558040873b105b2678de34504a35","orderId":101106255}}`
)

var testOrder = Order{OutTradeNo: "630000198311142676", ICCID: "8988308650100524999", PackageCode: "CN-5M-7D-C-US-20230103AC4BF927"}

// seen is one request as the vendor received it.
type seen struct {
	head string
	path string
	body []byte
}

// sign is the signature that the request carries.
func (s seen) sign() string {
	var fields struct {
		Sign string `json:"sign"`
	}
	_ = json.Unmarshal(s.body, &fields)
	return fields.Sign
}

// behaviour answers one request on the raw connection. It reports whether the
// connection stays open.
type behaviour func(c net.Conn, r seen) bool

// rawVendor is a vendor that can misbehave below HTTP. It counts what it receives.
type rawVendor struct {
	URL    string
	behave behaviour

	mu    sync.Mutex
	seen  []seen
	conns []*countedConn
}

// countedConn counts the bytes that the client sent.
type countedConn struct {
	net.Conn
	v    *rawVendor
	read int
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.v.mu.Lock()
	defer c.v.mu.Unlock()
	c.read += n
	return n, err
}

// newRawVendor serves plain HTTP with behave, until the test ends.
func newRawVendor(t *testing.T, behave behaviour) *rawVendor {
	return serveRaw(t, "http", behave, func(c net.Conn) net.Conn { return c })
}

// newTLSVendor serves HTTPS with the certificate of httptest. It does the handshake
// after wait was closed.
func newTLSVendor(t *testing.T, behave behaviour, wait <-chan struct{}) (*rawVendor, *tls.Config) {
	lender := httptest.NewUnstartedServer(nil)
	lender.StartTLS()
	t.Cleanup(lender.Close)
	trusting := lender.Client().Transport.(*http.Transport).TLSClientConfig
	config := &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	v := serveRaw(t, "https", behave, func(c net.Conn) net.Conn {
		<-wait
		return tls.Server(&corkedConn{Conn: c}, config)
	})
	return v, trusting
}

func serveRaw(t *testing.T, scheme string, behave behaviour, wrap func(net.Conn) net.Conn) *rawVendor {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &rawVendor{URL: scheme + "://" + ln.Addr().String(), behave: behave}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { v.serve(c, wrap) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		v.mu.Lock()
		for _, c := range v.conns {
			_ = c.Conn.Close()
		}
		v.mu.Unlock()
		serving.Wait()
	})
	return v
}

func (v *rawVendor) serve(raw net.Conn, wrap func(net.Conn) net.Conn) {
	defer raw.Close()
	c := &countedConn{Conn: wrap(raw), v: v}
	v.mu.Lock()
	v.conns = append(v.conns, c)
	v.mu.Unlock()
	for {
		var head bytes.Buffer
		in := bufio.NewReader(io.TeeReader(c, &head))
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		text, _, _ := strings.Cut(head.String(), "\r\n\r\n")
		r := seen{head: text, path: req.URL.Path, body: body}
		v.mu.Lock()
		v.seen = append(v.seen, r)
		v.mu.Unlock()
		if v.behave == nil || !v.behave(c.Conn, r) {
			return
		}
	}
}

// requests returns the requests that were received whole.
func (v *rawVendor) requests() []seen {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]seen(nil), v.seen...)
}

// received returns the number of connections, and of the bytes on all of them.
func (v *rawVendor) received() (conns, count int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.conns {
		count += c.read
	}
	return len(v.conns), count
}

// The behaviours.

// raw answers with text as it is, and closes.
func raw(text string) behaviour {
	return func(c net.Conn, _ seen) bool {
		_, _ = io.WriteString(c, text)
		return false
	}
}

// answers answers with an HTTP status, a body and headers, and keeps the connection open.
func answers(status int, body string, headers ...string) behaviour {
	return func(c net.Conn, _ seen) bool {
		_, err := io.WriteString(c, httpText(status, body, headers...))
		return err == nil
	}
}

func httpText(status int, body string, headers ...string) string {
	lines := append([]string{fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)), fmt.Sprintf("Content-Length: %d", len(body))}, headers...)
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// hangsAfter sends text, and then nothing until the client closes the connection.
func hangsAfter(text string) behaviour {
	return func(c net.Conn, _ seen) bool {
		_, _ = io.WriteString(c, text)
		_, _ = c.Read(make([]byte, 1))
		return false
	}
}

// resets resets the connection.
func resets(c net.Conn, _ seen) bool {
	_ = c.(*net.TCPConn).SetLinger(0)
	return false
}

// echoes answers with the signature and the secret.
func echoes(format string) behaviour {
	return func(c net.Conn, r seen) bool {
		quoted, _ := json.Marshal("sign " + r.sign() + " " + strings.ToLower(r.sign()) + " secret " + testSecret)
		_, _ = io.WriteString(c, strings.ReplaceAll(format, "ECHO", string(quoted)))
		return false
	}
}

// corkedConn sends what is written between cork and uncork in one segment.
type corkedConn struct {
	net.Conn
	corked bool
	kept   []byte
}

func (c *corkedConn) Write(p []byte) (int, error) {
	if !c.corked {
		return c.Conn.Write(p)
	}
	c.kept = append(c.kept, p...)
	return len(p), nil
}

func (c *corkedConn) cork() { c.corked = true }

func (c *corkedConn) uncork() {
	c.corked = false
	_ = c.Conn.SetWriteDeadline(time.Time{}) // TLS's goodbye ends it
	_, _ = c.Conn.Write(c.kept)
	c.kept = nil
}

// waitUntil polls ok until it is true.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func testClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	cfg.AppKey, cfg.Secret = testAppKey, testSecret
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute // no test waits for it; those that do set their own
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Place connects, and places o on that line.
func (c *Client) Place(ctx context.Context, o Order, sendBy time.Time) (Purchase, error) {
	line, err := c.connectBy(ctx, sendBy)
	if err != nil {
		return Purchase{}, err
	}
	return line.Place(ctx, o, sendBy)
}

// Lookup connects, and makes a lookup on that line.
func (c *Client) Lookup(ctx context.Context, q Question, sendBy time.Time) (Page, error) {
	line, err := c.connectBy(ctx, sendBy)
	if err != nil {
		return Page{}, err
	}
	return line.Lookup(ctx, q, sendBy)
}

func (c *Client) connectBy(ctx context.Context, sendBy time.Time) (*Line, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, sendBy, errTooLate)
	defer cancel()
	return c.Connect(ctx)
}

func soon() time.Time { return time.Now().Add(30 * time.Second) }

// mustError returns err as the *Error that every failed call must give.
func mustError(t *testing.T, err error) *Error {
	t.Helper()
	if err == nil {
		return nil
	}
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("error %T %v, want an *Error", err, err)
	}
	return e
}

// checkQuiet fails if anything about e shows the secret or a signature, or is
// longer than allowed.
func checkQuiet(t *testing.T, e *Error, signs ...string) {
	t.Helper()
	shown := fmt.Sprintf("%v %+v %#v %s %s", e, e, *e, e.Code, e.Message)
	for err := e.Err; err != nil; {
		shown += fmt.Sprintf(" %v %+v", err, err)
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			break
		}
		err = u.Unwrap()
	}
	for _, word := range append(signs, testSecret) {
		if word != "" && strings.Contains(strings.ToUpper(shown), strings.ToUpper(word)) {
			t.Errorf("%q shows in %s", word, shown)
		}
	}
	if len(e.Message) > maxMessageBytes || len(e.Code) > maxCodeBytes || e.Err != nil && len(e.Err.Error()) > maxMessageBytes {
		t.Errorf("error too long: code %d, message %d bytes, cause %v", len(e.Code), len(e.Message), e.Err)
	}
}

// canceledAt returns a context that fire cancels.
func canceledAt(t *testing.T) (ctx context.Context, fire func()) {
	ctx, cancel := context.WithCancel(t.Context())
	return ctx, cancel
}
