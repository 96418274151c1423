package quota

import "github.com/redis/go-redis/v9"

// What the limiters of an account share is one hash in Redis, quota:{account}. A field
// that is missing has the value of an account without traffic.
//
//	born    when the key was made
//	next    the next free slot, in µs since 1970 by Redis's clock, as all times here
//	share   the share of the rate that was in use at since; 1: all of it
//	since   when share began to grow again
//	cut     the end of the slots that had been handed out when share was last cut
//	order   the newest slot of an order
//	orders  how many slots orders got since the last slot of a lookup
//
// A key that is missing may have been lost together with slots that were handed out.
// So the first slot comes after those would be over: in one window. A slot that is
// further away is valid only while born is the same. A key that is not a hash is
// deleted.
//
// The scripts return delays, so that no clock but Redis's counts.
var (
	reserve = redis.NewScript(reserveScript)
	slow    = redis.NewScript(slowScript)
	load    = redis.NewScript(loadScript)
)

// args returns the arguments of a script that begins with commonScript: the common
// ones, then its own.
func (q *Limiter) args(own ...any) []any {
	return append([]any{q.spacing.Microseconds(), q.window.Microseconds(), q.recovery.Microseconds(), keyTTL.Milliseconds()}, own...)
}

// commonScript is the beginning of reserveScript and slowScript.
//
//	KEYS[1]  quota:{account}
//	ARGV[1]  the spacing of slots at the whole rate, µs
//	ARGV[2]  the window, a second as the vendor may see it, µs: the wait of a cold start
//	ARGV[3]  how long a share takes to grow from 0 to 1, µs
//	ARGV[4]  how long the key outlives its last slot, ms
const commonScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local spacing, window, recovery, ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local isHash, kept = pcall(redis.call, 'HMGET', KEYS[1], 'next', 'share', 'since', 'cut', 'order', 'orders', 'born')
if not isHash then
	redis.call('DEL', KEYS[1])
	kept = {}
end
local function field(i, otherwise) return tonumber(kept[i] or '') or otherwise end
local free, since, cut, order, orders = field(1, now + window), field(3, 0), field(4, 0), field(5, 0), field(6, 0)
local born = field(7, now)
if not kept[1] then born = now end
local share = math.min(1, field(2, 1) + math.max(0, now - since) / recovery)
local function keep(...)
	redis.call('HSET', KEYS[1], 'born', string.format('%.0f', born), 'next', string.format('%.0f', free), ...)
	redis.call('PEXPIRE', KEYS[1], string.format('%.0f', (free - now) / 1000 + ttl))
end
`

// reserveScript reserves the next slot. If it is run twice because a reply got lost,
// one slot is wasted.
//
//	ARGV[5]  1 for a lookup, else 0
//	ARGV[6]  how many slots go to orders for each slot of a lookup, while orders wait
//	returns  the delay until the slot, µs, 0 or more; below 0 for a lookup that must
//	         let orders go first: minus the time after which it may ask again
//	returns  the spacing of slots now, µs
//	returns  born
const reserveScript = commonScript + `
local gap = spacing / share
local slot = math.max(free, now)
if ARGV[5] == '1' then
	local due = tonumber(ARGV[6])
	if order > now and orders < due then
		return {-math.ceil((due - orders) * gap), math.ceil(gap), born}
	end
	orders = 0
else
	order, orders = slot, orders + 1
end
free = slot + math.ceil(gap)
keep('order', string.format('%.0f', order), 'orders', string.format('%.0f', orders))
return {slot - now, math.ceil(gap), born}
`

// slowScript notes that the vendor said "too fast". Answers to requests that were
// sent before the last cut do not cut the share again. So it is safe to run it twice.
//
//	ARGV[5]  the part of the share that a cut leaves
//	ARGV[6]  the least share
//	ARGV[7]  Retry-After, µs
//	returns  the spacing of slots now, µs
const slowScript = commonScript + `
local back = now + ARGV[7]
if now >= since and now - cut >= window then
	share, since, cut = math.max(tonumber(ARGV[6]), share * ARGV[5]), now, math.max(now, free)
end
if back > now and back > since then
	since = back
elseif since < now then
	return math.ceil(spacing / share)
end
free = math.max(free, back)
keep('share', string.format('%.6f', share), 'since', string.format('%.0f', since), 'cut', string.format('%.0f', cut))
return math.ceil(spacing / share)
`
