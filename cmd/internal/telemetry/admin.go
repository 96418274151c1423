package telemetry

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

// Check is something that must answer for the process to be ready.
type Check struct {
	Name string
	Ask  func(context.Context) error
	Note func() string // what /readyz says where the process is ready; nil or "": nothing
}

// Admin is a server of /healthz, /readyz and /metrics. A nil *Admin is one that is
// switched off.
type Admin struct {
	listener net.Listener
	server   *http.Server
	served   chan struct{} // closed when the server has ended
}

// NewRegistry returns a registry that has the usual metrics of Go and the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// StartAdmin listens on addr and serves until Stop; if addr is empty, it returns nil.
// Profiles are those of net/http/pprof, below /debug/pprof/. The error says that it
// cannot listen on addr. Each /readyz runs all checks at the same time, but at most
// once a second, and also before their servers are connected: see Gate.
func StartAdmin(addr string, profiles bool, metrics prometheus.Gatherer, checks ...Check) (*Admin, error) {
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
		for _, c := range checks {
			if c.Note == nil {
				continue
			}
			if note := c.Note(); note != "" {
				fmt.Fprintln(w, note)
			}
		}
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
	a := &Admin{
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

// addr is the address on which a listens, with the port that was chosen for port 0;
// empty if a is off.
func (a *Admin) addr() string {
	if a == nil {
		return ""
	}
	return a.listener.Addr().String()
}

// Stop waits for the requests in progress until ctx is done, then ends the others.
func (a *Admin) Stop(ctx context.Context) {
	if a == nil {
		return
	}
	if err := a.server.Shutdown(ctx); err != nil {
		_ = a.server.Close()
	}
	<-a.served
}

// readiness runs all checks at the same time and remembers the answer for a second.
type readiness struct {
	checks []Check

	mu    sync.Mutex // held while the checks run, so that those who wait get the same answer
	asked time.Time
	last  error
}

// err is nil if every check passed; otherwise it names each check that did not, and
// why.
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
			if err := c.Ask(ctx); err != nil {
				failed[i] = fmt.Errorf("%s: %s", c.Name, strings.TrimPrefix(err.Error(), c.Name+": "))
			}
		})
	}
	all.Wait()
	r.asked, r.last = time.Now(), errors.Join(failed...)
	return r.last
}
