package connect

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/certtest"
	"orderworker/cmd/internal/config"
	"orderworker/dedupe/storetest"
)

func newClient(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	client, err := Redis(&config.Settings{RedisURL: url, Concurrency: 4}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestCheckRedis(t *testing.T) {
	open := storetest.Redis(t).Addr
	locked := storetest.Redis(t, "--requirepass", "hunter2").Addr
	evicting := storetest.Redis(t, "--maxmemory-policy", "allkeys-lru").Addr
	managed := storetest.Redis(t, "--rename-command", "CONFIG", "").Addr
	managedEvicting := storetest.Redis(t, "--rename-command", "CONFIG", "", "--maxmemory-policy", "volatile-ttl").Addr
	secretive := storetest.Redis(t, "--rename-command", "CONFIG", "", "--rename-command", "INFO", "").Addr
	replica := storetest.Redis(t, "--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes").Addr
	users := storetest.Redis(t).Addr
	admin := newClient(t, "redis://"+users)
	for _, rules := range [][]any{
		{"acl", "setuser", "worker", "on", ">pw", "~ORDERS:order:*", "~quota:*", "+@all", "-@dangerous"},
		{"acl", "setuser", "reader", "on", ">pw", "~*", "+@read", "+@connection", "+@scripting"},
		{"acl", "setuser", "scriptless", "on", ">pw", "~ORDERS:order:*", "+@all", "-@scripting"},
		{"acl", "setuser", "elsewhere", "on", ">pw", "~other:*", "+@all"},
	} {
		if err := admin.Do(t.Context(), rules...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		url     string
		refused bool
		err     string
		warning string
	}{
		"fine":                     {"redis://" + open + "/0", false, "", ""},
		"password":                 {"redis://:hunter2@" + locked, false, "", ""},
		"no password":              {"redis://" + locked, true, "NOAUTH", ""},
		"wrong password":           {"redis://:hunter3@" + locked, true, "WRONGPASS", ""},
		"unknown user":             {"redis://nobody:hunter2@" + locked, true, "WRONGPASS", ""},
		"user without CONFIG":      {"redis://worker:pw@" + users, false, "", "does not tell its maxmemory-policy"},
		"user who cannot write":    {"redis://reader:pw@" + users, true, "write an order: refused: NOPERM", ""},
		"user without scripts":     {"redis://scriptless:pw@" + users, true, "run a script: refused: NOPERM", ""},
		"user of other keys":       {"redis://elsewhere:pw@" + users, true, "write an order: refused: NOPERM", ""},
		"evicting":                 {"redis://" + evicting, true, "maxmemory-policy is allkeys-lru and must be noeviction", ""},
		"managed":                  {"redis://" + managed, false, "", ""},
		"managed, evicting":        {"redis://" + managedEvicting, true, "maxmemory-policy is volatile-ttl", ""},
		"tells nothing":            {"redis://" + secretive, false, "", "does not tell its maxmemory-policy"},
		"replica":                  {"redis://" + replica, false, "READONLY", ""},
		"database that is missing": {"redis://" + open + "/99", true, "DB index is out of range", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := NewRedisAudit(newClient(t, c.url), zerolog.New(&log)).Check(ctx, "ORDERS")
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || errors.Is(err, ErrRefused) != c.refused {
				t.Errorf("got %v, want refused %v and %q", err, c.refused, c.err)
			}
			if (log.Len() == 0) != (c.warning == "") || !strings.Contains(log.String(), c.warning) {
				t.Errorf("logged %q, want %q", log.String(), c.warning)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "pw")) {
				t.Errorf("a password is shown: %v", err)
			}
		})
	}
	// A user without scripts cannot remove the key at once; it lapses in a second.
	storetest.Eventually(t, "the check leaves nothing behind", func() bool { return admin.DBSize(t.Context()).Val() == 0 })
}

func TestCheckRedisOverTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.New(t)
	caFile := dir + "/ca.pem"
	if err := os.WriteFile(caFile, ca.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := ca.Issue(t, dir, "redis")
	_, port, _ := net.SplitHostPort(storetest.FreeAddr(t))
	storetest.Redis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", caFile, "--tls-auth-clients", "no")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := NewRedisAudit(newClient(t, "rediss://127.0.0.1:"+port), zerolog.Nop()).Check(ctx, "ORDERS")
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody known: got %v", err)
	}
	if err := NewRedisAudit(newClient(t, "rediss://127.0.0.1:"+port+"?skip_verify=true"), zerolog.Nop()).Check(ctx, "ORDERS"); err != nil {
		t.Errorf("unverified: got %v", err)
	}
}

