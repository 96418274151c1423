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

// Config is what a Client needs to know.
type Config struct {
	BaseURL  string        // http(s) URL; a path prefix is kept; no query, no userinfo
	AppKey   string        // the account
	Secret   Secret        // signs every request, is never sent
	Timeout  time.Duration // of Connect, and again from the request's first byte to the answer's last
	Codes    Codes         // what body codes mean; nil: DefaultCodes
	MaxConns int           // connections kept alive between calls; 0 means 64
}

// The paths of the two calls, below the base URL.
const (
	placePath  = "/api/v3/package/orderPackage"
	lookupPath = "/api/v3/package/getOrderPackageDetails"
)

// Client makes single, signed calls to the vendor: it never repeats one, and it
// does not know of quota or backoff. It is safe for concurrent use.
type Client struct {
	appKey  string
	secret  atomic.Pointer[Secret]
	timeout time.Duration
	codes   Codes
	place   endpoint
	lookup  endpoint
	conns   *conns
}

// NewClient returns a client for cfg, or an error that names every fault of
// cfg, and no secret. It does not connect.
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

// SetSecret makes later calls be signed with s.
func (c *Client) SetSecret(s Secret) { c.secret.Store(&s) }

// parseBase reads a base URL. Its errors do not repeat the URL, which could
// hold a password.
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

// Place sends o to the vendor once, and returns what was bought. No byte of it
// leaves after sendBy, by the wall clock. The line ends with it.
//
// The error is always an *Error: Refused, Throttled and Unreachable mean that
// nothing was bought, Ambiguous that it may have been. A ctx that ends before
// the first byte left is Unreachable, after it Ambiguous. A connection that the
// vendor has closed since Connect is Unreachable.
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

// Close closes the connections that are kept alive. Calls in progress go on.
func (c *Client) Close() { c.conns.close() }
