package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/dedupe"
)

type cache struct {
	client     redis.Scripter
	deployment string
	mark       string // key of the birth mark; "": none, a Cluster
}

// NewCache keeps the records of a deployment in Redis, Redis Cluster or
// Sentinel: one hash per order, one key per script. Those of other deployments
// in the same Redis are neither read nor written. Set the client's MaxRetries to -1: go-redis sends
// a script again after a lost reply (0 means 3 times). Every script here is
// safe against that, but a time-out would last up to four times as long.
// The server's maxmemory-policy must be noeviction.
func NewCache(client redis.UniversalClient, deployment string) dedupe.Cache {
	single, ok := client.(*redis.Client) // in a Cluster one node that is away would hold up what goes to the others
	if !ok {
		return cache{client: client, deployment: deployment}
	}
	queue, err := single.AsyncAutoPipeline()
	if err != nil {
		panic(err) // of options, and we give none
	}
	return cache{&together{client, queue}, deployment, OrderKey(deployment, "")}
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
	return dedupe.SubjectToken(deployment) + ":order:" + dedupe.SubjectToken(outTradeNo)
}

func (r cache) key(outTradeNo string) []string {
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

func (r cache) Claim(ctx context.Context, o dedupe.Order, owner string, lease time.Duration) (dedupe.Entry, bool, error) {
	keys := r.key(o.OutTradeNo)
	if r.mark != "" {
		keys = append(keys, r.mark)
	}
	v, err := luaClaim.Run(ctx, r.client, keys, o.Fingerprint, owner, millis(lease), o.Seq, o.Account, spelled(o.Expires)).Slice()
	if err != nil {
		return dedupe.Entry{}, false, fmt.Errorf("redis claim: %w", err)
	}
	isNew := len(v) == newFields
	if !isNew {
		if err := r.about(v, o.OutTradeNo); err != nil {
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

func (r cache) Complete(ctx context.Context, born time.Time) error {
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
func (r cache) replace(ctx context.Context, o dedupe.Order, owner string, lease time.Duration, why error) (dedupe.Entry, bool, error) {
	left, err := r.discard(ctx, o, owner)
	if err != nil {
		return dedupe.Entry{}, false, err
	}
	if left > 0 { // the fields that a busy order has; nobody can tell more
		return dedupe.Entry{State: dedupe.StateClaimed, Fingerprint: o.Fingerprint, Owner: "unknown", Left: left}, false, nil
	}
	e, taken, err := r.Claim(ctx, o, owner, lease)
	if e.State == "" {
		e.Replaced = why.Error()
	}
	return e, taken, err
}

// discard forgets o's record whatever its fingerprint is.
func (r cache) discard(ctx context.Context, o dedupe.Order, owner string) (time.Duration, error) {
	o.Fingerprint = owner // no record's
	return r.Forget(ctx, o, owner)
}

func (r cache) Renew(ctx context.Context, o dedupe.Order, owner string, rev uint64, lease time.Duration) error {
	return owned("renew", luaRenew.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, owner, millis(lease), o.Seq, rev, o.Account, spelled(o.Expires)))
}

func (r cache) Park(ctx context.Context, o dedupe.Order, owner string, e dedupe.Entry, delay time.Duration) error {
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

func (r cache) Remember(ctx context.Context, o dedupe.Order, result []byte, ttl time.Duration) error {
	err := luaRemember.Run(ctx, r.client, r.key(o.OutTradeNo), o.Fingerprint, o.Seq, result, millis(ttl)).Err()
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
	if err := r.about(v, outTradeNo); err != nil {
		return dedupe.Entry{}, false, fmt.Errorf("redis look: %w", err)
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
		return dedupe.ErrLost
	}
	return nil
}

const (
	replyFields = 17 // of luaRecord's reply
	newFields   = 3  // of luaClaim's, about a new record
)

// about refuses a reply that is about another order, or is none of luaRecord's.
func (r cache) about(v []any, outTradeNo string) error {
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
