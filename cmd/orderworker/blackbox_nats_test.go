package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"orderworker/dedupe/storetest"
)

// natsNode is a nats-server process.
type natsNode struct {
	*process
	client, monitor string // addresses
	store           string // directory of its streams
}

func (n *natsNode) url() string { return natsURL(n.client) }

func natsURL(addr string) string { return "nats://blackbox:" + encodedNATSPassword + "@" + addr }

// healthy reports whether the server says that all its streams and consumers
// are up to date.
func (n *natsNode) healthy() bool {
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Get("http://" + n.monitor + "/healthz")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// natsConfig is the configuration of a node. It advertises no addresses to clients, so
// that none bypasses its proxy.
const natsConfig = `
listen: %q
http: %q
server_name: %q
max_payload: 1MB
jetstream { store_dir: %q, sync_interval: %s }
authorization { user: blackbox, password: "` + natsPassword + `" }
`

const natsClusterConfig = `cluster { name: "blackbox", listen: %q, no_advertise: true, routes: [%s] }
`

// startNATS starts a server, or a cluster. If dies is set, the servers are going to be
// killed, and sync every write, as deploy/nats configures them.
func (w *world) startNATS(nodes int, dies bool) {
	w.t.Helper()
	sync := "2m" // the server's default
	if dies {
		sync = "always"
	}
	var peers, routes []string
	for range nodes {
		peer := storetest.FreeAddr(w.t)
		peers = append(peers, peer)
		routes = append(routes, fmt.Sprintf("%q", "nats-route://"+peer))
	}
	for i := range nodes {
		name := fmt.Sprintf("nats%d", i+1)
		n := &natsNode{client: storetest.FreeAddr(w.t), monitor: storetest.FreeAddr(w.t), store: filepath.Join(w.dir, name)}
		config := fmt.Sprintf(natsConfig, n.client, n.monitor, name, n.store, sync)
		if nodes > 1 {
			config += fmt.Sprintf(natsClusterConfig, peers[i], strings.Join(routes, ", "))
		}
		file := filepath.Join(w.dir, name+".conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			w.t.Fatal(err)
		}
		n.process = newProcess(w.t, w.dir, name, w.programs.nats, nil, "-c", file)
		w.nodes = append(w.nodes, n)
	}
	for _, n := range w.nodes {
		w.until(n.name+" is healthy", n.healthy)
	}
}

// restartNATS kills the server and starts it again, at once or after some time.
func restartNATS(w *world, n int) {
	w.pass(time.Second, 4*time.Second)
	w.nodes[0].kill()
	if n%2 == 1 {
		w.pass(100*time.Millisecond, 2*time.Second)
	}
	w.nodes[0].start()
	w.until("nats-server is healthy", w.nodes[0].healthy)
}

// deleteConsumer deletes the consumer that all workers share; every other time
// Redis forgets everything too, so that messages that were in progress come
// again as new.
func deleteConsumer(w *world, n int) {
	w.pass(500*time.Millisecond, 2*time.Second)
	w.deleteConsumer()
	if n%2 == 1 {
		w.flush()
	}
}

func (w *world) deleteConsumer() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	w.until("the consumer is deleted", func() bool { return w.js.DeleteConsumer(ctx, w.stream("ORDERS"), "order-worker") == nil })
}

// replicated are the streams that a cluster holds.
var replicated = []string{"ORDERS", "ORDER_JOURNAL", "ORDER_RESULTS", "ORDERS_DEAD"}

// killLeader kills the node that leads one of the streams, starts it again, and waits
// until it has recovered: two of the three nodes must always be alive.
func killLeader(w *world, n int) {
	w.pass(500*time.Millisecond, 1500*time.Millisecond)
	leader := w.leader(replicated[n%2])
	leader.kill()
	w.pass(100*time.Millisecond, 4*time.Second)
	leader.start()
	w.recovered()
}

// wipeNode kills a node and starts it again with nothing on its disk.
func wipeNode(w *world, n int) {
	w.pass(500*time.Millisecond, 1500*time.Millisecond)
	w.recovered() // the others must have everything
	node := w.nodes[w.random.IntN(len(w.nodes))]
	node.kill()
	if err := os.RemoveAll(node.store); err != nil {
		w.t.Fatal(err)
	}
	node.start()
	w.recovered()
}

// leader is the node that leads stream.
func (w *world) leader(stream string) *natsNode {
	w.t.Helper()
	var leader *natsNode
	w.until(stream+" has a leader", func() bool {
		s, err := w.js.Stream(w.t.Context(), stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		for _, n := range w.nodes {
			if n.name == s.CachedInfo().Cluster.Leader && n.cmd != nil {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// recovered waits until every node is healthy and every replica of every
// stream and of the consumer is current.
func (w *world) recovered() {
	w.t.Helper()
	for _, n := range w.nodes {
		w.until(n.name+" is healthy", n.healthy)
	}
	for _, stream := range replicated {
		w.until(stream+" is replicated", func() bool { return w.current("$JS.API.STREAM.INFO." + stream) })
	}
	w.until("the consumer is replicated", func() bool { return w.current("$JS.API.CONSUMER.INFO.ORDERS.order-worker") })
}

// current asks subject for a stream's or consumer's replicas, and reports
// whether all are there.
func (w *world) current(subject string) bool {
	answer, err := w.js.Conn().Request(subject, nil, 2*time.Second)
	if err != nil {
		return false
	}
	var info struct {
		Cluster struct {
			Leader   string `json:"leader"`
			Replicas []struct {
				Current bool   `json:"current"`
				Offline bool   `json:"offline"`
				Lag     uint64 `json:"lag"`
			} `json:"replicas"`
		} `json:"cluster"`
	}
	if json.Unmarshal(answer.Data, &info) != nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != len(w.nodes)-1 {
		return false
	}
	for _, r := range info.Cluster.Replicas {
		if !r.Current || r.Offline {
			return false
		}
	}
	return true
}
