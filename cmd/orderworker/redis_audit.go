package main

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

	"orderworker/worker"
)

const (
	redisAuditPeriod = time.Minute
	redisAuditTime   = 10 * time.Second // that one look may take
)

// redisAudit judges how Redis is set up: at the start, and again and again while
// the worker runs. Every node that takes writes is asked. ALLOW_LOSSY_STREAMS
// does not concern it: that is about streams, and what is wrong here can be
// mended in a minute.
//
// Source: contract, section 9; https://redis.io/docs/latest/develop/reference/eviction/.
type redisAudit struct {
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

func newRedisAudit(client redis.UniversalClient, log zerolog.Logger) *redisAudit {
	return &redisAudit{client: client, log: log, nodes: make(map[string]*redisNode)}
}

// redisFindings is what one look has found.
type redisFindings struct {
	faults []string // one each, with the cure; sorted
	untold bool     // a node does not tell its policy
}

func (f redisFindings) String() string { return strings.Join(f.faults, "; ") }

// look asks every node for its policy, its clock, and the keys that it evicted. The error says that
// one could not be asked.
func (a *redisAudit) look(ctx context.Context) (found redisFindings, err error) {
	var mu sync.Mutex // a Cluster's nodes are asked at the same time
	faults := make(map[string]bool)
	ask := func(ctx context.Context, client *redis.Client) error {
		policy, err := evictionPolicy(ctx, client)
		if err != nil {
			return redisRefused("ask for maxmemory-policy", err)
		}
		before := time.Now()
		there, err := client.Time(ctx).Result()
		after := time.Now()
		if err != nil {
			return redisRefused("ask for the time", err)
		}
		evicted, err := infoField(ctx, client, "stats", "evicted_keys")
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

func (a *redisAudit) node(addr string) *redisNode {
	if a.nodes[addr] == nil {
		a.nodes[addr] = &redisNode{clock: worker.Clock{Server: "redis"}, evicted: -1}
	}
	return a.nodes[addr]
}

// noteEvicted warns where a node has evicted keys since the last look: the policy
// may have been another in between, or Redis is somebody else's too. A count that
// is less than before is that of a restarted node.
func (a *redisAudit) noteEvicted(addr string, node *redisNode, text string) {
	evicted, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // not told
		return
	}
	if node.evicted >= 0 && evicted > node.evicted {
		a.log.Warn().Str("node", addr).Int64("evicted_keys", evicted-node.evicted).Msg("redis has evicted keys: orders may be forgotten; set maxmemory-policy noeviction")
	}
	node.evicted = evicted
}

// watch looks every period until ctx ends, and reports what changes. Where Redis
// cannot be asked, what was found last stands: the others say so.
func (a *redisAudit) watch(ctx context.Context, period time.Duration) {
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

// ready is the readiness check: the server answers, and nothing is wrong with it.
func (a *redisAudit) ready(ctx context.Context) error {
	if err := a.client.Ping(ctx).Err(); err != nil {
		return err
	}
	if fault := a.fault.Load(); fault != nil && *fault != "" {
		return errors.New(*fault)
	}
	return nil
}

// evictionPolicy is node's maxmemory-policy, empty where it does not tell. The
// error is one of the connection.
func evictionPolicy(ctx context.Context, node *redis.Client) (string, error) {
	config, err := node.ConfigGet(ctx, "maxmemory-policy").Result()
	if err == nil && config["maxmemory-policy"] != "" {
		return config["maxmemory-policy"], nil
	}
	if err != nil && !isReply(err) {
		return "", err
	}
	return infoField(ctx, node, "memory", "maxmemory_policy")
}

// infoField is one field of a section of node's INFO, empty where it does not
// tell. The error is one of the connection.
func infoField(ctx context.Context, node *redis.Client, section, name string) (string, error) {
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
