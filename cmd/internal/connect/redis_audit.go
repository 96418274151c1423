package connect

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/dedupe/redisstore"
	"orderworker/worker"
)

const (
	AuditPeriod    = time.Minute      // of Watch, while a worker runs
	redisAuditTime = 10 * time.Second // that one look may take
)

// RedisAudit finds out whether Redis is set up as it must be: at the start, and
// regularly while the worker runs. It asks every node that accepts writes.
// ALLOW_LOSSY_STREAMS does not concern it: that is about streams, and what is wrong
// here can be mended in a minute.
//
// Source: contract, section 9; https://redis.io/docs/latest/develop/reference/eviction/.
type RedisAudit struct {
	client redis.UniversalClient
	log    zerolog.Logger
	nodes  map[string]*redisNode  // by their address
	fault  atomic.Pointer[string] // what the last look found; "": nothing
}

// redisNode is what is known of one node.
type redisNode struct {
	clock   worker.Clock
	evicted int64 // keys, as it said last
}

// NewRedisAudit returns an audit of the nodes that client reaches.
func NewRedisAudit(client redis.UniversalClient, log zerolog.Logger) *RedisAudit {
	return &RedisAudit{client: client, log: log, nodes: make(map[string]*redisNode)}
}

// forget removes KEYS[1] and returns how many keys that were.
var forget = redis.NewScript(`return redis.call('del', KEYS[1])`)

// ProbeKey is a key of Redis that looks like an order's and exists for at most a
// second. No order has it, because an outTradeNo has no spaces.
func ProbeKey(deployment string) string {
	return redisstore.OrderKey(deployment, "orderworker asks whether it may write")
}

// Check reports whether the server can be used for deployment: it accepts the
// password, writes and scripts, and look finds nothing wrong. The error wraps
// ErrRefused if the server cannot be used; any other error says that the server did
// not answer, or not yet.
func (a *RedisAudit) Check(ctx context.Context, deployment string) error {
	client := a.client
	if err := client.Ping(ctx).Err(); err != nil {
		return redisRefused("ping", err)
	}
	// Not in one script: there Redis 7.0 answers ERR instead of NOPERM.
	key := ProbeKey(deployment)
	if err := client.Set(ctx, key, 1, time.Second).Err(); err != nil {
		_, single := client.(*redis.Client)
		if _, moved := redis.IsMovedError(err); moved && single { // a Cluster's client follows it
			return fmt.Errorf("redis: write an order: %w: %w: look at REDIS_URL: it is a Cluster, and needs ?addr=HOST:PORT", ErrRefused, err)
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
		return fmt.Errorf("%s: %w", found, ErrRefused)
	}
	if found.untold {
		a.log.Warn().Msg("redis does not tell its maxmemory-policy: make sure that it is noeviction, or orders will be forgotten")
	}
	return nil
}

// redisFindings is what one look has found.
type redisFindings struct {
	faults []string // one each, with the cure; sorted
	untold bool     // a node does not tell its policy
}

func (f redisFindings) String() string { return strings.Join(f.faults, "; ") }

// look asks every node for its policy, its clock, and the number of keys that it
// evicted. The error says that a node did not answer.
func (a *RedisAudit) look(ctx context.Context) (found redisFindings, err error) {
	var mu sync.Mutex // a Cluster's nodes are asked at the same time
	faults := make(map[string]bool)
	ask := func(ctx context.Context, client *redis.Client) error {
		policy, err := EvictionPolicy(ctx, client)
		if err != nil {
			return redisRefused("ask for maxmemory-policy", err)
		}
		before := time.Now()
		there, err := client.Time(ctx).Result()
		after := time.Now()
		if err != nil {
			return redisRefused("ask for the time", err)
		}
		evicted, err := InfoField(ctx, client, "stats", "evicted_keys")
		if err != nil {
			return redisRefused("ask for evicted_keys", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if policy != "" && policy != "noeviction" {
			faults[fmt.Sprintf("redis: maxmemory-policy is %s and must be noeviction, or orders will be forgotten: CONFIG SET maxmemory-policy noeviction on every node", policy)] = true
		}
		found.untold = found.untold || policy == ""
		node := a.node(client.Options().Addr)
		if fault := node.clock.Compare(before, there, after); fault != "" {
			faults[fault] = true
		}
		a.noteEvicted(client.Options().Addr, node, evicted)
		return nil
	}
	switch c := a.client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, ask)
	case *redis.Client:
		err = ask(ctx, c)
	default:
		err = fmt.Errorf("redis: cannot check a %T", a.client)
	}
	found.faults = slices.Sorted(maps.Keys(faults))
	return found, err
}

func (a *RedisAudit) node(addr string) *redisNode {
	if a.nodes[addr] == nil {
		a.nodes[addr] = &redisNode{clock: worker.Clock{Server: "redis"}, evicted: -1}
	}
	return a.nodes[addr]
}

// noteEvicted warns where a node has evicted keys since the last look: the policy
// may have been another in between, or Redis is somebody else's too. A count that
// is less than before is that of a restarted node.
func (a *RedisAudit) noteEvicted(addr string, node *redisNode, text string) {
	evicted, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // not told
		return
	}
	if node.evicted >= 0 && evicted > node.evicted {
		a.log.Warn().Str("node", addr).Int64("evicted_keys", evicted-node.evicted).Msg("redis has evicted keys: orders may be forgotten; set maxmemory-policy noeviction")
	}
	node.evicted = evicted
}

// Watch looks every period until ctx ends, and logs what changes. While Redis does
// not answer, the last findings stay: others report that it does not answer.
func (a *RedisAudit) Watch(ctx context.Context, period time.Duration) {
	every := time.NewTicker(period)
	defer every.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		limited, cancel := context.WithTimeout(ctx, redisAuditTime)
		found, err := a.look(limited)
		cancel()
		if err != nil {
			continue
		}
		text := found.String()
		switch {
		case text == last:
		case text == "":
			a.log.Info().Msg("redis is set up as it must be again")
		default:
			a.log.Error().Str("fault", text).Msg("redis was altered while running, or its clock is wrong")
		}
		last = text
		a.fault.Store(&text)
	}
}

// Ready is the readiness check: the server answers, and nothing is wrong with it.
func (a *RedisAudit) Ready(ctx context.Context) error {
	if err := a.client.Ping(ctx).Err(); err != nil {
		return err
	}
	if fault := a.fault.Load(); fault != nil && *fault != "" {
		return errors.New(*fault)
	}
	return nil
}

// EvictionPolicy is node's maxmemory-policy, empty if node does not tell it. The
// error is one of the connection.
func EvictionPolicy(ctx context.Context, node *redis.Client) (string, error) {
	config, err := node.ConfigGet(ctx, "maxmemory-policy").Result()
	if err == nil && config["maxmemory-policy"] != "" {
		return config["maxmemory-policy"], nil
	}
	if err != nil && !isReply(err) {
		return "", err
	}
	return InfoField(ctx, node, "memory", "maxmemory_policy")
}

// InfoField is one field of a section of node's INFO, empty if node does not tell it.
// The error is one of the connection.
func InfoField(ctx context.Context, node *redis.Client, section, name string) (string, error) {
	info, err := node.Info(ctx, section).Result()
	if err != nil && !isReply(err) {
		return "", err
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value), nil
		}
	}
	return "", nil
}

// isReply reports whether err is an answer of the server.
func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}
