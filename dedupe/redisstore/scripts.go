package redisstore

import "github.com/redis/go-redis/v9"

// A record is the hash OrderKey(deployment, outTradeNo). Its fields, all strings:
//
//	fingerprint  of the order's content
//	account      of the owner; empty or missing: not known
//	state        claimed, ready, doubt, final
//	owner        who holds it; empty or missing: nobody
//	lease        until when, Unix ms by Redis's clock; means something with owner only
//	parked       the owner who gave it up last, so that a repeated park is known again
//	due          nobody's turn before, Unix ms by Redis's clock; means something without owner only
//	attempt      number of the newest intent
//	attempts     refusals so far
//	waits        waits so far
//	rev          journal revision, 0: none known
//	seq          stream sequence of the request
//	expires      of that request, RFC 3339; missing: never, or not known
//	doubt        Doubt as JSON, empty: none
//	last         Answer as JSON, of the newest refusal
//	result       of a final
//
// An unfinished record has no expiry; a final has DEDUPE_TTL.
//
// Beside them, under the key of an order without a number, which there is none of,
// is the birth mark: a hash with the field born, when it was written (Unix µs by
// Redis's clock), by the first claim that missed it; 0 where there was nothing to
// remember before. It is gone when the records are lost. A claim reads it in its own
// step, so that no loss can come between. A server that has lost the newest writes
// only has a mark of before: its field run is the process of the server by which it
// was noted last, see NoteServer. In a Cluster a script has the keys of one
// node only, and nodes are lost one by one: there is no mark, and every new order
// counts as born this moment.

// luaClock is Redis's clock in ms.
const luaClock = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function ms(n) return string.format('%.0f', n) end
`

// luaRecord reads the record r, and makes the reply that describes it: {taken by
// (an owner or empty), left ms, state, fingerprint, owner, attempt, attempts, waits,
// rev, seq, doubt, result, last, account, expires, born, key}, all but left strings.
// The key says which order it is about; born is empty but where a claim needs it.
const luaRecord = `
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
	// claim. KEYS[1] the order, KEYS[2] the birth mark, if there is one. ARGV: 1 fingerprint, 2 owner, 3 lease in ms,
	// 4 seq, 5 account, 6 expires (or empty). It takes the order for owner if that has it already, or if
	// nobody holds it, it is due, and it is of the same account; never one that has another fingerprint or is final.
	// Returns reply of the record as it was before. Of a new record, which most are, it returns {owner, why, born} only:
	// that is half of the work. why is empty, or says why what was there,
	// and is deleted, is no record. born is the mark's, empty: there is none. A parked
	// record that the journal need not know has it too.
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
` + luaRecord + `
local again = r.owner == ARGV[2]
local theirs = r.account ~= '' and ARGV[5] ~= '' and r.account ~= ARGV[5]
if r.fingerprint ~= ARGV[1] or r.state == 'final' or not again and (left() > 0 or theirs) then return reply('') end
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'lease', ms(now + ARGV[3]))
if r.parked ~= '' then redis.call('HDEL', KEYS[1], 'parked') end
if r.state == 'ready' and r.owner == '' and (tonumber(r.rev) or 0) == 0 then born = birth() end
return reply(ARGV[2])`)

	// complete. KEYS[1] the birth mark. ARGV: 1 its born. Returns 1, or 0: it is
	// another by now.
	luaComplete = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'born') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'born', '0')
return 1`)

	// renew. KEYS[1] the order. ARGV: 1 fingerprint, 2 owner, 3 lease in ms,
	// 4 seq, 5 rev (0: none known), 6 account, 7 expires (or empty). Returns 1, or 0: another's, or final.
	luaRenew = redis.NewScript(luaClock + luaRecord + `
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

	// park. KEYS[1] the order. ARGV: 1 fingerprint, 2 owner, 3 delay in ms,
	// 4 seq, 5 state, 6 attempt, 7 attempts, 8 waits, 9 rev, 10 doubt (JSON or
	// empty), 11 last (JSON), 12 account, 13 expires (or empty). Returns 1, or 0: another's, or final. Repeated before anybody
	// else came it writes the same again, due a little later.
	luaPark = redis.NewScript(luaClock + luaRecord + `
if r.state ~= '' and r.owner ~= ARGV[2] and not (r.owner == '' and r.parked == ARGV[2]) then return 0 end
if wrong then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'parked', ARGV[2], 'due', ms(now + ARGV[3]),
	'seq', ARGV[4], 'state', ARGV[5], 'attempt', ARGV[6], 'attempts', ARGV[7], 'waits', ARGV[8],
	'rev', ARGV[9], 'doubt', ARGV[10], 'last', ARGV[11], 'account', ARGV[12])
if ARGV[13] ~= '' then redis.call('HSET', KEYS[1], 'expires', ARGV[13]) else redis.call('HDEL', KEYS[1], 'expires') end
redis.call('HDEL', KEYS[1], 'owner', 'lease')
return 1`)

	// remember. KEYS[1] the order. ARGV: 1 fingerprint, 2 seq, 3 result, 4 time
	// to live in ms (0: for ever). Returns 1, or 0: a final stands there.
	luaRemember = redis.NewScript(`
if redis.pcall('HGET', KEYS[1], 'state') == 'final' then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'state', 'final', 'fingerprint', ARGV[1], 'seq', ARGV[2], 'result', ARGV[3])
if ARGV[4] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1`)

	// adopt. KEYS[1] the order. ARGV: 1 account, 2 the account that it is taken
	// from. Returns 1: done, or 0: held, not due, final, or of another account.
	luaAdopt = redis.NewScript(luaClock + luaRecord + `
if r.state == 'final' or r.account ~= ARGV[2] or left() > 0 then return 0 end
redis.call('HSET', KEYS[1], 'account', ARGV[1], 'doubt', '')
return 1`)

	// forget. KEYS[1] the order. ARGV: 1 fingerprint, 2 owner. Returns the ms
	// that are left of another owner's lease; 0: there is no such lease, and
	// owner's own record or one with another fingerprint is gone.
	luaForget = redis.NewScript(luaClock + luaRecord + `
if r.owner ~= '' and r.owner ~= ARGV[2] and left() > 0 then return left() end
if r.owner == ARGV[2] or r.fingerprint ~= ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0`)

	// look. KEYS[1] the order. No ARGV. Returns reply(''); state is empty when
	// there is no record. Writes nothing.
	luaLook = redis.NewScript(luaClock + luaRecord + `if wrong then return got end return reply('')`)
)
