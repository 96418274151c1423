package main

import (
	"bytes"
	"maps"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/config"
	"orderworker/dedupe/storetest"
)

// runSettings are what run needs beside its servers.
func runSettings(more map[string]string) config.LookupFunc {
	env := map[string]string{"UPSTREAM_APPKEY": "k", "UPSTREAM_SECRET": "s", "ADMIN_ADDR": "", "UPSTREAM_URL": "http://127.0.0.1:1", "UPSTREAM_RATE": "0"}
	maps.Copy(env, more)
	return apptest.Lookup(env)
}

func TestCollectsLessUnlessGOGCIsSet(t *testing.T) {
	before := debug.SetGCPercent(123)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	for env, want := range map[string]int{"GOGC": 123, "GOMEMLIMIT": gcPercent, "": gcPercent} {
		debug.SetGCPercent(123)
		collectLess(func(name string) string {
			if name == env {
				return "100"
			}
			return ""
		})
		if got := debug.SetGCPercent(123); got != want {
			t.Errorf("with %q in the environment the percentage is %d, want %d", env, got, want)
		}
	}
}

// A short RECONCILE_DELAY is a warning at the start, and is not refused.
func TestRunWarnsOfAShortReconcileDelay(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	status := run([]string{"run"}, runSettings(map[string]string{ // it goes on, to a Redis that refuses
		"NATS_URL": storetest.NATS(t).ClientURL(), "REDIS_URL": "redis://:wrong@" + storetest.Redis(t, "--requirepass", "right").Addr, "RECONCILE_DELAY": "30s",
	}), &out, &errs)
	if status != statusFailed || !strings.Contains(errs.String(), "RECONCILE_DELAY is less than 2m") || !strings.Contains(errs.String(), "WRONGPASS") {
		t.Errorf("exit status %d:\n%s", status, errs.String())
	}
}

func TestRunEndsWhereNATSForbidsOrDoesNotFit(t *testing.T) {
	t.Parallel()
	redis := storetest.Redis(t, "--maxmemory-policy", "noeviction").Addr
	for name, c := range map[string]struct {
		deny   []string
		stream *jetstream.StreamConfig
		want   string
	}{
		"streams may not be asked for": {deny: []string{"$JS.API.STREAM.>"}, want: "ermissions"},
		"results may not be published": {deny: []string{"orders.package.result.>"}, want: "orders.package.result"},
		"orders go to another stream":  {stream: &jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"elsewhere"}}, want: "orders.package.request"},
		"another stream has the subject": {stream: &jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"orders.package.>"}},
			want: "overlap"},
		"orders have an age limit": {stream: &jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.request"}, MaxAge: 1e12}, want: "max_age"},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.NATS(t, func(o *server.Options) {
				o.Users = []*server.User{{Username: "admin", Password: "p"}, {Username: "worker", Password: "p", Permissions: &server.Permissions{
					Publish: &server.SubjectPermission{Deny: c.deny},
				}}}
			})
			nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("admin", "p"))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			if c.stream != nil {
				if _, err := js.CreateStream(t.Context(), *c.stream); err != nil {
					t.Fatal(err)
				}
			}
			if name == "results may not be published" { // that shows with the first result
				if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.package.request"}}); err != nil {
					t.Fatal(err)
				}
				expired := `{"outTradeNo":"A","iccid":"8988308650100524999","packageCode":"P","expiresAt":"2020-01-01T00:00:00Z"}`
				if _, err := js.Publish(t.Context(), "orders.package.request", []byte(expired)); err != nil {
					t.Fatal(err)
				}
			}
			var out, errs bytes.Buffer
			status := run([]string{"run"}, runSettings(map[string]string{
				"NATS_URL": "nats://worker:p@" + s.Addr().String(), "REDIS_URL": "redis://" + redis, "SHUTDOWN_TIMEOUT": "1s",
			}), &out, &errs)
			last := errs.String()[strings.LastIndex(strings.TrimSpace(errs.String()), "\n")+1:]
			if status != statusFailed || !strings.HasPrefix(last, "orderworker: ") || !strings.Contains(errs.String(), c.want) {
				t.Errorf("exit status %d, want 1 and a line that names %s; stderr ends with %s", status, c.want, last)
			}
		})
	}
}
