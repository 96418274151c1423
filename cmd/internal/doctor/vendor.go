package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"orderworker/upstream"
	"orderworker/upstream/quota"
)

// Vendor is what the worker uses at the vendor.
type Vendor struct {
	Base   *url.URL
	Codes  upstream.Codes
	States []int64 // UPSTREAM_LOOKUP_STATES
	Quota  *quota.Limiter
	Rate   float64 // 0: no limit, and the quota does not need Redis

	Connect      func(context.Context) (Line, error)
	ConnectWrong func(context.Context) (Line, error) // signs with another secret than the account's; nil: not asked for
	Known        string                              // an order that was bought; "": not asked for
}

// Line is one connection to the vendor. It can look orders up, and cannot buy.
type Line interface {
	Ready() bool
	Lookup(ctx context.Context, q upstream.Question, sendBy time.Time) (upstream.Page, error)
	Release()
}

// vendorVisit makes the checks of the vendor, and has what they found out for each other.
type vendorVisit struct {
	*Vendor
	patience time.Duration // with a base URL that does not answer; the lookups come after it
	redis    *promise      // that the quota can be used

	addresses []string
	conn      net.Conn
	date      time.Time // by the vendor's clock; zero: not told
	before    time.Time // this host's, when it was asked
	after     time.Time // and when it answered

	calls int       // without the quota
	last  time.Time // when the last of them was made

	refused string  // the code that the account's own lookup was refused with
	shows   []shown // what the forms of the lookup show
}

// queued is how far ahead the next free slot is if requests queue for slots. It is longer
// than the wait of the quota's cold start, about a second.
const queued = 3 * time.Second

// headroom reports how much of the rate is unused.
func (v *vendorVisit) headroom(ctx context.Context) Finding {
	if v.Rate == 0 {
		return warning("UPSTREAM_RATE=0: calls are not limited").but("set it to what the vendor allows the account: 10 a second")
	}
	load, err := v.Quota.Load(ctx)
	switch {
	case err != nil:
		return because(ctx, err).but("allow the user these commands on the quota's key")
	case load.Share < 1:
		return warning("the vendor said \"too fast\": %.0f %% of %v calls a second are used, growing back; the next free slot is in %v", load.Share*100, v.Rate, load.Ahead.Round(time.Millisecond))
	case load.Ahead > queued:
		return warning("all of %v calls a second is taken, the next free slot is in %v", v.Rate, load.Ahead.Round(time.Millisecond)).but("nothing, unless the vendor allows more: then raise UPSTREAM_RATE")
	case load.Ahead > 0:
		return fine("%v calls a second, in use: the next free slot is in %v", v.Rate, load.Ahead.Round(time.Millisecond))
	}
	return fine("%v calls a second, free", v.Rate)
}

func (v *vendorVisit) resolve(ctx context.Context) Finding {
	start := time.Now()
	addresses, err := net.DefaultResolver.LookupHost(ctx, v.Base.Hostname())
	if err != nil {
		return because(ctx, err)
	}
	v.addresses = addresses
	return fine("%s in %v", strings.Join(addresses, ", "), took(time.Since(start)))
}

func (v *vendorVisit) dial(ctx context.Context) Finding {
	port := v.Base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[v.Base.Scheme]
	}
	start := time.Now()
	var err error
	for _, address := range v.addresses {
		if v.conn, err = new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(address, port)); err == nil {
			return fine("connected to %s in %v", net.JoinHostPort(address, port), took(time.Since(start)))
		}
	}
	switch {
	case err == nil:
		err = errors.New("no address")
	case errors.Is(err, syscall.ECONNREFUSED):
		return because(ctx, err).but("correct host and port in UPSTREAM_URL; if they are right, ask the vendor whether the API is up: the host answers, but nothing listens there, or a firewall rejects this host")
	}
	return because(ctx, err)
}

// expiresSoon is how long before its end the vendor's certificate is worth a warning.
const expiresSoon = 14 * 24 * time.Hour

func (v *vendorVisit) handshake(ctx context.Context) Finding {
	if v.Base.Scheme != "https" {
		return warning("none: UPSTREAM_URL begins with http://").but("use https:// for anything but a sandbox: anybody on the way can read orders and write answers")
	}
	secure := tls.Client(v.conn, &tls.Config{ServerName: v.Base.Hostname()})
	start := time.Now()
	if err := secure.HandshakeContext(ctx); err != nil {
		return because(ctx, err)
	}
	spent := took(time.Since(start))
	v.conn = secure
	state := secure.ConnectionState()
	until := state.PeerCertificates[0].NotAfter
	if time.Until(until) < expiresSoon {
		return warning("%s in %v, the certificate ends on %s", tls.VersionName(state.Version), spent, until.UTC().Format(time.DateOnly)).but("ask the vendor to renew it")
	}
	return fine("%s in %v, certificate good until %s", tls.VersionName(state.Version), spent, until.UTC().Format(time.DateOnly))
}

// maxHeader bounds what is read of the answer to roundTrip.
const maxHeader = 64 << 10

// roundTrip sends an unsigned HEAD request for the base URL, which calls no function of the
// vendor's API.
func (v *vendorVisit) roundTrip(ctx context.Context) Finding {
	ctx, cancel := context.WithTimeoutCause(ctx, v.patience, errors.New("no answer"))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = v.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := &http.Request{Method: http.MethodHead, URL: v.Base, Header: http.Header{"User-Agent": {"orderworker"}}}
	v.before = time.Now()
	err := req.Write(v.conn)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(bufio.NewReader(io.LimitReader(v.conn, maxHeader)), req)
	}
	v.after = time.Now()
	if err != nil {
		return because(ctx, err)
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		v.date = date
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return warning("HTTP %d in %v", resp.StatusCode, took(v.after.Sub(v.before)))
	}
	return fine("HTTP %d in %v", resp.StatusCode, took(v.after.Sub(v.before)))
}

// clock compares this host's clock with the Date header of roundTrip's answer, which has
// whole seconds. How much difference the vendor accepts is not documented.
func (v *vendorVisit) clock(context.Context) Finding {
	if v.date.IsZero() {
		return warning("not told: no Date in the answer").but("make sure that this host's clock is set by NTP: requests are signed with its time")
	}
	return skewed(v.date.Add(time.Second/2), v.before, v.after)
}

func (v *vendorVisit) close() {
	if v.conn != nil {
		_ = v.conn.Close()
	}
}
