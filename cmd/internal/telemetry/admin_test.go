package telemetry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestAdminServes(t *testing.T) {
	var g Gate
	fine := func(context.Context) error { return nil }
	a, err := StartAdmin("127.0.0.1:0", false, NewRegistry(), Check{Name: "nats", Ask: g.Check}, Check{Name: "redis", Ask: fine, Note: func() string { return "paused" }})
	if err != nil {
		t.Fatal(err)
	}
	base := "http://" + a.addr()
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/healthz": {200, "ok\n"},
		"/readyz":  {503, "nats: not connected yet\n"},
		"/metrics": {200, "go_goroutines"},
		"/":        {404, ""},
	} {
		if status, body := get(t, base+path); status != want.status || !strings.Contains(body, want.body) {
			t.Errorf("%s: %d %q, want %d with %q", path, status, body, want.status, want.body)
		}
	}
	if _, body := get(t, base+"/metrics"); !strings.Contains(body, "process_cpu_seconds_total") {
		t.Error("/metrics has no process metrics")
	}
	b, err := StartAdmin("127.0.0.1:0", false, NewRegistry(), Check{Name: "redis", Ask: fine, Note: func() string { return "paused" }}, Check{Name: "nats", Ask: fine, Note: func() string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, "http://"+b.addr()+"/readyz"); status != 200 || body != "ok\npaused\n" {
		t.Errorf("/readyz with a note: %d %q", status, body)
	}
	b.Stop(t.Context())
	a.Stop(t.Context())
	if response, err := http.Get(base + "/healthz"); err == nil {
		response.Body.Close()
		t.Error("it still answers after stop")
	}
}

func TestAdminPortInUse(t *testing.T) {
	first, err := StartAdmin("127.0.0.1:0", false, NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Stop(t.Context())
	busy := first.addr()
	if _, err := StartAdmin(busy, false, NewRegistry()); err == nil || !strings.Contains(err.Error(), `ADMIN_ADDR ("`+busy+`")`) {
		t.Errorf("got %v", err)
	}
}

func TestAdminOff(t *testing.T) {
	a, err := StartAdmin("", false, NewRegistry())
	if err != nil || a.addr() != "" {
		t.Errorf("got %v, %v", a, err)
	}
	a.Stop(t.Context())
}

func TestAdminStopsWithARequestInProgress(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	a, err := StartAdmin("127.0.0.1:0", false, NewRegistry(), Check{Name: "slow", Ask: func(context.Context) error { close(started); <-release; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if response, err := http.Get("http://" + a.addr() + "/readyz"); err == nil {
			response.Body.Close()
		}
	}()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Stop(ctx) // returns although the check does not
	close(release)
	<-ended
}

func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var fault atomic.Pointer[error]
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		r := &readiness{checks: []Check{
			{Name: "nats", Ask: func(context.Context) error {
				asked.Add(1)
				if err := fault.Load(); err != nil {
					return *err
				}
				return nil
			}},
			{Name: "redis", Ask: func(context.Context) error { return nil }},
		}}
		if err := r.err(); err != nil {
			t.Errorf("got %v", err)
		}
		gone := errors.New("nats: gone")
		fault.Store(&gone)
		time.Sleep(checkCached - time.Millisecond)
		if err := r.err(); err != nil || asked.Load() != 1 {
			t.Errorf("within a second: got %v after %d questions", err, asked.Load())
		}
		time.Sleep(time.Millisecond)
		if err := r.err(); err == nil || err.Error() != "nats: gone" || asked.Load() != 2 {
			t.Errorf("after a second: got %v after %d questions", err, asked.Load())
		}

		// Both hang: asked together, both are named when the time is over.
		r = &readiness{checks: []Check{{Name: "nats", Ask: hang}, {Name: "redis", Ask: hang}}}
		start := time.Now()
		err := r.err()
		if d := time.Since(start); d != checkTimeout || err == nil || err.Error() != "nats: context deadline exceeded\nredis: context deadline exceeded" {
			t.Errorf("got %v after %v", err, d)
		}
	})
}

func TestGate(t *testing.T) {
	var g Gate
	if err := g.Check(t.Context()); err == nil {
		t.Error("passes before it is opened")
	}
	refused := errors.New("connection refused")
	g.Fail(refused)
	if err := g.Check(t.Context()); !errors.Is(err, refused) {
		t.Errorf("got %v, want why", err)
	}
	g.Open(func(context.Context) error { return nil })
	if err := g.Check(t.Context()); err != nil {
		t.Errorf("open, but %v", err)
	}
}
