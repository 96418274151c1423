package dedupe

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

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

type redisCache struct {
	client     redis.Scripter
	deployment string
	mark       string // key of the birth mark; "": none, a Cluster
}

// NewRedis keeps the records of a deployment in Redis, Redis Cluster or
// Sentinel: one hash per order, one key per script. Those of other deployments
// in the same Redis are neither read nor written. Set the client's MaxRetries to -1: go-redis sends
// a script again after a lost reply (0 means 3 times). Every script here is
// safe against that, but a time-out would last up to four times as long.
// The server's maxmemory-policy must be noeviction.
func NewRedis(client redis.UniversalClient, deployment string) Cache {
	single, ok := client.(*redis.Client) // in a Cluster one node that is away would hold up what goes to the others
	if !ok {
		return redisCache{client: client, deployment: deployment}
	}
	queue, err := single.AsyncAutoPipeline()
	if err != nil {
		panic(err) // of options, and we give none
	}
	return redisCache{&together{client, queue}, deployment, OrderKey(deployment, "")}
}

// together sends the scripts of many orders in one round trip: those that come
// while one is under way go with the next.
type together struct {
	redis.Scripter
	queue *redis.AutoPipeliner
}

// EvalSha waits for the answer until ctx ends; the script may run even so.
func (t *together) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "evalsha", sha, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	cmd.SetFirstKeyPos(3) // by which a Cluster finds the node
	if err := t.queue.Submit(ctx, cmd).WaitContext(ctx); err != nil && ctx.Err() != nil {
		cmd = redis.NewCmd(ctx) // the other may still be written to
		cmd.SetErr(err)
	}
	return cmd
}

// OrderKey is the Redis key of an order's record: DEPLOYMENT:order:NUMBER, both
// spelled as SubjectToken does. So no two orders or deployments share a key,
// and no key has a hash tag: a Cluster spreads the orders over its nodes.
func OrderKey(deployment, outTradeNo string) string {
	return SubjectToken(deployment) + ":order:" + SubjectToken(outTradeNo)
}

func (r redisCache) key(outTradeNo string) []string {
	return []string{OrderKey(r.deployment, outTradeNo)}
}

// spelled is t as a record has it.
func spelled(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// millis rounds up: a lease or a delay is never shorter than what was asked
// for, and never 0 when that would mean none.
func millis(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}

func (r redisCache) Claim(ctx context.Context, o Order, owner string, lease time.Duration) (Entry, bool, error) {
	keys := r.key(o.OutTradeNo)
	if r.mark != "" {
		keys = append(keys, r.mark)
	}
	v, err := luaClaim.Run(ctx, r.client, keys, o.Fingerprint, owner, millis(lease), o.Seq, o.Account, spelled(o.Expires)).Slice()
	if err != nil {
		return Entry{}, false, fmt.Errorf("redis claim: %w", err)
	}
	isNew := len(v) == newFields
	if !isNew {
		if err := r.about(v, o.OutTradeNo); err != nil {
			return Entry{}, false, fmt.Errorf("redis claim: %w", err)
		}
	}
	by := v[0]
	if by != owner && (isNew || by != "") {
		return Entry{}, false, fmt.Errorf("redis claim: the reply is for %v, not for %s", by, owner)
	}
	if isNew {
		why, _ := v[1].(string)
		return Entry{Born: bornAt(v[2]), Replaced: why}, true, nil
	}
	e, err := parseReply(v)
	if err != nil {
		return r.replace(ctx, o, owner, lease, err)
	}
	if by == owner && e.State == StateReady && e.Owner == "" && e.Rev == 0 {
		e.Born = bornAt(v[15])
	}
	return e, by == owner, nil
}

// bornAt reads a birth mark. What is none, or cannot be read, is as young as can be.
func bornAt(mark any) time.Time {
	text, _ := mark.(string)
	switch micros, err := strconv.ParseInt(text, 10, 64); {
	case err != nil:
		return time.Now()
	case micros == 0:
		return time.Time{}
	default:
		return time.UnixMicro(micros)
	}
}

func (r redisCache) Complete(ctx context.Context, born time.Time) error {
	if r.mark == "" {
		return nil
	}
	if err := luaComplete.Run(ctx, r.client, []string{r.mark}, born.UnixMicro()).Err(); err != nil {
		return fmt.Errorf("redis complete: %w", err)
	}
	return nil
}

// replace deletes a record that cannot be read, unless another owner is at work
// on it, and claims again: Redis has forgotten the order, and the journal decides.
func (r redisCache) replace(ctx context.Context, o Order, owner string, lease time.Duration, why error) (Entry, bool, error) {
	left, err := r.discard(ctx, o, owner)
	if err != nil {
		return Entry{}, false, err
	}
	if left > 0 { // the fields that a busy order has; nobody can tell more
		return Entry{State: StateClaimed, Fingerprint: o.Fingerprint, Owner: "unknown", Left: left}, false, nil
	}
	e, taken, err := r.Claim(ctx, o, owner, lease)
	if e.State == "" {
		e.Replaced = why.Error()
	}
	return e, taken, err
}

// discard forgets o's record whatever its fingerprint is.
func (r redisCache) discard(ctx context.Context, o Order, owner string) (time.Duration, error) {
	o.Fingerprint = owner // no record's
	return r.Forget(ctx, o, owner)
}

func (r redisCache) Renew(ctx context.Context, o Order, owner string, rev uint64, lease time.Duration) error {
	return owned("renew", luaRenew.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, owner, millis(lease), o.Seq, rev, o.Account, spelled(o.Expires)))
}

