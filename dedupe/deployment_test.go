package dedupe_test

import (
	"strings"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/dedupe/redisstore"
)

// Two deployments on one Redis that use the same number each buy their own order:
// neither sees the other's cache entry or journal record.
func TestTwoDeploymentsOnOneRedis(t *testing.T) {
	client := realRedis(t)
	deployments := []testEnv{}
	for _, name := range []string{"ORDERS", "ORDERS2"} {
		records, journal := redisstore.NewCache(client, name), redisstore.NewJournal(client, name, long)
		deployments = append(deployments, newEnv(t, records, journal, nil, dedupe.Config{Lease: long, FinalTTL: long}, nil))
	}
	for i, b := range deployments {
		o := testOrder
		o.Fingerprint += string(rune('0' + i))
		c := b.must(o, true, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		b.ok(b.Remember(b.ctx(), c, won))
		b.must(o, true, dedupe.Done)
	}
}

// A key of the old form, without a deployment, is ignored, since it may belong to any
// deployment.
func TestRedisKeysWithoutADeployment(t *testing.T) {
	client := realRedis(t)
	for _, key := range []string{"order:" + testOrder.OutTradeNo, "ORDERS2:order:" + testOrder.OutTradeNo} {
		client.HSet(t.Context(), key, "state", "final", "fingerprint", "f1", "result", "{}")
	}
	client.HSet(t.Context(), "journal:"+testOrder.OutTradeNo, "rev", "1", "data", `{"state":"final","fingerprint":"f1"}`)
	b := newEnv(t, redisstore.NewCache(client, testDeployment), redisstore.NewJournal(client, testDeployment, long), nil, dedupe.Config{Lease: long}, nil)
	b.must(testOrder, true, dedupe.Fresh)
}

func TestOrderKey(t *testing.T) {
	seen := map[string]bool{}
	for _, deployment := range []string{"ORDERS", "A:order:B", "{A}", "A"} {
		for _, no := range []string{"1", "B:order:1", "{1}", "order:1", "%7B1%7D"} {
			key := redisstore.OrderKey(deployment, no)
			if seen[key] {
				t.Errorf("two orders have the key %q", key)
			}
			seen[key] = true
			if strings.ContainsAny(key, "{}") { // a hash tag: many orders in one slot of a Cluster
				t.Errorf("the key %q has a hash tag", key)
			}
		}
	}
	if got := redisstore.OrderKey(testDeployment, testOrder.OutTradeNo); got != testKey {
		t.Errorf("key %q, want %q", got, testKey)
	}
}
