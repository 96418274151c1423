package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

// Config has the settings of a Client.
type Config struct {
	BaseURL  string        // http(s) URL; a path prefix is kept; no query, no userinfo
	AppKey   string        // the account
	Secret   Secret        // signs every request, is never sent
	Timeout  time.Duration // of Connect, and then of the call: from the first byte of the request to the last of the answer
	Codes    Codes         // what body codes mean; nil: DefaultCodes
	MaxConns int           // the most idle connections that are kept; 0 means 64
}

// The paths of the two calls, below the base URL.
const (
	placePath  = "/api/v3/package/orderPackage"
	lookupPath = "/api/v3/package/getOrderPackageDetails"
)

// Client makes single, signed calls to the vendor. It never repeats a call, and
// knows neither quota nor backoff. It is safe for concurrent use.
type Client struct {
	appKey  string
	secret  atomic.Pointer[Secret]
	timeout time.Duration
	codes   Codes
	place   endpoint
	lookup  endpoint
	conns   *conns
}

// NewClient returns a client for cfg. It does not connect. The error names every
// fault of cfg, but no secret.
func NewClient(cfg Config) (*Client, error) {
	base, err := parseBase(cfg.BaseURL)
	errs := []error{err}
	if cfg.AppKey == "" {
		errs = append(errs, errors.New("no appkey"))
	}
	if cfg.Secret == "" {
		errs = append(errs, errors.New("no secret"))
	}
	if cfg.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout %v: must be positive", cfg.Timeout))
	}
	if cfg.MaxConns < 0 {
		errs = append(errs, fmt.Errorf("max conns %d: must not be negative", cfg.MaxConns))
	}
	if cfg.Codes == nil {
		cfg.Codes = DefaultCodes()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	c := &Client{
		appKey:  cfg.AppKey,
		timeout: cfg.Timeout,
		codes:   cfg.Codes,
		place:   newEndpoint(withPath(base, placePath)),
		lookup:  newEndpoint(withPath(base, lookupPath)),
		conns:   newConns(base, cfg.MaxConns),
	}
	c.SetSecret(cfg.Secret)
	return c, nil
}

// SetSecret makes the client sign later calls with s.
func (c *Client) SetSecret(s Secret) { c.secret.Store(&s) }

// parseBase parses a base URL. Its errors do not repeat the URL, which may contain
// a password.
func parseBase(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("base URL does not parse")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("base URL must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("base URL has no host")
	case strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > unicode.MaxASCII }):
		return nil, errors.New("base URL has a host that is not ASCII: write its xn-- form")
	case u.User != nil:
		return nil, errors.New("base URL must not carry a user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("base URL must not carry a query or fragment")
	}
	return u, nil
}

func withPath(base *url.URL, path string) *url.URL {
	u := *base
	u.Path = strings.TrimRight(base.Path, "/") + path
	if base.RawPath != "" {
		u.RawPath = strings.TrimRight(base.RawPath, "/") + path
	}
	return &u
}

// Place sends o to the vendor once, and returns what was bought. No byte leaves
// after sendBy, by the wall clock. Place ends the line.
//
// The error is always an *Error. It is Unreachable if ctx ended before the first
// byte left, or if the vendor closed the connection before, and Ambiguous if ctx
// ended after the first byte.
//
// Source: upstream/VENDOR.md, "orderPackage"; the classes: contract, section 7, "Classes".
func (l *Line) Place(ctx context.Context, o Order, sendBy time.Time) (Purchase, error) {
	r, hide, fail := l.call(ctx, l.client.place, placeParams(o), sendBy)
	if fail != nil {
		return Purchase{}, fail
	}
	p, ok := purchase(r, hide)
	if !ok {
		return Purchase{}, &Error{Class: Ambiguous, Code: p.Code, Message: p.Message, Bought: true,
			Err: errors.New("code 200 without a valid orderNumber")}
	}
	return p, nil
}

// Close closes the idle connections. Calls in progress go on.
func (c *Client) Close() { c.conns.close() }
