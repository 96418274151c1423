package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"orderworker/upstream/quota"
)

// The defaults of UPSTREAM_RATE and UPSTREAM_JITTER, and the spacing of slots by them.
const (
	rate    = 10
	jitter  = 50 * time.Millisecond
	spacing = (time.Second + jitter) / rate
)

// slotRedis is a Redis whose slots are spacing apart, as the hook of a client that
// never connects: so it works inside a synctest bubble.
type slotRedis struct {
	mu   sync.Mutex
	free time.Time
}

func (r *slotRedis) DialHook(next redis.DialHook) redis.DialHook { return next }
func (r *slotRedis) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *slotRedis) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		slot := r.free
		if now := time.Now(); slot.Before(now) {
			slot = now
		}
		r.free = slot.Add(spacing)
		cmd.(*redis.Cmd).SetVal([]any{time.Until(slot).Microseconds(), spacing.Microseconds(), int64(0)})
		return nil
	}
}

// redisClient returns a client of the Redis at addr, which the test closes.
func redisClient(t *testing.T, addr string) *redis.Client {
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// setUp is how long it takes to connect to farVendor.
const setUp = 300 * time.Millisecond

// farVendor is a distant vendor with TLS. It notes when each request arrived.
type farVendor struct {
	config  *tls.Config // of the server
	behaves behaviour

	mu       sync.Mutex
	arrivals []time.Time
}

func newFarVendor(lender *httptest.Server, headers ...string) *farVendor {
	v := &farVendor{config: lender.TLS.Clone()}
	v.config.SessionTicketsDisabled = true // a pipe would wait until they are read
	answer := answers(http.StatusOK, success, headers...)
	v.behaves = func(c net.Conn, r seen) bool {
		now := time.Now()
		v.mu.Lock()
		v.arrivals = append(v.arrivals, now)
		v.mu.Unlock()
		return answer(c, r) && len(headers) == 0
	}
	return v
}

func (v *farVendor) secure(c net.Conn) net.Conn {
	<-time.After(setUp)
	return tls.Server(c, v.config)
}

func newLender(t *testing.T) *httptest.Server {
	lender := httptest.NewUnstartedServer(nil)
	lender.StartTLS()
	t.Cleanup(lender.Close)
	return lender
}

func trust(c *Client, lender *httptest.Server) {
	c.conns.tls.RootCAs = lender.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

// use returns the most requests in one second, and the share of the slots between the
// first and the last request that were used.
func (v *farVendor) use() (peak int, used float64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	slices.SortFunc(v.arrivals, time.Time.Compare)
	for i, from := range v.arrivals {
		n := slices.IndexFunc(v.arrivals[i:], func(at time.Time) bool { return at.Sub(from) >= time.Second })
		if n < 0 {
			n = len(v.arrivals) - i
		}
		peak = max(peak, n)
	}
	n := len(v.arrivals) - 1
	if n < 1 {
		return peak, 0
	}
	return peak, float64(n) * spacing.Seconds() / v.arrivals[n].Sub(v.arrivals[0]).Seconds()
}

// placeOne waits for a slot and uses it.
type placeOne func(ctx context.Context, c *Client, q *quota.Limiter) error

func connectFirst(ctx context.Context, c *Client, q *quota.Limiter) error {
	var line *Line
	defer func() { line.Release() }()
	err := q.Wait(ctx, func(ctx context.Context) (err error) {
		line, err = Reconnect(ctx, line, c.Connect)
		return err
	})
	if err != nil {
		return err
	}
	_, err = line.Place(context.WithoutCancel(ctx), testOrder, soon())
	return err
}

func slotFirst(ctx context.Context, c *Client, q *quota.Limiter) error {
	if err := q.Wait(ctx, func(context.Context) error { return nil }); err != nil {
		return err
	}
	_, err := c.Place(context.WithoutCancel(ctx), testOrder, soon())
	return err
}

// process is a client, and its view of the quota.
type process struct {
	*Client
	*quota.Limiter
}

// fill makes processes send as much as the quota allows, for the given time.
func fill(t *testing.T, length time.Duration, place placeOne, processes ...process) {
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var orders sync.WaitGroup
	for _, p := range processes {
		for range 12 {
			orders.Go(func() {
				for ctx.Err() == nil {
					if err := place(ctx, p.Client, p.Limiter); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				}
			})
		}
	}
	orders.Wait()
}

// However long connecting takes, the vendor sees no more than the rate, and nearly all
// of it.
func TestRateIsKeptWhenConnectingTakesLong(t *testing.T) {
	lender := newLender(t)
	for name, c := range map[string]struct {
		place   placeOne
		headers []string
		pods    int
		good    bool
	}{
		"connections are kept":     {connectFirst, nil, 2, true},
		"each call has its own":    {connectFirst, []string{"Connection: close"}, 1, true},
		"slot first, kept (wrong)": {slotFirst, nil, 2, false}, // this test can see what it is for
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newFarVendor(lender, c.headers...)
				var processes []process
				slots := &slotRedis{}
				for range c.pods {
					client := testClient(t, Config{BaseURL: "https://example.com"})
					trust(client, lender)
					client.conns.dial = func(context.Context, string, string) (net.Conn, error) {
						near, far := net.Pipe()
						go (&rawVendor{behave: v.behaves}).serve(far, v.secure)
						return near, nil
					}
					rdb := redisClient(t, "127.0.0.1:1") // an address, not a name: NewClient looks names up, which does not work in a bubble
					rdb.AddHook(slots)
					processes = append(processes, process{client, quota.New(rdb, "k", rate, jitter)})
				}
				fill(t, 20*time.Second, c.place, processes...)
				peak, used := v.use()
				t.Logf("%d requests, %d in one second, %.0f%% of the slots used", len(v.arrivals), peak, 100*used)
				if good := peak <= rate && used >= 0.9; good != c.good {
					t.Errorf("%d requests in one second and %.0f%% of the slots used, want %d at most and 90%% or more: %v", peak, 100*used, rate, c.good)
				}
				for _, p := range processes {
					p.Client.Close()
				}
				time.Sleep(2 * setUp) // until the vendor has seen that
			})
		})
	}
}

// The same with real sockets and the real clock. On a busy machine a request may arrive
// later than the jitter allows for, so the jitter is longer here (but shorter than connecting
// takes), and the test tries again. How much of the rate is used depends on the machine: in
// simulated time it is asserted.
func TestRateIsKeptOnRealConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: it needs seconds of the real clock, and -short is set")
	}
	lender := newLender(t)
	const tries, jitter = 4, 200 * time.Millisecond
	for try := 1; ; try++ {
		v := newFarVendor(lender)
		server := serveRaw(t, "https", v.behaves, v.secure)
		addr := miniredis.RunT(t).Addr()
		var processes []process
		for range 2 {
			client := testClient(t, Config{BaseURL: server.URL})
			trust(client, lender)
			processes = append(processes, process{client, quota.New(redisClient(t, addr), "k", rate, jitter)})
		}
		fill(t, 5*time.Second, connectFirst, processes...)
		peak, used := v.use()
		sent := len(v.arrivals)
		t.Logf("try %d: %d requests, %d in one second, %.0f%% of the slots used", try, sent, peak, 100*used)
		switch {
		case sent >= 5 && peak <= rate:
			return
		case try == tries:
			t.Fatalf("%d requests, %d in one second, want some, and %d at most", sent, peak, rate)
		}
	}
}
