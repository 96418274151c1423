package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// noteServer. KEYS[1] the birth mark. ARGV: 1 the run of the server. What is no mark
// the next claim replaces.
var luaNoteServer = redis.NewScript(luaClock + `
local mark = redis.pcall('HMGET', KEYS[1], 'run', 'born')
if mark.err or mark[1] == ARGV[1] then return 0 end
if mark[2] then redis.call('HSET', KEYS[1], 'born', string.format('%.0f', t[1] * 1000000 + t[2])) end
redis.call('HSET', KEYS[1], 'run', ARGV[1])
return 1`)

// NoteServer begins the birth mark of deployment anew where conn leads to another
// process of Redis than the one by which it was noted last: one that was restarted,
// or promoted, or put back from a backup may have lost its newest writes and kept
// the mark. It is to run on each new connection before anything else does (OnConnect
// of the client's options), and no claim may follow an error. A Cluster has no mark,
// and a Sentinel no orders: there it does nothing.
//
// A server that does not tell its run is another one each time: new orders are
// looked for in the journal and the results.
func NoteServer(ctx context.Context, conn *redis.Conn, deployment string) error {
	info, err := conn.Info(ctx, "server").Result()
	if _, answered := errors.AsType[redis.Error](err); err != nil && !answered {
		return fmt.Errorf("redis note server: %w", err)
	}
	if mode := infoLine(info, "redis_mode"); mode == "sentinel" || mode == "cluster" {
		return nil // the check at the start refuses a Cluster that is not called one
	}
	run := infoLine(info, "run_id")
	if run == "" {
		run = rand.Text()
	}
	err = luaNoteServer.Run(ctx, conn, []string{OrderKey(deployment, "")}, run).Err()
	if err != nil && redis.HasErrorPrefix(err, "unknown command") {
		return nil // a Sentinel that does not tell what it is to this user: it has no scripts, so it takes no claims
	}
	if err != nil {
		return fmt.Errorf("redis note server: %w", err)
	}
	return nil
}

// infoLine is the value of name in an answer to INFO; empty: it is not there.
func infoLine(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
