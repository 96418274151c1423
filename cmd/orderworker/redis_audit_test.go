package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
	"orderworker/worker/logtest"
)

// whenReadyz waits until /readyz answers with status, and want in it.
func whenReadyz(t *testing.T, admin string, status int, want string) {
	t.Helper()
	storetest.Eventually(t, "/readyz says "+want, func() bool {
		resp, err := http.Get("http://" + admin + "/readyz")
		if err != nil { // it does not listen yet
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == status && strings.Contains(string(body), want)
	})
}

// running starts a worker that audits Redis very often. It returns the address of its
// admin server, and its log.
func running(d *desk) (admin string, log *logtest.Buffer) {
	d.T.Helper()
	d.Env["ADMIN_ADDR"] = storetest.FreeAddr(d.T)
	d.Env["LOG_FORMAT"] = "json"
	cli := d.parsed("run")
	cli.Run.auditPeriod = 20 * time.Millisecond
	log = new(logtest.Buffer)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cli.Run.Run(ctx, &std{out: log, err: log}) }()
	d.T.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			d.T.Error(err)
		}
	})
	return d.Env["ADMIN_ADDR"], log
}

// If the configuration of Redis is changed while a worker runs, it is not ready, logs one
// error line, and is ready again when the configuration is corrected.
func TestRedisThatIsAlteredIsReported(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	admin, log := running(d)
	whenReadyz(t, admin, 200, "ok")
	d.OK(d.RDB.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	whenReadyz(t, admin, 503, "redis: maxmemory-policy is allkeys-lru and must be noeviction")
	d.OK(d.RDB.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	whenReadyz(t, admin, 200, "ok")
	if text := log.String(); strings.Count(text, "maxmemory-policy is allkeys-lru") != 1 || !strings.Contains(text, `"level":"error"`) {
		t.Errorf("want one error line:\n%s", text)
	}
}

// If a stream is changed while a worker runs, /readyz says so until it is corrected.
func TestStreamsThatAreAlteredAreNotReady(t *testing.T) {
	d := newDesk(t, map[string]string{"ORDERS_ACK_WAIT": "1s"})
	admin, log := running(d)
	whenReadyz(t, admin, 200, "ok")
	alter := func(age time.Duration) {
		t.Helper()
		stream, err := d.JS.Stream(t.Context(), "ORDERS")
		d.OK(err)
		config := stream.CachedInfo().Config
		config.MaxAge = age
		_, err = d.JS.UpdateStream(t.Context(), config)
		d.OK(err)
	}
	alter(time.Hour)
	whenReadyz(t, admin, 503, "jetstream: an unfinished order could be dropped: stream ORDERS: max_age is 1h0m0s")
	alter(0)
	whenReadyz(t, admin, 200, "ok")

	// The stream is deleted and its subject taken away, so that it cannot be made again; the
	// worker may make it again in between.
	deleted := 0
	storetest.Eventually(t, "the subject is another stream's", func() bool {
		if d.JS.DeleteStream(t.Context(), "ORDERS") == nil {
			deleted++
		}
		_, err := d.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"orders.package.request"}})
		return err == nil
	})
	whenReadyz(t, admin, 503, "jetstream: stream ORDERS: ")
	d.OK(d.JS.DeleteStream(t.Context(), "OTHER"))
	whenReadyz(t, admin, 200, "ok")
	if text := log.String(); strings.Count(text, "was altered while running") != 1 || !strings.Contains(text, "pull failed, retrying") || strings.Count(text, "pull failed, retrying") > deleted {
		t.Errorf("want one line each, and at most one for each of %d deletions:\n%s", deleted, text)
	}
}

// A clock that is wrong is refused at the start, with both times and the cure.
func TestRunRefusesAnotherClock(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	server.SetTime(time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC))
	for name, env := range map[string]map[string]string{"": nil, "ALLOW_LOSSY_STREAMS is about streams only": {"ALLOW_LOSSY_STREAMS": "true"}} {
		d := map[string]string{"NATS_URL": storetest.NATS(t).ClientURL(), "REDIS_URL": "redis://" + server.Addr()}
		for k, v := range env {
			d[k] = v
		}
		var out, errs bytes.Buffer
		status := run([]string{"run"}, runSettings(d), &out, &errs)
		for _, want := range []string{"orderworker: redis: its clock says 2020-01-02T03:04:05.000Z and this host's 2", "NTP"} {
			if status != statusFailed || !strings.Contains(errs.String(), want) {
				t.Errorf("%s: exit status %d, want 1 and %q in\n%s", name, status, want, errs.String())
			}
		}
	}
}
