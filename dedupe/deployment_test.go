package dedupe

import (
	"strings"
	"testing"
	"time"
)

// Two deployments on one Redis that happen to use the same number buy their
// orders both; neither sees the other's, in the records or in the journal.
func TestTwoDeploymentsOnOneRedis(t *testing.T) {
	client := realRedis(t)
	deployments := []bench{}
	for _, name := range []string{"ORDERS", "ORDERS2"} {
		records, journal := NewRedis(client, name), NewRedisJournal(client, name, long)
		deployments = append(deployments, bench{New(records, journal, nil, Config{Lease: long, FinalTTL: long}), nil, t})
	}
	for i, b := range deployments {
		o := testOrder
		o.Fingerprint += string(rune('0' + i))
		c := b.must(o, true, Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		_, err := b.Finish(b.ctx(), c, won, true)
		b.ok(err)
		b.ok(b.Remember(b.ctx(), c, won))
		b.must(o, true, Done)
	}
}

// A key of the form that had no deployment in it is not ours: whose it is, it
// does not say.
func TestRedisKeysWithoutADeployment(t *testing.T) {
	client := realRedis(t)
	for _, key := range []string{"order:" + testOrder.OutTradeNo, "ORDERS2:order:" + testOrder.OutTradeNo} {
		client.HSet(t.Context(), key, "state", "final", "fingerprint", "f1", "result", "{}")
	}
	client.HSet(t.Context(), "journal:"+testOrder.OutTradeNo, "rev", "1", "data", `{"state":"final","fingerprint":"f1"}`)
	b := bench{New(NewRedis(client, testDeployment), NewRedisJournal(client, testDeployment, long), nil, Config{Lease: long}), nil, t}
	b.must(testOrder, true, Fresh)
}

func TestOrderKey(t *testing.T) {
	seen := map[string]bool{}
	for _, deployment := range []string{"ORDERS", "A:order:B", "{A}", "A"} {
		for _, no := range []string{"1", "B:order:1", "{1}", "order:1", "%7B1%7D"} {
			key := OrderKey(deployment, no)
			if seen[key] {
				t.Errorf("two orders have the key %q", key)
			}
			seen[key] = true
			if strings.ContainsAny(key, "{}") { // a hash tag: many orders in one slot of a Cluster
				t.Errorf("the key %q has a hash tag", key)
			}
		}
	}
	if got := OrderKey(testDeployment, testOrder.OutTradeNo); got != testKey {
		t.Errorf("key %q, want %q", got, testKey)
	}
}
