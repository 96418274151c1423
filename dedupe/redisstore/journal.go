package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/dedupe"
)

// A journal record is the hash DEPLOYMENT:journal:NUMBER, encoded like OrderKey, with
// the fields data (JSON) and rev (decimal).

var (
	// luaWrite replaces the record of an expected revision.
	//
	// KEYS: 1 the record. ARGV: 1 expected rev (0: no record), 2 data, 3 TTL in ms (0:
	// for ever). Returns {1, new rev}, also if the record has this data already, or
	// {0, rev} of another record. A new revision is the server's clock in µs, but
	// greater than the last: it is never used twice, not even after the record expired.
	luaWrite = redis.NewScript(`
local rev = redis.call('HGET', KEYS[1], 'rev') or '0'
if rev ~= '0' and redis.call('HGET', KEYS[1], 'data') == ARGV[2] then return {1, rev} end
if rev ~= ARGV[1] then return {0, rev} end
local t = redis.call('TIME')
rev = string.format('%.0f', math.max(t[1] * 1000000 + t[2], tonumber(rev) + 1))
redis.call('HSET', KEYS[1], 'rev', rev, 'data', ARGV[2])
if ARGV[3] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return {1, rev}`)
)

type journal struct {
	client     redis.UniversalClient
	deployment string
	ttl        time.Duration
}

// NewJournal returns a journal in Redis, which is lost when the cache is: it is for
// JOURNAL_TTL=0. A record is kept as dedupe.Record.Lifetime says. The client's options are
// those of NewCache.
func NewJournal(client redis.UniversalClient, deployment string, ttl time.Duration) dedupe.Journal {
	return journal{client, deployment, ttl}
}

func (j journal) key(outTradeNo string) string {
	return dedupe.SubjectToken(j.deployment) + ":journal:" + dedupe.SubjectToken(outTradeNo)
}

func (j journal) Read(ctx context.Context, outTradeNo string) (dedupe.Record, uint64, error) {
	var h struct {
		Rev  uint64 `redis:"rev"`
		Data string `redis:"data"`
	}
	err := j.client.HMGet(ctx, j.key(outTradeNo), "rev", "data").Scan(&h)
	if err != nil {
		return dedupe.Record{}, 0, fmt.Errorf("redis journal read: %w", err)
	}
	if h.Rev == 0 {
		return dedupe.Record{}, 0, nil
	}
	r, err := dedupe.DecodeRecord([]byte(h.Data))
	return r, h.Rev, err
}

// Created returns zero: the journal is lost only together with the cache.
func (j journal) Created(context.Context) (time.Time, error) { return time.Time{}, nil }

// Used returns false: what the cache has lost, this journal has lost too.
func (j journal) Used(context.Context) (bool, error) { return false, nil }

func (j journal) Write(ctx context.Context, outTradeNo string, r dedupe.Record, rev uint64) (uint64, error) {
	data, err := r.Encode()
	if err != nil {
		return 0, err
	}
	v, err := luaWrite.Run(ctx, j.client, []string{j.key(outTradeNo)}, rev, data, millis(r.Lifetime(j.ttl))).Uint64Slice()
	switch {
	case err != nil:
		return 0, fmt.Errorf("redis journal write: %w", err)
	case len(v) != 2:
		return 0, errors.New("redis journal write: unreadable reply")
	case v[0] == 0:
		return 0, dedupe.ErrLost
	}
	return v[1], nil
}
