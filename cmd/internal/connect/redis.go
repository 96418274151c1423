package connect

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/config"
)

const (
	redisDialTimeout = 5 * time.Second
	redisIOTimeout   = 3 * time.Second // of one read or write; a context's deadline counts where it is sooner
	redisSpareConns  = 8               // beyond one for each order: heartbeats, quota, lookups, readiness
	redisMaxConns    = 256             // Redis answers one command at a time; more only cost memory there
)

// Redis returns a client for REDIS_URL. It does not dial: RedisAudit.Check finds out
// whether the server answers and can be used.
//
// MaxRetries is -1 whatever the URL says: go-redis would send a script again
// whose reply was lost. A Cluster client still repeats a command on a broken
// connection, as part of following redirects, which it cannot do without.
//
// Source: github.com/redis/go-redis/v9, ClusterClient.process.
//
// If onConnect is not nil, it runs on each new connection except those of a Cluster,
// before any command; if it returns an error, the connection is closed.
func Redis(s *config.Settings, onConnect func(context.Context, *redis.Conn) error) (redis.UniversalClient, error) {
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

// unless sets field to value if the URL did not set it.
func unless[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

// redisRefused wraps err; if it is a refusal, by the server or by this program, with
// ErrRefused and the settings to look at.
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
	return fmt.Errorf("redis: %s: %w: %w: look at %s", what, ErrRefused, err, settings)
}

// CloseRedis closes client, and waits for a second at most: go-redis waits for the
// answers to what it has sent, and the server may be silent.
func CloseRedis(client redis.UniversalClient) {
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