func TestCheckRedisOnMiniredis(t *testing.T) {
	server := miniredis.RunT(t)
	client := newClient(t, "redis://"+server.Addr())
	if err := NewRedisAudit(client, zerolog.Nop()).Check(t.Context(), "ORDERS"); err != nil {
		t.Fatal(err)
	}
	if err := NewRedisAudit(client, zerolog.Nop()).Ready(t.Context()); err != nil {
		t.Error(err)
	}
	server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := NewRedisAudit(client, zerolog.Nop()).Check(ctx, "ORDERS"); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("a server that is gone: got %v", err)
	}
	if err := NewRedisAudit(client, zerolog.Nop()).Ready(ctx); err == nil {
		t.Error("ready without a server")
	}
}

func TestCheckRedisCluster(t *testing.T) {
	for policy, want := range map[string]bool{"noeviction": true, "allkeys-random": false} {
		t.Run(policy, func(t *testing.T) {
			addr := storetest.Redis(t, "--cluster-enabled", "yes", "--maxmemory-policy", policy).Addr
			node := newClient(t, "redis://"+addr)
			if err := node.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err(); err != nil {
				t.Fatalf("this redis-server cannot be a Cluster of one: %v", err)
			}
			client := newClient(t, "redis://"+addr+"?addr="+addr)
			if _, ok := client.(*redis.ClusterClient); !ok {
				t.Fatalf("got a %T", client)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := errors.New("not asked")
			for ctx.Err() == nil { // until the node has noticed its slots
				if err = NewRedisAudit(client, zerolog.Nop()).Check(ctx, "ORDERS"); err == nil || errors.Is(err, ErrRefused) {
					break
				}
			}
			if (err == nil) != want {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestConnectRedisOptions(t *testing.T) {
	single := newClient(t, "redis://u:p@127.0.0.1:1/3?max_retries=5&read_timeout=7s").(*redis.Client).Options()
	if single.MaxRetries > 0 || !single.ContextTimeoutEnabled || single.PoolSize != 12 || single.DB != 3 ||
		single.ReadTimeout != 7*time.Second || single.WriteTimeout != redisIOTimeout || single.DialTimeout != redisDialTimeout {
		t.Errorf("single: got %+v", single)
	}
	cluster := newClient(t, "rediss://u:p@127.0.0.1:1?addr=127.0.0.1:2&max_retries=5").(*redis.ClusterClient).Options()
	if cluster.MaxRetries > 0 || !cluster.ContextTimeoutEnabled || cluster.PoolSize != 12 || len(cluster.Addrs) != 2 || cluster.TLSConfig == nil {
		t.Errorf("cluster: got %+v", cluster)
	}
	sentinel := newClient(t, "redis://u:p@127.0.0.1:1/2?master_name=m&addr=127.0.0.1:2&max_retries=5").(*redis.Client).Options()
	if sentinel.MaxRetries > 0 || !sentinel.ContextTimeoutEnabled || sentinel.PoolSize != 12 || sentinel.DB != 2 || sentinel.Addr != "FailoverClient" {
		t.Errorf("sentinel: got %+v", sentinel)
	}
	many, err := Redis(&config.Settings{RedisURL: "redis://127.0.0.1:1", Concurrency: 10_000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer many.Close()
	if got := many.(*redis.Client).Options().PoolSize; got != redisMaxConns {
		t.Errorf("pool of %d, want %d", got, redisMaxConns)
	}
	if _, err := Redis(&config.Settings{RedisURL: "redis://:hunter2@a:x"}, nil); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
