package main

import (
	"bufio"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/connect"
	"orderworker/dedupe/storetest"
)

// connection is one way in which a worker reaches its servers in production. start starts
// the servers and returns the worker's settings for them; during, if it is set, disturbs
// them while orders are bought.
type connection struct {
	start  func(w *world) map[string]string
	during func(w *world)
}

// TestOrdersThroughConnectionsOfProduction buys orders with the built program
// through each way of reaching NATS and Redis; the publisher connects as the
// worker does.
func TestOrdersThroughConnectionsOfProduction(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOTHING IS PROVEN: -short")
	}
	t.Parallel()
	programs := buildPrograms(t)
	for name, c := range map[string]connection{
		"NATS with a credentials file":            {start: credentialsFile},
		"NATS with an NKey over TLS":              {start: nkeyOverTLS},
		"NATS with mutual TLS":                    {start: mutualTLS},
		"several NATS servers, of which one dies": {start: severalServers, during: killConnected},
		"Redis with an ACL user over TLS":         {start: aclUserOverTLS},
		"Redis Sentinel, with a failover":         {start: sentinel, during: failOver},
		"Redis Cluster, with a node restarted":    {start: cluster, during: restartNode},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := emptyWorld(t, programs, rand.NewPCG(1, 2))
			w.startVendor("packageCode=NEVER: refuse code="+codeNever, "packageCode=NOTNOW: refuse code="+codeNotNow)
			env := map[string]string{"UPSTREAM_URL": w.vendorURL}
			maps.Copy(env, c.start(w))
			if env["NATS_URL"] == "" {
				env["NATS_URL"] = storetest.NATS(t).ClientURL()
			}
			if env["REDIS_URL"] == "" {
				env["REDIS_URL"] = "redis://" + storetest.Redis(t).Addr
			}
			w.startWorkers(w.connect(env), 1, append(environment(env), "ORDERS_ACK_WAIT=5s")...) // so long that no lease is lost on a busy machine
			w.publisher.enqueue(w.newOrders(30)...)
			w.until("the worker takes orders", func() bool { return w.workers[0].linesWith("taking orders", 1) != "" })
			if c.during != nil {
				c.during(w)
				w.publisher.enqueue(w.newOrders(30)...)
			}
			w.verdict().report(t)
			w.oneLineEach(w.workers[0])
		})
	}
}

// oneLineEach fails the test if p's log at info and above has more than one line for each
// delivery and for each change of state. A store that becomes unavailable is one change,
// however many orders wait for it.
func (w *world) oneLineEach(p *process) {
	w.t.Helper()
	file, err := os.Open(p.log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	said := map[string]int{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var l struct{ Level, Message string }
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			w.t.Errorf("a line that is no JSON: %s", lines.Text())
		}
		if l.Level != "debug" {
			said[l.Message]++
		}
	}
	if err := lines.Err(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("said at info and above: %v", said)
	if said["taking orders"] != 1 || said["delivery finished"] < len(w.orders) {
		w.t.Errorf("said %v, want a line for each of %d orders", said, len(w.orders))
	}
	const short = `RECONCILE_DELAY is less than 2m: a request that arrives late at the vendor after a "not found" is bought twice`
	for message, most := range map[string]int{
		"delivery finished": 10 * len(w.orders), "taking orders": 1, "stopped": 1, "nats connected": 1, "nats disconnected": 3, "nats reconnected": 3,
		"waiting for the server": 3, "stream created": 5, "store unavailable, retrying": 12, "store available again": 12, // for each kind of thing to be done
		short: 1, "pull failed, retrying": 3, "pull recovered": 3, "lease lost": len(w.orders),
	} {
		if said[message] > most {
			w.t.Errorf("%q was logged %d times, want %d at most", message, said[message], most)
		}
		delete(said, message)
	}
	if len(said) > 0 {
		w.t.Errorf("logged at info and above as well: %v", said)
	}
}

// connect connects a publisher with the worker's own settings.
func (w *world) connect(env map[string]string) *nats.Conn {
	w.t.Helper()
	all := required()
	maps.Copy(all, env)
	s, err := apptest.Load(all)
	if err != nil {
		w.t.Fatal(err)
	}
	nc, err := connect.NATS(w.t.Context(), s, zerolog.Nop(), func(error) {}, func(error) {})
	if err != nil {
		w.t.Fatal(err)
	}
	return nc
}

// environment is env as a process takes it.
func environment(env map[string]string) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
