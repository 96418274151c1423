package quota

// The account's clock is one hash in Redis, quota:{account}. What one process
// writes in it, all obey. A missing field has the value of a quiet account.
//
//	born    when the key was made
//	next    the next free slot, µs since 1970 by Redis's clock, as all times here
//	share   the share of the rate that was used at since: 1 is all of it
//	since   from when on share grows again
//	cut     the end of the slots that were handed out before share was cut last
//	order   the newest slot that went to an order
//	orders  how many slots orders took since a lookup got one
//
// A key that is missing may have been wiped together with slots that were just
// handed out: so the first slot then waits until they are over, for one hold. A
// slot further ahead than that is good only while born is the same. A key that
// is no hash is thrown away.

// commonScript is the beginning of both scripts.
//
//	KEYS[1]  quota:{account}
//	ARGV[1]  spacing of slots at the whole rate, µs
//	ARGV[2]  hold of a cold start, µs: as long as a second is at the vendor
//	ARGV[3]  how long a share takes to grow from 0 to 1, µs
//	ARGV[4]  how long the key outlives its last slot, ms
const commonScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local spacing, hold, recovery, ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local isHash, kept = pcall(redis.call, 'HMGET', KEYS[1], 'next', 'share', 'since', 'cut', 'order', 'orders', 'born')
if not isHash then
	redis.call('DEL', KEYS[1])
	kept = {}
end
local function field(i, otherwise) return tonumber(kept[i] or '') or otherwise end
local free, since, cut, order, orders = field(1, now + hold), field(3, 0), field(4, 0), field(5, 0), field(6, 0)
local born = field(7, now)
if not kept[1] then born = now end
local share = math.min(1, field(2, 1) + math.max(0, now - since) / recovery)
local function keep(...)
	redis.call('HSET', KEYS[1], 'born', string.format('%.0f', born), 'next', string.format('%.0f', free), ...)
	redis.call('PEXPIRE', KEYS[1], string.format('%.0f', (free - now) / 1000 + ttl))
end
`

// reserveScript takes the next slot. Run twice (a lost reply), it wastes one.
//
//	ARGV[5]  1 for a lookup, else 0
//	ARGV[6]  how many slots orders get, while they wait, for each one of a lookup
//	returns  the delay until the slot, µs, 0 or more; for a lookup that must let
//	         orders go first, minus the time after which to ask again
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

// slowScript says "too fast". Answers to requests that were sent before the
// last cut do not cut the share again, however many there are; so it does no
// harm to run it twice.
//
//	ARGV[5]  what a cut leaves of the share
//	ARGV[6]  the least share
//	ARGV[7]  Retry-After, µs
//	returns  the spacing of slots now, µs
const slowScript = commonScript + `
local back = now + ARGV[7]
if now >= since and now - cut >= hold then
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
