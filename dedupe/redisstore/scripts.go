package redisstore

import "github.com/redis/go-redis/v9"

// An entry is the hash OrderKey(deployment, outTradeNo). Its fields, all strings:
//
//	fingerprint  of the order
//	account      of the owner, of a final: that the order was sent under; empty or missing: not known
//	state        claimed, ready, doubt, final
//	owner        the claim that has the order; empty or missing: none
//	lease        end of the owner's lease, Unix ms by Redis's clock
//	parked       the owner that parked it last, so that a repeated park is recognized
//	due          without an owner: when it may be claimed, Unix ms by Redis's clock
//	attempt      number of the newest intent
//	attempts     refusals so far
//	waits        waits so far
//	rev          journal revision, 0: not known
//	seq          stream sequence of the order request
//	expires      expiresAt of the order request, RFC 3339; missing: never, or not known
//	doubt        Doubt as JSON, empty: none
//	last         Answer as JSON, the newest that did not sell
//	result       of a final
//
// A final expires after DEDUPE_TTL, other entries never.
//
// The birth mark says since when Redis has lost nothing. It is a hash under the key of
// the empty number, which no order has. The first claim that does not find it writes
// its field born: the time in Unix µs by Redis's clock, or 0 once it is known that
// there was nothing to remember before. Whoever loses the entries loses the mark too,
// and a claim reads it in the script that reads the entry, so no loss goes unnoticed
// in between. A server that has lost only its newest writes still has an old mark:
// the field run is the server process that used the mark last, see NoteServer.
//
// A Cluster has no mark, since a script reaches the keys of one node only and nodes
// are lost one at a time. There every entry counts as born now.

// luaClock is Redis's clock in ms.
const luaClock = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function ms(n) return string.format('%.0f', n) end
`

// luaEntry reads the entry into r, and defines the reply that describes it: {owner
// that claimed it or empty, left ms, state, fingerprint, owner, attempt, attempts,
// waits, rev, seq, doubt, result, last, account, expires, born, key}. All but left are
// strings. key says which order the reply is about; born is empty unless Claim needs it.
const luaEntry = `
local fields = {'state', 'fingerprint', 'owner', 'attempt', 'attempts', 'waits', 'rev', 'seq', 'doubt', 'result', 'last',
	'account', 'expires', 'lease', 'due', 'parked'}
local got = redis.pcall('HMGET', KEYS[1], unpack(fields))
local wrong = got.err
local born = ''
local r = {}
for i, f in ipairs(fields) do r[f] = not wrong and got[i] or '' end
local function left()
	return math.max(0, (tonumber(r.owner ~= '' and r.lease or r.due) or 0) - now)
end
local function reply(taken)
	return {taken, left(), r.state, r.fingerprint, r.owner, r.attempt,
		r.attempts, r.waits, r.rev, r.seq, r.doubt, r.result, r.last, r.account, r.expires, born, KEYS[1]}
end
`

var (
	// luaClaim gives the order to an owner, as dedupe.Cache.Claim says.
	//
	// KEYS: 1 the order, 2 the birth mark, if there is one. ARGV: 1 fingerprint, 2
	// owner, 3 lease in ms, 4 seq, 5 account, 6 expires (or empty). Returns the reply of
	// the entry as it was before. For a new entry, the usual case, it returns only
	// {owner, why, born}, which halves the work: why says why the key was no entry and
	// was deleted, or is empty; born is the mark's, or empty without a mark. The reply
	// has born also for a parked entry without a journal revision.
	luaClaim = redis.NewScript(luaClock + `
local function birth()
	local born = KEYS[2] and redis.pcall('HGET', KEYS[2], 'born') or ''
	if KEYS[2] and (type(born) ~= 'string' or born == '') then
		if type(born) == 'table' then redis.call('DEL', KEYS[2]) end
		born = string.format('%.0f', t[1] * 1000000 + t[2])
		redis.call('HSET', KEYS[2], 'born', born)
	end
	return born
end
local state = redis.pcall('HGET', KEYS[1], 'state')
local why = type(state) == 'table' and state.err
if why then redis.call('DEL', KEYS[1]) end
if why or not state then
	redis.call('HSET', KEYS[1], 'state', 'claimed', 'fingerprint', ARGV[1], 'seq', ARGV[4],
		'account', ARGV[5], 'owner', ARGV[2], 'lease', ms(now + ARGV[3]))
	if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'expires', ARGV[6]) end
	return {ARGV[2], why or '', birth()}
