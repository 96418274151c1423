package connect

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/dedupe/storetest"
	"orderworker/worker/logtest"
)

// Of a Cluster every master counts.
func TestRedisAuditAsksEveryMaster(t *testing.T) {
	good, bad := storetest.Redis(t, "--cluster-enabled", "yes").Addr, storetest.Redis(t, "--cluster-enabled", "yes").Addr
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
	var audit *RedisAudit
	storetest.Eventually(t, "both masters know each other, and will do", func() bool {
		audit = NewRedisAudit(cluster, zerolog.Nop())
		return audit.Check(t.Context(), "ORDERS") == nil && len(audit.nodes) == 2
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
	client := newClient(t, "redis://"+storetest.Redis(t).Addr)
	var log bytes.Buffer
	audit := NewRedisAudit(client, zerolog.New(&log))
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

// While running it is an error line, and the worker is not ready.
func TestRedisClockWhileRunning(t *testing.T) {
	server := miniredis.RunT(t)
	log := new(logtest.Buffer)
	audit := NewRedisAudit(newClient(t, "redis://"+server.Addr()), zerolog.New(log))
	if err := audit.Check(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	watching.Go(func() { audit.Watch(ctx, time.Millisecond) })
	for _, clock := range []time.Duration{-6 * time.Second, 6 * time.Second} {
		server.SetTime(time.Now().Add(clock))
		storetest.Eventually(t, "it is not ready", func() bool {
			err := audit.Ready(ctx)
			return err != nil && strings.Contains(err.Error(), "more than 5s apart") && !errors.Is(err, ErrRefused)
		})
		server.SetTime(time.Time{}) // the host's
		storetest.Eventually(t, "it is ready", func() bool { return audit.Ready(ctx) == nil })
	}
	stop()
	watching.Wait()
	if got := strings.Count(log.String(), `"level":"error"`); got != 2 {
		t.Errorf("%d error lines, want 2:\n%s", got, log.String())
	}
}
