package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/dedupe"
)

type cache struct {
	client     redis.Scripter
	deployment string
	mark       string // key of the birth mark; "" in a Cluster, which has none
}

// NewCache returns the cache of a deployment, with one hash per order. client may
// lead to a single Redis, a Redis Cluster or Sentinel; other deployments may use the
// same one.
//
// The server's maxmemory-policy must be noeviction. The client's MaxRetries should be
// -1: with 0 go-redis repeats a script up to 3 times after a lost reply. That is safe,
// but a timeout then lasts up to four times as long.
func NewCache(client redis.UniversalClient, deployment string) dedupe.Cache {
	single, ok := client.(*redis.Client) // in a Cluster, one unreachable node would delay the scripts for all others
	if !ok {
		return cache{client: client, deployment: deployment}
	}
	queue, err := single.AsyncAutoPipeline()
	if err != nil {
		panic(err) // it is about invalid options, and none are given
	}
	return cache{&pipelined{Scripter: client, queue: queue}, deployment, OrderKey(deployment, "")}
}

// pipelined sends the scripts of many orders in one round trip: scripts that are
// submitted during a round trip leave with the next one. A script that finds no other
// under way is sent by its caller, which costs less than half the processor time.
type pipelined struct {
	redis.Scripter
	queue    *redis.AutoPipeliner
	underWay atomic.Int64 // scripts
}

// EvalSha waits for the reply until ctx ends, or for as long as the client's timeouts
// say. The script may still run after that.
func (p *pipelined) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	defer p.underWay.Add(-1)
	if p.underWay.Add(1) == 1 {
		return p.Scripter.EvalSha(ctx, sha, keys, args...)
	}
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "evalsha", sha, len(keys))
	for _, key := range keys {
		words = append(words, key)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	cmd.SetFirstKeyPos(3)
	if err := p.queue.Submit(ctx, cmd).WaitContext(ctx); err != nil && ctx.Err() != nil {
		cmd = redis.NewCmd(ctx) // the pipeline may still write the reply into the submitted one
		cmd.SetErr(err)
	}
	return cmd
}

// OrderKey returns the Redis key of an order's entry: DEPLOYMENT:order:NUMBER, both
// encoded by dedupe.SubjectToken. No two orders or deployments share a key, and no key
// has a hash tag, so that a Cluster spreads the orders over its nodes.
func OrderKey(deployment, outTradeNo string) string {
	return dedupe.SubjectToken(deployment) + ":order:" + dedupe.SubjectToken(outTradeNo)
}

func (r cache) key(outTradeNo string) []string {
	return []string{OrderKey(r.deployment, outTradeNo)}
}

// formatExpires formats t as the field expires; "" for nil.
func formatExpires(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// millis converts d to milliseconds, rounded up: a lease is never too short, and a
// small TTL never becomes 0, which means for ever.
func millis(d time.Duration) int64 {
	return int64((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}

func (r cache) Claim(ctx context.Context, o dedupe.Order, owner string, lease time.Duration) (dedupe.Entry, bool, error) {
	keys := r.key(o.OutTradeNo)
	if r.mark != "" {
		keys = append(keys, r.mark)
	}
	v, err := luaClaim.Run(ctx, r.client, keys, o.Fingerprint, owner, millis(lease), o.Seq, o.Account, formatExpires(o.Expires)).Slice()
	if err != nil {
		return dedupe.Entry{}, false, fmt.Errorf("redis claim: %w", err)
	}
	isNew := len(v) == newFields
	if !isNew {
		if err := r.checkReply(v, o.OutTradeNo); err != nil {
			return dedupe.Entry{}, false, fmt.Errorf("redis claim: %w", err)
		}
	}
	by := v[0]
	if by != owner && (isNew || by != "") {
		return dedupe.Entry{}, false, fmt.Errorf("redis claim: the reply is for %v, not for %s", by, owner)
	}
	if isNew {
		why, _ := v[1].(string)
		return dedupe.Entry{Born: bornAt(v[2]), Replaced: why}, true, nil
	}
	e, err := parseReply(v)
	if err != nil {
		return r.replace(ctx, o, owner, lease, err)
	}
	if by == owner && e.State == dedupe.StateReady && e.Owner == "" && e.Rev == 0 {
		e.Born = bornAt(v[15])
	}
	return e, by == owner, nil
}

// bornAt parses a birth mark. A missing or unreadable one counts as written now, since
// the cache may then have lost everything before.
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

func (r cache) Complete(ctx context.Context, born time.Time) error {
	if r.mark == "" {
		return nil
	}
	if err := luaComplete.Run(ctx, r.client, []string{r.mark}, born.UnixMicro()).Err(); err != nil {
		return fmt.Errorf("redis complete: %w", err)
	}
	return nil
}

// replace deletes an entry that cannot be read, unless another owner has its lease, and
// claims the order again. The journal then decides, as if the cache had lost the entry.
func (r cache) replace(ctx context.Context, o dedupe.Order, owner string, lease time.Duration, why error) (dedupe.Entry, bool, error) {
	left, err := r.discard(ctx, o, owner)
	if err != nil {
		return dedupe.Entry{}, false, err
	}
	if left > 0 { // as much of a busy entry as could be read
		return dedupe.Entry{State: dedupe.StateClaimed, Fingerprint: o.Fingerprint, Owner: "unknown", Left: left}, false, nil
	}
	e, taken, err := r.Claim(ctx, o, owner, lease)
	if e.State == "" {
		e.Replaced = why.Error()
	}
	return e, taken, err
}

// discard forgets o's entry whatever its fingerprint is.
func (r cache) discard(ctx context.Context, o dedupe.Order, owner string) (time.Duration, error) {
	o.Fingerprint = owner // no entry has this fingerprint
	return r.Forget(ctx, o, owner)
}

func (r cache) Renew(ctx context.Context, o dedupe.Order, owner string, rev uint64, lease time.Duration) error {
	return checkOwner("renew", luaRenew.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, owner, millis(lease), o.Seq, rev, o.Account, formatExpires(o.Expires)))
}

func (r cache) Park(ctx context.Context, o dedupe.Order, owner string, e dedupe.Entry, delay time.Duration) error {
	var doubt []byte
	if e.Doubt != nil {
		var err error
		if doubt, err = json.Marshal(e.Doubt); err != nil {
			return fmt.Errorf("redis park: %w", err)
		}
	}
	last, err := json.Marshal(lastField{e.Last, e.Endings})
	if err != nil {
		return fmt.Errorf("redis park: %w", err)
	}
	return checkOwner("park", luaPark.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, owner, millis(delay), o.Seq,
		string(e.State), e.Attempt, e.Refusals, e.Waits, e.Rev, doubt, last, o.Account, formatExpires(o.Expires)))
}

// lastField is the field "last": the newest answer and how the newest requests ended.
type lastField struct {
	dedupe.Answer
	Endings []dedupe.Ending `json:"endings,omitempty"`
}

func (r cache) Remember(ctx context.Context, o dedupe.Order, result []byte, ttl time.Duration) error {
	err := luaRemember.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, o.Seq, result, millis(ttl), o.Account).Err()
	if err != nil {
		return fmt.Errorf("redis remember: %w", err)
	}
	return nil
}