end
` + luaEntry + `
local again = r.owner == ARGV[2]
local theirs = r.account ~= '' and ARGV[5] ~= '' and r.account ~= ARGV[5]
if r.fingerprint ~= ARGV[1] or r.state == 'final' or not again and (left() > 0 or theirs) then return reply('') end
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'lease', ms(now + ARGV[3]))
if r.parked ~= '' then redis.call('HDEL', KEYS[1], 'parked') end
if r.state == 'ready' and r.owner == '' and (tonumber(r.rev) or 0) == 0 then born = birth() end
return reply(ARGV[2])`)

	// luaComplete sets born to 0.
	//
	// KEYS: 1 the birth mark. ARGV: 1 its born. Returns 1, or 0: the mark is another now.
	luaComplete = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'born') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'born', '0')
return 1`)

	// luaRenew extends a lease, and recreates a missing entry.
	//
	// KEYS: 1 the order. ARGV: 1 fingerprint, 2 owner, 3 lease in ms, 4 seq, 5 rev (0:
	// not known), 6 account, 7 expires (or empty). Returns 1, or 0: owner does not have
	// the order.
	luaRenew = redis.NewScript(luaClock + luaEntry + `
if wrong then redis.call('DEL', KEYS[1]) end
if r.state == '' then
	redis.call('HSET', KEYS[1], 'state', 'claimed', 'fingerprint', ARGV[1], 'seq', ARGV[4], 'owner', ARGV[2],
		'account', ARGV[6])
	if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'expires', ARGV[7]) end
elseif r.owner ~= ARGV[2] then
	return 0
end
redis.call('HSET', KEYS[1], 'lease', ms(now + ARGV[3]))
if ARGV[5] ~= '0' then redis.call('HSET', KEYS[1], 'rev', ARGV[5]) end
return 1`)

	// luaPark ends a lease and writes the entry. Repeated before the order is claimed, it
	// writes the same entry again, due a little later.
	//
	// KEYS: 1 the order. ARGV: 1 fingerprint, 2 owner, 3 delay in ms, 4 seq, 5 state, 6
	// attempt, 7 attempts, 8 waits, 9 rev, 10 doubt (JSON or empty), 11 last (JSON), 12
	// account, 13 expires (or empty). Returns 1, or 0: another owner has the order, or it
	// is final.
	luaPark = redis.NewScript(luaClock + luaEntry + `
if r.state ~= '' and r.owner ~= ARGV[2] and not (r.owner == '' and r.parked == ARGV[2]) then return 0 end
if wrong then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'parked', ARGV[2], 'due', ms(now + ARGV[3]),
	'seq', ARGV[4], 'state', ARGV[5], 'attempt', ARGV[6], 'attempts', ARGV[7], 'waits', ARGV[8],
	'rev', ARGV[9], 'doubt', ARGV[10], 'last', ARGV[11], 'account', ARGV[12])
if ARGV[13] ~= '' then redis.call('HSET', KEYS[1], 'expires', ARGV[13]) else redis.call('HDEL', KEYS[1], 'expires') end
redis.call('HDEL', KEYS[1], 'owner', 'lease')
return 1`)

	// luaRemember replaces the entry by a final.
	//
	// KEYS: 1 the order. ARGV: 1 fingerprint, 2 seq, 3 result, 4 TTL in ms (0: for ever),
	// 5 account. Returns 1, or 0: the entry is final already.
	luaRemember = redis.NewScript(`
if redis.pcall('HGET', KEYS[1], 'state') == 'final' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'final', 'fingerprint', ARGV[1], 'seq', ARGV[2], 'result', ARGV[3], 'account', ARGV[5])
if ARGV[4] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1`)

	// luaAdopt moves the entry to another account.
	//
	// KEYS: 1 the order. ARGV: 1 new account, 2 old account. Returns 1, or 0: the entry
	// has an owner, is not due, is final, or is of a third account.
	luaAdopt = redis.NewScript(luaClock + luaEntry + `
if r.state == 'final' or r.account ~= ARGV[2] or left() > 0 then return 0 end
redis.call('HSET', KEYS[1], 'account', ARGV[1], 'doubt', '')
return 1`)

	// luaForget deletes the entry, if owner has it, or if nobody has it and its
	// fingerprint is another.
	//
	// KEYS: 1 the order. ARGV: 1 fingerprint, 2 owner. Returns how many ms another
	// owner's lease lasts, or 0.
	luaForget = redis.NewScript(luaClock + luaEntry + `
if r.owner ~= '' and r.owner ~= ARGV[2] and left() > 0 then return left() end
if r.owner == ARGV[2] or r.fingerprint ~= ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0`)

	// luaLook returns the entry and writes nothing.
	//
	// KEYS: 1 the order. Returns the reply; its state is empty if there is no entry.
	luaLook = redis.NewScript(luaClock + luaEntry + `if wrong then return got end return reply('')`)
)
