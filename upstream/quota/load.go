package quota

import (
	"context"
	"fmt"
	"time"
)

// Load is how much of an account's quota is in use.
type Load struct {
	Share float64       // the share of the rate that is in use: below 1 after the vendor said "too fast"
	Ahead time.Duration // until the next free slot; 0: there is one now
}

// loadScript reads what the other scripts keep, and writes nothing.
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

// Load asks Redis how much of the quota is in use. It takes no slot. Without a limit
// it does not ask, and returns a share of 1.
func (q *Limiter) Load(ctx context.Context) (Load, error) {
	if q.spacing == 0 {
		return Load{Share: 1}, nil
	}
	reply, err := load.Run(ctx, q.rdb, []string{q.key}, q.recovery.Microseconds()).Int64Slice()
	if err == nil && len(reply) != 2 {
		err = fmt.Errorf("%d numbers, want 2", len(reply))
	}
	if err != nil {
		return Load{}, fmt.Errorf("read the quota: %w", err)
	}
	return Load{Share: float64(reply[0]) / 1e6, Ahead: time.Duration(reply[1]) * time.Microsecond}, nil
}
