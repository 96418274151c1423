package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	checkTimeout = 750 * time.Millisecond // under the second that a Kubernetes probe waits
	checkCached  = time.Second            // probes must not become load on the servers
	maxAnswer    = time.Minute            // a CPU profile takes half of it, unless told otherwise
)

// check is one thing that must answer for the process to be ready.
type check struct {
	name string
	ask  func(context.Context) error
}

// admin serves /healthz, /readyz and /metrics. A nil *admin is one that is
// switched off.
type admin struct {
	listener net.Listener
	server   *http.Server
	served   chan struct{} // closed when the server has ended
}

// newRegistry is a registry with the usual Go and process metrics in it.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// startAdmin listens on addr and serves until stop; an empty addr is off.
// Profiles are those of net/http/pprof, below /debug/pprof/. The
// error says that addr cannot be listened on. The checks run at once for each
// /readyz, at most once a second, and may be asked before their server is
// connected: see gate.
func startAdmin(addr string, profiles bool, metrics prometheus.Gatherer, checks ...check) (*admin, error) {
	if addr == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("ADMIN_ADDR (%q): %w", addr, err)
	}
	ready := &readiness{checks: checks}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready.err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	if profiles {
		runtime.SetMutexProfileFraction(100)               // one in so many
		runtime.SetBlockProfileRate(int(time.Millisecond)) // of each so much time, one
		mux.HandleFunc("/debug/pprof/", pprof.Index)       // heap and the like; no cmdline: a secret could stand there
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	a := &admin{
		listener: listener,
		server:   &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: maxAnswer, IdleTimeout: time.Minute},
		served:   make(chan struct{}),
	}
	go func() {
		defer close(a.served)
		_ = a.server.Serve(listener) // ends with stop; until then Serve tries again by itself
	}()
	return a, nil
}

// addr is where a listens, with the port that was chosen for port 0; empty
// where it is off.
func (a *admin) addr() string {
	if a == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// stop answers the requests that are in progress until ctx is done, then ends
// the rest.
func (a *admin) stop(ctx context.Context) {
	if a == nil {
		return
	}
	if err := a.server.Shutdown(ctx); err != nil {
		_ = a.server.Close()
	}
	<-a.served
}

// readiness asks all checks together and remembers the answer for a second.
type readiness struct {
	checks []check

	mu    sync.Mutex // held while asking: whoever comes meanwhile gets the same answer
	asked time.Time
	last  error
}

// err is nil where every check passed, else one error that names each that did
// not, and why.
func (r *readiness) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.asked.IsZero() && time.Since(r.asked) < checkCached {
		return r.last
	}
	// Not the request's context: the answer is for others too.
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	failed := make([]error, len(r.checks))
	var all sync.WaitGroup
	for i, c := range r.checks {
		all.Go(func() {
			if err := c.ask(ctx); err != nil {
				failed[i] = fmt.Errorf("%s: %s", c.name, strings.TrimPrefix(err.Error(), c.name+": "))
			}
		})
	}
	all.Wait()
	r.asked, r.last = time.Now(), errors.Join(failed...)
	return r.last
}

// gate is a check of a server that is not connected yet: it says why, until it
// is opened with the check of the connection.
type gate struct {
	ask atomic.Pointer[func(context.Context) error]
}

// check is the gate's check.
func (g *gate) check(ctx context.Context) error {
	if ask := g.ask.Load(); ask != nil {
		return (*ask)(ctx)
	}
	return errors.New("not connected yet")
}

// fail makes the check fail with err.
func (g *gate) fail(err error) { g.open(func(context.Context) error { return err }) }

// open makes ask the check.
func (g *gate) open(ask func(context.Context) error) { g.ask.Store(&ask) }
