package quota

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Load is how an account's quota stands.
type Load struct {
	Share float64       // of the rate that is used: below 1 after the vendor said "too fast"
	Ahead time.Duration // until the next free slot; 0: there is one now
}

// loadScript reads what the other scripts keep (see commonScript), and writes nothing.
//
//	KEYS[1]  quota:{account}
//	ARGV[1]  how long a share takes to grow from 0 to 1, µs
//	returns  the share of the rate that is used, in millionths
//	returns  the delay until the next free slot, µs
const loadScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.pcall('HMGET', KEYS[1], 'next', 'share', 'since')
local function field(i, otherwise) return tonumber(kept[i] or '') or otherwise end
local share = math.min(1, field(2, 1) + math.max(0, now - field(3, 0)) / ARGV[1])
return {math.floor(share * 1000000 + 0.5), math.max(0, field(1, now) - now)}
`

var load = redis.NewScript(loadScript)

// Load asks Redis how the quota stands. It takes no slot. Without a limit there is
// nothing to ask, and the whole rate is used.
func (q *Limiter) Load(ctx context.Context) (Load, error) {
	if q.spacing == 0 {
		return Load{Share: 1}, nil
	}
	said, err := load.Run(ctx, q.rdb, []string{q.key}, q.recovery.Microseconds()).Int64Slice()
	if err == nil && len(said) != 2 {
		err = fmt.Errorf("%d numbers, want 2", len(said))
	}
	if err != nil {
		return Load{}, fmt.Errorf("read the quota: %w", err)
	}
	return Load{Share: float64(said[0]) / 1e6, Ahead: time.Duration(said[1]) * time.Microsecond}, nil
}
