package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/config"
	"orderworker/dedupe"
)

const (
	redisDialTimeout = 5 * time.Second
	redisIOTimeout   = 3 * time.Second // of one read or write; a context's deadline counts where it is sooner
	redisSpareConns  = 8               // beyond one for each order: heartbeats, quota, lookups, readiness
	redisMaxConns    = 256             // Redis answers one command at a time; more only cost memory there
)

// connectRedis returns a client for REDIS_URL. It does not dial: whether the
// server answers and will do is checkRedis's question.
//
// MaxRetries is -1 whatever the URL says: go-redis would send a script again
// whose reply was lost. A Cluster client still repeats a command on a broken
// connection, as part of following redirects, which it cannot do without.
//
// Source: github.com/redis/go-redis/v9, ClusterClient.process.
//
// onConnect, if not nil, runs on each new connection but those of a Cluster, before
// any command; after an error the connection is closed.
func connectRedis(s *config.Settings, onConnect func(context.Context, *redis.Conn) error) (redis.UniversalClient, error) {
	options, err := s.RedisOptions()
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL %w", err) // it was good when the settings were checked
	}
	limit := func(pool, dials *int, dial, read, write *time.Duration) {
		unless(pool, min(s.Concurrency+redisSpareConns, redisMaxConns))
		unless(dials, 1) // the worker goes on trying, and says so
		unless(dial, redisDialTimeout)
		unless(read, redisIOTimeout)
		unless(write, redisIOTimeout)
	}
	switch o := options.(type) {
	case *redis.FailoverOptions:
		o.OnConnect = onConnect // on the Sentinels, too
		o.ClientName, o.MaxRetries, o.ContextTimeoutEnabled = "orderworker", -1, true
		limit(&o.PoolSize, &o.DialerRetries, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout)
		return redis.NewFailoverClient(o), nil
	case *redis.ClusterOptions:
		o.ClientName, o.MaxRetries, o.ContextTimeoutEnabled = "orderworker", -1, true
		limit(&o.PoolSize, &o.DialerRetries, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout)
		return redis.NewClusterClient(o), nil
	case *redis.Options:
		o.OnConnect = onConnect
		o.ClientName, o.MaxRetries, o.ContextTimeoutEnabled = "orderworker", -1, true
		limit(&o.PoolSize, &o.DialerRetries, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout)
		return redis.NewClient(o), nil
	default:
		panic(fmt.Sprintf("RedisOptions returned a %T", options))
	}
}

// unless sets what the URL did not.
func unless[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

// forget removes KEYS[1] and returns how many keys that were.
var forget = redis.NewScript(`return redis.call('del', KEYS[1])`)

// mayWrite names a key that looks like an order's and is there for at most a
// second; no order has it, as an outTradeNo has no spaces.
const mayWrite = "orderworker asks whether it may write"

// checkRedis asks whether a's server will do for deployment: the password is accepted,
// writes and scripts are allowed, and a finds nothing wrong. It wraps errRefused
// where the answer is no; any other error says that the server could not be asked,
// or not yet.
func checkRedis(ctx context.Context, a *redisAudit, deployment string) error {
	client := a.client
	if err := client.Ping(ctx).Err(); err != nil {
		return redisRefused("ping", err)
	}
	// Not in one script: there Redis 7.0 answers ERR instead of NOPERM.
	key := dedupe.OrderKey(deployment, mayWrite)
	if err := client.Set(ctx, key, 1, time.Second).Err(); err != nil {
		if _, single := client.(*redis.Client); single && isMoved(err) { // a Cluster's client follows it
			return fmt.Errorf("redis: write an order: %w: %w: look at REDIS_URL: it is a Cluster, and needs ?addr=HOST:PORT", errRefused, err)
		}
		return redisRefused("write an order", err)
	}
	if err := forget.Run(ctx, client, []string{key}).Err(); err != nil {
		return redisRefused("run a script", err)
	}
	found, err := a.look(ctx)
	if err != nil {
		return err
	}
	if len(found.faults) > 0 {
		return fmt.Errorf("%s: %w", found, errRefused)
	}
	if found.untold {
		a.log.Warn().Msg("redis does not tell its maxmemory-policy: make sure that it is noeviction, or orders will be forgotten")
	}
	return nil
}

// isReply reports whether the server itself said err.
func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}

// redisRefused wraps err, with errRefused and the settings to look at where the
// server will not have us, or we not it.
//
// Source: Redis's own errors differ in their text alone.
func redisRefused(what string, err error) error {
	settings := ""
	switch {
	case redis.IsAuthError(err), strings.HasPrefix(err.Error(), "ERR DB index is out of range"):
		settings = "REDIS_URL"
	case redis.IsPermissionError(err):
		settings = "REDIS_URL and the rules of its user"
	case isTLSError(err):
		settings = "REDIS_URL, and SSL_CERT_DIR for an authority of your own"
	default:
		return fmt.Errorf("redis: %s: %w", what, err)
	}
	return fmt.Errorf("redis: %s: %w: %w: look at %s", what, errRefused, err, settings)
}

func isMoved(err error) bool {
	_, moved := redis.IsMovedError(err)
	return moved
}

// closeRedis closes client, for a second at most: go-redis sees to the end of
// what it has sent, and a server may say nothing any more.
func closeRedis(client redis.UniversalClient) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = client.Close()
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
	}
}
