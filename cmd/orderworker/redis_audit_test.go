package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/dedupe/storetest"
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

// running is the address of a worker's admin server, and its log; the worker
// looks at Redis often.
func running(d *desk) (admin string, log *syncBuffer) {
	d.t.Helper()
	d.env["ADMIN_ADDR"] = storetest.FreeAddr(d.t)
	d.env["LOG_FORMAT"] = "json"
	cli := d.parsed("run")
	cli.Run.redisPeriod = 20 * time.Millisecond
	log = new(syncBuffer)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cli.Run.Run(ctx, &std{out: log, err: log}) }()
	d.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	})
	return d.env["ADMIN_ADDR"], log
}

// A worker that is ready notices what is done to Redis under it, says so once,
// and is ready again once that is mended.
func TestRedisThatIsAlteredIsReported(t *testing.T) {
	d := newDesk(t, nil)
	admin, log := running(d)
	whenReadyz(t, admin, 200, "ok")
	d.ok(d.rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	whenReadyz(t, admin, 503, "redis: maxmemory-policy is allkeys-lru and must be noeviction")
	d.ok(d.rdb.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	whenReadyz(t, admin, 200, "ok")
	if text := log.String(); strings.Count(text, "maxmemory-policy is allkeys-lru") != 1 || !strings.Contains(text, `"level":"error"`) {
		t.Errorf("want one error line:\n%s", text)
	}
}

// What is done to the streams under a worker shows at /readyz too, until it is mended.
func TestStreamsThatAreAlteredAreNotReady(t *testing.T) {
	d := newDesk(t, map[string]string{"ORDERS_ACK_WAIT": "1s"})
	admin, log := running(d)
	whenReadyz(t, admin, 200, "ok")
	alter := func(age time.Duration) {
		t.Helper()
		stream, err := d.js.Stream(t.Context(), "ORDERS")
		d.ok(err)
		config := stream.CachedInfo().Config
		config.MaxAge = age
		_, err = d.js.UpdateStream(t.Context(), config)
		d.ok(err)
	}
	alter(time.Hour)
	whenReadyz(t, admin, 503, "jetstream: an unfinished order could be dropped: stream ORDERS: max_age is 1h0m0s")
	alter(0)
	whenReadyz(t, admin, 200, "ok")

	d.ok(d.js.DeleteStream(t.Context(), "ORDERS")) // and the subject is taken away, so that it cannot be made again
	_, err := d.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"orders.package.request"}})
	d.ok(err)
	whenReadyz(t, admin, 503, "jetstream: stream ORDERS: ")
	d.ok(d.js.DeleteStream(t.Context(), "OTHER"))
	whenReadyz(t, admin, 200, "ok")
	if text := log.String(); strings.Count(text, "was altered while running") != 1 || strings.Count(text, "pull failed, retrying") != 1 {
		t.Errorf("want one line each:\n%s", text)
	}
}

// Of a Cluster every master counts.
func TestRedisAuditAsksEveryMaster(t *testing.T) {
	good, bad := startRedis(t, "--cluster-enabled", "yes"), startRedis(t, "--cluster-enabled", "yes")
	for i, addr := range []string{good, bad} {
		node := newClient(t, "redis://"+addr)
		if err := node.Do(t.Context(), "cluster", "addslotsrange", i*8192, i*8192+8191).Err(); err != nil {
			t.Fatal(err)
		}
	}
	host, port, _ := net.SplitHostPort(bad)
	if err := newClient(t, "redis://"+good).Do(t.Context(), "cluster", "meet", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	cluster := newClient(t, "redis://"+good+"?addr="+bad)
	if _, ok := cluster.(*redis.ClusterClient); !ok {
		t.Fatalf("got a %T", cluster)
	}
	var audit *redisAudit
	storetest.Eventually(t, "both masters know each other, and will do", func() bool {
		audit = newRedisAudit(cluster, zerolog.Nop())
		return checkRedis(t.Context(), audit, "ORDERS") == nil && len(audit.nodes) == 2
	})
	if err := newClient(t, "redis://"+bad).ConfigSet(t.Context(), "maxmemory-policy", "volatile-lru").Err(); err != nil {
		t.Fatal(err)
	}
	found, err := audit.look(t.Context())
	if err != nil || len(found.faults) != 1 || !strings.Contains(found.String(), "maxmemory-policy is volatile-lru") {
		t.Errorf("%v %v, want one fault", found, err)
	}
}

// Keys that Redis evicted are a warning, each time there are more.
func TestRedisEvictions(t *testing.T) {
	client := newClient(t, "redis://"+startRedis(t))
	var log bytes.Buffer
	audit := newRedisAudit(client, zerolog.New(&log))
	look := func() {
		t.Helper()
		if _, err := audit.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	for range 2 {
		for _, config := range [][2]string{{"maxmemory-policy", "allkeys-lru"}, {"maxmemory", "4mb"}} {
			if err := client.(*redis.Client).ConfigSet(t.Context(), config[0], config[1]).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 128 {
			_ = client.Set(t.Context(), strconv.Itoa(i), strings.Repeat("x", 64<<10), 0).Err() // refused while nothing is left to evict
		}
		look()
		look()
	}
	if got := strings.Count(log.String(), "redis has evicted keys"); got != 2 || !strings.Contains(log.String(), `"level":"warn"`) {
		t.Errorf("%d warnings, want 2:\n%s", got, log.String())
	}
}

// A clock that is wrong is refused at the start, with both times and the cure.
func TestRunRefusesAnotherClock(t *testing.T) {
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

// While running it is an error line, and the worker is not ready.
func TestRedisClockWhileRunning(t *testing.T) {
	server := miniredis.RunT(t)
	log := new(syncBuffer)
	audit := newRedisAudit(newClient(t, "redis://"+server.Addr()), zerolog.New(log))
	if err := checkRedis(t.Context(), audit, "ORDERS"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() { audit.watch(ctx, time.Millisecond) })
	for _, clock := range []time.Duration{-6 * time.Second, 6 * time.Second} {
		server.SetTime(time.Now().Add(clock))
		storetest.Eventually(t, "it is not ready", func() bool {
			err := audit.ready(ctx)
			return err != nil && strings.Contains(err.Error(), "more than 5s apart") && !errors.Is(err, errRefused)
		})
		server.SetTime(time.Time{}) // the host's
		storetest.Eventually(t, "it is ready", func() bool { return audit.ready(ctx) == nil })
	}
	stop()
	watching.Wait()
	if got := strings.Count(log.String(), `"level":"error"`); got != 2 {
		t.Errorf("%d error lines, want 2:\n%s", got, log.String())
	}
}