func (r cache) Adopt(ctx context.Context, o dedupe.Order, from string) error {
	if err := luaAdopt.Run(ctx, r.client, r.key(o.OutTradeNo), o.Account, from).Err(); err != nil {
		return fmt.Errorf("redis adopt: %w", err)
	}
	return nil
}

func (r cache) Forget(ctx context.Context, o dedupe.Order, owner string) (time.Duration, error) {
	left, err := luaForget.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, owner).Int64()
	if err != nil {
		return 0, fmt.Errorf("redis forget: %w", err)
	}
	return time.Duration(left) * time.Millisecond, nil
}

func (r cache) Look(ctx context.Context, outTradeNo string) (dedupe.Entry, bool, error) {
	v, err := luaLook.Run(ctx, r.client, r.key(outTradeNo)).Slice()
	if err != nil {
		return dedupe.Entry{}, false, fmt.Errorf("redis look: %w", err)
	}
	if err := r.checkReply(v, outTradeNo); err != nil {
		return dedupe.Entry{}, false, fmt.Errorf("redis look: %w", err)
	}
	e, err := parseReply(v)
	return e, e.State != "", err
}

// checkOwner returns ErrLost if the script's reply is 0: another owner has the order.
func checkOwner(op string, cmd *redis.Cmd) error {
	switch n, err := cmd.Int64(); {
	case err != nil:
		return fmt.Errorf("redis %s: %w", op, err)
	case n == 0:
		return dedupe.ErrLost
	}
	return nil
}

const (
	replyFields = 17 // length of luaEntry's reply
	newFields   = 3  // length of luaClaim's reply about a new entry
)

// checkReply refuses a reply that is about another order, or is not luaEntry's.
func (r cache) checkReply(v []any, outTradeNo string) error {
	if len(v) != replyFields {
		return fmt.Errorf("a reply of %d fields, want %d", len(v), replyFields)
	}
	if key := OrderKey(r.deployment, outTradeNo); v[replyFields-1] != key {
		return fmt.Errorf("the reply is about %v, not about %s", v[replyFields-1], key)
	}
	return nil
}

// parseReply parses luaEntry's reply. A field that cannot be parsed is an error: a
// zero in its place would be a guess.
func parseReply(v []any) (dedupe.Entry, error) {
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
		return dedupe.Entry{}, fmt.Errorf("redis: field 1 of the reply is a %T", v[1])
	}
	e := dedupe.Entry{
		Left:        time.Duration(left) * time.Millisecond,
		State:       dedupe.State(text(2)),
		Fingerprint: text(3),
		Owner:       text(4),
		Progress:    dedupe.Progress{Attempt: int(number(5)), Refusals: int(number(6)), Waits: int(number(7))},
		Rev:         number(8),
		Seq:         number(9),
		Account:     text(13),
	}
	if s := text(10); s != "" {
		e.Doubt = new(dedupe.Doubt)
		if err := json.Unmarshal([]byte(s), e.Doubt); err != nil && bad == nil {
			bad = fmt.Errorf("redis: doubt: %w", err)
		}
	}
	if s := text(11); s != "" {
		e.Result = []byte(s)
	}
	if s := text(12); s != "" {
		var last lastField
		if err := json.Unmarshal([]byte(s), &last); err != nil && bad == nil {
			bad = fmt.Errorf("redis: last: %w", err)
		}
		e.Last, e.Endings = last.Answer, last.Endings
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
