package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/connect"
)

// Redis is what the worker uses in Redis.
type Redis struct {
	Client redis.UniversalClient
	Keys   []string // keys that only the doctor uses, one for each pattern of the worker's keys
}

// redisVisit makes the checks of Redis.
type redisVisit struct {
	*Redis
	patience time.Duration // with a server that says nothing; the vendor's checks wait for it
	usable   *promise      // that the worker's scripts run
}

// redisMajor is the oldest version that is supported.
const redisMajor = 6

func (v *redisVisit) connect(ctx context.Context) Finding {
	limited, cancel := context.WithTimeoutCause(ctx, v.patience, errors.New("no answer"))
	defer cancel()
	start := time.Now()
	if err := v.Client.Ping(limited).Err(); err != nil {
		v.usable.keep(false)
		return because(limited, err)
	}
	rtt := time.Since(start)
	var versions []string
	old := false
	err := v.nodes(limited, func(ctx context.Context, node *redis.Client) (string, error) {
		version, err := connect.InfoField(ctx, node, "server", "redis_version")
		if err != nil {
			return "", err
		}
		var major int
		if _, err := fmt.Sscanf(version, "%d.", &major); err == nil && major < redisMajor {
			old = true
		}
		if version == "" {
			version = "not told"
		}
		return version, nil
	}, &versions)
	switch all := strings.Join(versions, ", "); {
	case err != nil:
		v.usable.keep(false)
		return because(limited, err)
	case old:
		return failed("version %s is older than %d", all, redisMajor).but("upgrade Redis")
	default:
		return fine("version %s, round trip %s", all, took(rtt))
	}
}

// nodes asks every master node, and collects the different replies.
func (v *redisVisit) nodes(ctx context.Context, ask func(context.Context, *redis.Client) (string, error), said *[]string) error {
	var mu sync.Mutex
	one := func(ctx context.Context, node *redis.Client) error {
		text, err := ask(ctx, node)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(*said, text) {
			*said = append(*said, text)
			slices.Sort(*said)
		}
		return nil
	}
	switch c := v.Client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, one)
	case *redis.Client:
		return one(ctx, c)
	default:
		return fmt.Errorf("cannot ask the nodes of a %T", c)
	}
}

// tryScript is run as the worker's scripts are.
var tryScript = redis.NewScript(`return redis.call('HGET', KEYS[1], 'field')`)

// permissions runs the commands of the worker's scripts on a key of its own, because ACL
// DRYRUN is for administrators only. It sends each command alone: in a script, some
// versions hide which one was refused. DEL comes first, so that nothing is written that
// could not be deleted again.
func (v *redisVisit) permissions(ctx context.Context) Finding {
	for _, key := range v.Keys {
		for _, command := range [][]any{
			{"DEL", key}, {"HSET", key, "field", "1"}, {"PEXPIRE", key, "1000"}, {"HGET", key, "field"}, {"HMGET", key, "field"},
			{"EVALSHA"}, {"HDEL", key, "field"}, {"DEL", key}, {"TIME"},
		} {
			var err error
			if command[0] == "EVALSHA" {
				err = tryScript.Run(ctx, v.Client, []string{key}).Err()
			} else {
				err = v.Client.Do(ctx, command...).Err()
			}
			if err != nil && !errors.Is(err, redis.Nil) {
				v.usable.keep(false)
				return because(ctx, fmt.Errorf("%v on %s: %w", command[0], key, err))
			}
		}
	}
	return fine("the commands of the worker's scripts are allowed")
}

func (v *redisVisit) eviction(ctx context.Context) Finding {
	var policies []string
	if err := v.nodes(ctx, connect.EvictionPolicy, &policies); err != nil {
		return because(ctx, err)
	}
	switch all := strings.Join(policies, ", "); {
	case slices.ContainsFunc(policies, func(p string) bool { return p != "" && p != "noeviction" }):
		return failed("maxmemory-policy is %s", all)
	case slices.Contains(policies, ""):
		return warning("maxmemory-policy is not told").but("make sure that it is noeviction on every node")
	default:
		return fine("maxmemory-policy is %s", all)
	}
}

// What persistenceOf returns for a node that does not persist, or does not say.
const (
	notPersistent   = "none"
	persistsUnknown = "not told"
)

func (v *redisVisit) persistence(ctx context.Context) Finding {
	var kinds []string
	if err := v.nodes(ctx, persistenceOf, &kinds); err != nil {
		return because(ctx, err)
	}
	all := strings.Join(kinds, ", ")
	if slices.Contains(kinds, notPersistent) || slices.Contains(kinds, persistsUnknown) {
		return warning("%s", all)
	}
	return fine("%s", all)
}

// persistenceOf returns how a node keeps its data on disk.
func persistenceOf(ctx context.Context, node *redis.Client) (string, error) {
	aof, err := connect.InfoField(ctx, node, "persistence", "aof_enabled")
	if err != nil {
		return "", err
	}
	if aof == "1" {
		return "appendonly", nil
	}
	save, err := node.ConfigGet(ctx, "save").Result()
	if _, replied := errors.AsType[redis.Error](err); err != nil && !replied {
		return "", err
	}
	switch rule, told := save["save"]; {
	case rule != "":
		return "save " + rule, nil
	case !told || aof == "":
		return persistsUnknown, nil
	}
	return notPersistent, nil
}

func (v *redisVisit) clock(ctx context.Context) Finding {
	before := time.Now()
	now, err := v.Client.Time(ctx).Result()
	if err != nil {
		return because(ctx, err)
	}
	return skewed(now, before, time.Now())
}
