package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/certtest"
	"orderworker/dedupe/storetest"
)

// redisProcess starts a redis-server that is going to be killed, at addr, with
// its files in a directory of its own.
func (w *world) redisProcess(name, addr string, args ...string) *process {
	w.t.Helper()
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	return newProcess(w.t, w.dir, name, w.programs.redis, nil,
		append([]string{"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", ""}, args...)...)
}

// ask sends a command to the server at addr, and returns an empty reply after an error.
// The clean-up uses it too, after the test's context has ended.
func (w *world) ask(addr string, command ...any) string {
	c := redis.NewClient(&redis.Options{Addr: addr, Username: "admin", Password: "admin-pw", MaxRetries: -1})
	defer c.Close()
	answer, err := c.Do(context.Background(), command...).Result()
	if err != nil {
		return ""
	}
	return fmt.Sprint(answer)
}

// users returns the ACL of deploy/redis and an admin, as arguments of redis-server.
func (w *world) users() []string {
	w.t.Helper()
	text, err := os.ReadFile("../../deploy/redis/users.acl")
	if err != nil {
		w.t.Fatal(err)
	}
	acl := strings.Replace(string(text), "replace-me", "worker-pw", 1) + "user admin on >admin-pw ~* &* +@all\n"
	return []string{"--aclfile", w.file("users.acl", []byte(acl)), "--masteruser", "admin", "--masterauth", "admin-pw"}
}

// aclUserOverTLS keeps the journal in Redis and sets a rate, so that every script runs. The
// server's certificate is of an authority that the system does not know.
func aclUserOverTLS(w *world) map[string]string {
	ca := certtest.New(w.t)
	caFile := w.file("redis-ca.pem", ca.PEM)
	authorities := filepath.Join(w.dir, "authorities")
	if err := os.Mkdir(authorities, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink(caFile, filepath.Join(authorities, "ca.pem")); err != nil { // as a Secret is mounted
		w.t.Fatal(err)
	}
	cert, key := ca.Issue(w.t, w.dir, "redis")
	addr := storetest.FreeAddr(w.t)
	_, port, _ := net.SplitHostPort(addr)
	storetest.Redis(w.t, append(w.users(), "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")...)
	return map[string]string{
		"REDIS_URL": "rediss://orderworker:worker-pw@" + addr + "/0", "SSL_CERT_DIR": authorities,
		"JOURNAL_TTL": "0", "UPSTREAM_RATE": "100",
	}
}

// sentinel starts a master and a replica, and three sentinels with passwords of their own.
func sentinel(w *world) map[string]string {
	w.redisAddr = storetest.FreeAddr(w.t)
	replica := storetest.FreeAddr(w.t)
	users := w.users()
	w.redis = w.redisProcess("redis-master", w.redisAddr, users...)
	host, port, _ := net.SplitHostPort(w.redisAddr)
	w.redisProcess("redis-replica", replica, append(users, "--replicaof", host+" "+port)...)
	var sentinels []string
	for i := range 3 {
		addr := storetest.FreeAddr(w.t)
		_, own, _ := net.SplitHostPort(addr)
		name := fmt.Sprintf("sentinel%d", i+1)
		config := w.file(name+".conf", fmt.Appendf(nil, `bind 127.0.0.1
port %s
dir %s
user default off
user admin on >admin-pw ~* &* +@all
user watcher on >watcher-pw resetchannels &* -@all +ping +hello +auth +client|setname +subscribe +psubscribe +sentinel|get-master-addr-by-name +sentinel|sentinels +sentinel|replicas
sentinel sentinel-user admin
sentinel sentinel-pass admin-pw
sentinel monitor orders %s %s 2
sentinel auth-user orders admin
sentinel auth-pass orders admin-pw
sentinel down-after-milliseconds orders 500
sentinel failover-timeout orders 5000
`, own, w.dir, host, port))
		newProcess(w.t, w.dir, name, w.programs.redis, nil, config, "--sentinel")
		sentinels = append(sentinels, addr)
	}
	for _, addr := range sentinels {
		w.until(addr+" knows the replica and the other sentinels", func() bool {
			told := w.ask(addr, "sentinel", "master", "orders")
			return strings.Contains(told, "num-slaves:1") && strings.Contains(told, "num-other-sentinels:2")
		})
	}
	w.until("the replica follows", func() bool { return strings.Contains(w.ask(replica, "info", "replication"), "master_link_status:up") })
	w.sentinel = sentinels[0]
	return map[string]string{
		"REDIS_URL": "redis://watcher:watcher-pw@" + sentinels[0] + "/0?master_name=orders&addr=" + sentinels[1] + "&addr=" + sentinels[2] +
			"&username=orderworker&password=worker-pw&read_timeout=1s",
		"UPSTREAM_RATE": "100",
	}
}

// failOver kills the master, waits until the replica is the master, and starts the old
// one again.
func failOver(w *world) {
	w.redis.kill()
	w.publisher.enqueue(w.newOrders(30)...)
	before := w.redisAddr
	w.until("the replica is the master", func() bool {
		told := w.ask(w.sentinel, "sentinel", "get-master-addr-by-name", "orders")
		_, port, _ := net.SplitHostPort(before)
		return told != "" && !strings.Contains(told, port)
	})
	w.redis.start()
}

// cluster starts a Redis Cluster of three masters with a third of the slots each.
func cluster(w *world) map[string]string {
	var nodes []string
	for i := range 3 {
		addr := storetest.FreeAddr(w.t)
		p := w.redisProcess(fmt.Sprintf("redis%d", i+1), addr, append(w.users(), "--cluster-enabled", "yes", "--cluster-node-timeout", "1000")...)
		w.until(p.name+" answers", func() bool { return w.ask(addr, "ping") == "PONG" })
		w.redis, w.redisAddr = p, addr
		nodes = append(nodes, addr)
	}
	for i, addr := range nodes {
		w.ask(addr, "cluster", "addslotsrange", i*16384/3, (i+1)*16384/3-1)
		host, port, _ := net.SplitHostPort(nodes[0])
		w.ask(addr, "cluster", "meet", host, port)
	}
	for _, addr := range nodes {
		w.until("the cluster is whole at "+addr, func() bool {
			info := w.ask(addr, "cluster", "info")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3") && strings.Contains(info, "cluster_size:3")
		})
	}
	w.t.Cleanup(func() {
		for _, addr := range nodes {
			if n := w.ask(addr, "dbsize"); n == "0" || n == "" {
				w.t.Errorf("%s has %q keys: no order went there", addr, n)
			}
		}
	})
	return map[string]string{
		"REDIS_URL":     "redis://orderworker:worker-pw@" + nodes[0] + "?addr=" + nodes[1] + "&read_timeout=1s",
		"UPSTREAM_RATE": "100",
	}
}

// restartNode kills a node of the cluster and starts it again, empty. Meanwhile the cluster
// refuses every command.
func restartNode(w *world) {
	w.redis.kill()
	w.publisher.enqueue(w.newOrders(30)...)
	w.until("the worker notices", func() bool { return w.workers[0].linesWith("store", 1) != "" })
	w.redis.start()
}