func (r redisCache) Park(ctx context.Context, o Order, owner string, e Entry, delay time.Duration) error {
	var doubt []byte
	if e.Doubt != nil {
		var err error
		if doubt, err = json.Marshal(e.Doubt); err != nil {
			return fmt.Errorf("redis park: %w", err)
		}
	}
	last, err := json.Marshal(e.Last)
	if err != nil {
		return fmt.Errorf("redis park: %w", err)
	}
	return owned("park", luaPark.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, owner, millis(delay), o.Seq,
		string(e.State), e.Attempt, e.Refusals, e.Waits, e.Rev, doubt, last, o.Account, spelled(o.Expires)))
}

func (r redisCache) Remember(ctx context.Context, o Order, result []byte, ttl time.Duration) error {
	err := luaRemember.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, o.Seq, result, millis(ttl)).Err()
	if err != nil {
		return fmt.Errorf("redis remember: %w", err)
	}
	return nil
}

func (r redisCache) Adopt(ctx context.Context, o Order, from string) error {
	if err := luaAdopt.Run(ctx, r.client, r.key(o.OutTradeNo), o.Account, from).Err(); err != nil {
		return fmt.Errorf("redis adopt: %w", err)
	}
	return nil
}

func (r redisCache) Forget(ctx context.Context, o Order, owner string) (time.Duration, error) {
	left, err := luaForget.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, owner).Int64()
	if err != nil {
		return 0, fmt.Errorf("redis forget: %w", err)
	}
	return time.Duration(left) * time.Millisecond, nil
}

func (r redisCache) Look(ctx context.Context, outTradeNo string) (Entry, bool, error) {
	v, err := luaLook.Run(ctx, r.client, r.key(outTradeNo)).Slice()
	if err != nil {
		return Entry{}, false, fmt.Errorf("redis look: %w", err)
	}
	if err := r.about(v, outTradeNo); err != nil {
		return Entry{}, false, fmt.Errorf("redis look: %w", err)
	}
	e, err := parseReply(v)
	return e, e.State != "", err
}

// owned reads the 1 (done) or 0 (another's) of a script.
func owned(op string, cmd *redis.Cmd) error {
	switch n, err := cmd.Int64(); {
	case err != nil:
		return fmt.Errorf("redis %s: %w", op, err)
	case n == 0:
		return ErrLost
	}
	return nil
}

const (
	replyFields = 17 // of luaRecord's reply
	newFields   = 3  // of luaClaim's, about a new record
)

// about refuses a reply that is about another order, or is none of luaRecord's.
func (r redisCache) about(v []any, outTradeNo string) error {
	if len(v) != replyFields {
		return fmt.Errorf("a reply of %d fields, want %d", len(v), replyFields)
	}
	if key := OrderKey(r.deployment, outTradeNo); v[replyFields-1] != key {
		return fmt.Errorf("the reply is about %v, not about %s", v[replyFields-1], key)
	}
	return nil
}

// parseReply reads what luaRecord's reply wrote. An unreadable field is an
// error: read as 0 it would be a guess.
func parseReply(v []any) (Entry, error) {
	var bad error
	text := func(i int) string {
		s, ok := v[i].(string)
		if !ok && bad == nil {
			bad = fmt.Errorf("redis: field %d of the reply is a %T", i, v[i])
		}
		return s
	}
	number := func(i int) uint64 {
		s := text(i)
		if s == "" {
			return 0
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil && bad == nil {
			bad = fmt.Errorf("redis: field %d of the reply: %w", i, err)
		}
		return n
	}
	left, ok := v[1].(int64)
	if !ok {
		return Entry{}, fmt.Errorf("redis: field 1 of the reply is a %T", v[1])
	}
	e := Entry{
		Left:        time.Duration(left) * time.Millisecond,
		State:       State(text(2)),
		Fingerprint: text(3),
		Owner:       text(4),
		Progress:    Progress{Attempt: int(number(5)), Refusals: int(number(6)), Waits: int(number(7))},
		Rev:         number(8),
		Seq:         number(9),
		Account:     text(13),
	}
	if s := text(10); s != "" {
		e.Doubt = new(Doubt)
		if err := json.Unmarshal([]byte(s), e.Doubt); err != nil && bad == nil {
			bad = fmt.Errorf("redis: doubt: %w", err)
		}
	}
	if s := text(11); s != "" {
		e.Result = []byte(s)
	}
	if s := text(12); s != "" {
		if err := json.Unmarshal([]byte(s), &e.Last); err != nil && bad == nil {
			bad = fmt.Errorf("redis: last: %w", err)
		}
	}
	if s := text(14); s != "" {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil && bad == nil {
			bad = fmt.Errorf("redis: expires: %w", err)
		}
		e.Expires = &at
	}
	return e, bad
}
