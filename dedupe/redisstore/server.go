package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// luaNoteServer restarts the birth mark if another server process used it last. A key
// that is not a mark is left for the next claim to replace.
//
// KEYS: 1 the birth mark. ARGV: 1 run_id of the server. Returns 1 if it wrote, else 0.
var luaNoteServer = redis.NewScript(luaClock + `
local mark = redis.pcall('HMGET', KEYS[1], 'run', 'born')
if mark.err or mark[1] == ARGV[1] then return 0 end
if mark[2] then redis.call('HSET', KEYS[1], 'born', string.format('%.0f', t[1] * 1000000 + t[2])) end
redis.call('HSET', KEYS[1], 'run', ARGV[1])
return 1`)

// NoteServer restarts the deployment's birth mark if conn leads to another Redis
// process than the last one. A server that was restarted, promoted or restored from a
// backup may have kept the mark and lost its newest writes.
//
// It must run on every new connection before anything else, as OnConnect of the
// client's options, and no claim may follow an error. It does nothing in a Cluster,
// which has no mark, and on a Sentinel, which has no orders. A server that hides its
// run_id counts as another one each time, so that new orders are looked for in the
// journal and the results.
func NoteServer(ctx context.Context, conn *redis.Conn, deployment string) error {
	info, err := conn.Info(ctx, "server").Result()
	if _, replied := errors.AsType[redis.Error](err); err != nil && !replied {
		return fmt.Errorf("redis note server: %w", err)
	}
	if mode := infoLine(info, "redis_mode"); mode == "sentinel" || mode == "cluster" {
		return nil // a Cluster that is configured as a single server is refused at the start
	}
	run := infoLine(info, "run_id")
	if run == "" {
		run = rand.Text()
	}
	err = luaNoteServer.Run(ctx, conn, []string{OrderKey(deployment, "")}, run).Err()
	if err != nil && redis.HasErrorPrefix(err, "unknown command") {
		return nil // a Sentinel that hides its mode from this user: it has no scripts, so no claim can follow
	}
	if err != nil {
		return fmt.Errorf("redis note server: %w", err)
	}
	return nil
}

// infoLine returns the value of name in the reply to INFO; "" if it is missing.
func infoLine(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
