package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"orderworker/dedupe/storetest"
)

// setup is what a scenario needs beyond three workers and one server of each
// kind.
type setup struct {
	nodes    int  // NATS servers; more than one: a cluster, with as many replicas
	natsDies bool // it syncs every write: assumption A3 of the design
	proxied  bool // workers reach NATS, Redis and the vendor through proxies
}

// The links of a worker that a proxy may stand in.
const (
	natsLink   = "nats"
	redisLink  = "redis"
	vendorLink = "vendor"
)

// world is everything that runs in a scenario. One goroutine makes the faults.
type world struct {
	t         *testing.T
	dir       string
	random    *rand.Rand
	programs  programs
	nodes     []*natsNode
	redis     *process
	redisAddr string
	sentinel  string // address of one
	rdb       *redis.Client
	vendorURL string
	proxies   map[string]*proxy // by link
	workers   []*process
	admins    addresses // their admin servers
	workerEnv []string
	spilled   spills
	js        jetstream.JetStream
	publisher *publisher
	orders    []request // every order that was ever to be published
	invalid   int       // requests that are no orders
}

const workers = 3

// emptyWorld is a world in which nothing runs yet.
func emptyWorld(t *testing.T, programs programs, source rand.Source) *world {
	return &world{t: t, dir: t.TempDir(), random: rand.New(source), programs: programs, proxies: map[string]*proxy{}}
}

// newWorld starts everything. All of it ends with t.
func newWorld(t *testing.T, programs programs, s setup, source rand.Source) *world {
	t.Helper()
	w := emptyWorld(t, programs, source)
	w.startNATS(max(1, s.nodes), s.natsDies)
	w.startRedis()
	w.startVendor(vendorRules...)

	var servers []string
	for _, n := range w.nodes {
		servers = append(servers, n.url())
	}
	nc, err := nats.Connect(strings.Join(servers, ","), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // it would be printed; what is lost is noticed by the caller
	if err != nil {
		t.Fatal(err)
	}

	natsServers, redisAddr, vendorURL := strings.Join(servers, ","), w.redisAddr, w.vendorURL
	if s.proxied {
		w.proxies[natsLink] = newProxy(t, w.nodes[0].client)
		w.proxies[redisLink] = newProxy(t, redisAddr)
		w.proxies[vendorLink] = newProxy(t, strings.TrimPrefix(vendorURL, "http://"))
		natsServers, redisAddr, vendorURL = natsURL(w.proxies[natsLink].addr), w.proxies[redisLink].addr, "http://"+w.proxies[vendorLink].addr
	}
	w.startWorkers(nc, workers, "NATS_URL="+natsServers, "REDIS_URL=redis://:"+encodedRedisPassword+"@"+redisAddr+"/0?read_timeout=1s",
		"UPSTREAM_URL="+vendorURL, "NATS_REPLICAS="+strconv.Itoa(len(w.nodes)))
	return w
}

// startWorkers starts n workers with env, and a publisher on nc.
func (w *world) startWorkers(nc *nats.Conn, n int, env ...string) {
	w.t.Helper()
	w.t.Cleanup(nc.Close)
	var err error
	if w.js, err = jetstream.New(nc); err != nil {
		w.t.Fatal(err)
	}
	w.workerEnv = slices.Concat(workerEnv, env) // of two, the last counts
	for range n {
		w.startWorker()
	}
	w.watchPages()
	w.publisher = newPublisher(w.t, w.js)
}

// startWorker starts one more, and does not wait for it.
func (w *world) startWorker() {
	w.t.Helper()
	addr, name := storetest.FreeAddr(w.t), fmt.Sprintf("worker%d", len(w.workers)+1)
	w.admins.add(addr)
	w.workers = append(w.workers, newProcess(w.t, w.dir, name, w.programs.orderworker, append(slices.Clip(w.workerEnv), "ADMIN_ADDR="+addr), "run"))
}

// workerEnv is a worker's whole environment but for its servers: the times are
// short, and in the proportions of the defaults.
var workerEnv = []string{
	"LOG_LEVEL=debug", "LOG_FORMAT=json", "CONCURRENCY=16", "SHUTDOWN_TIMEOUT=20s", "ORDERS_ACK_WAIT=1s",
	"UPSTREAM_APPKEY=" + vendorKey, "UPSTREAM_SECRET=" + vendorSecret, "UPSTREAM_RATE=0",
	"UPSTREAM_TIMEOUT=400ms", "RECONCILE_DELAY=1500ms", "UPSTREAM_PERMANENT_CODES=" + codeNever,
	"BACKOFF_INITIAL=50ms", "BACKOFF_MAX=500ms", "MAX_ATTEMPTS=4",
}

// The vendor's account, and the codes of its refusals.
const (
	vendorKey    = "blackbox"
	vendorSecret = "blackbox-secret"
	codeNotNow   = "3001"
	codeNever    = "3002"
)

// vendorRules make every end of a call happen, some after a purchase and some
// without. A purchase that comes late, or is shown late by the lookup, does so
// well within RECONCILE_DELAY: assumption A2 of the design.
var vendorRules = []string{
	"packageCode=NEVER: refuse code=" + codeNever,
	"packageCode=NOTNOW: refuse code=" + codeNotNow,
	"p=0.03: refuse code=" + codeNotNow,
	"p=0.02 buy: hang=1s",
	"p=0.02: hang=1s",
	"p=0.02 buy: status=500",
	"p=0.02: status=503 html",
	"p=0.01 buy: reset",
	"p=0.01: close",
	"p=0.01 buy: cut",
	"p=0.01 buy: notjson",
	"p=0.01: nonumber",
	"p=0.02: delay=500ms",
	"p=0.01: throttle",
	"endpoint=lookup p=0.02: status=503",
	"endpoint=lookup p=0.01: hang=1s",
	"endpoint=lookup p=0.01: cut",
}

func (w *world) startVendor(rules ...string) {
	addr := storetest.FreeAddr(w.t)
	args := []string{"sandbox", "--addr", addr, "--appkey", vendorKey, "--secret", vendorSecret, "--rate=0",
		"--latency=5ms", "--jitter=20ms", "--lookup-lag=400ms", "--seed", strconv.FormatUint(w.random.Uint64()>>2, 10)}
	for _, rule := range rules {
		args = append(args, "--rule", rule)
	}
	newProcess(w.t, w.dir, "vendor", w.programs.orderworker, nil, args...)
	w.vendorURL = "http://" + addr
	w.until("the vendor answers", func() bool { return listens(addr) })
}

// startRedis starts a server that keeps its data in an append-only file.
func (w *world) startRedis() {
	w.redisAddr = storetest.FreeAddr(w.t)
	dir := filepath.Join(w.dir, "redis")
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(w.redisAddr)
	w.redis = newProcess(w.t, w.dir, "redis-server", w.programs.redis, nil,
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--requirepass", redisPassword)
	w.rdb = redis.NewClient(&redis.Options{Addr: w.redisAddr, Password: redisPassword})
	w.t.Cleanup(func() { _ = w.rdb.Close() })
	w.redisAnswers()
}

func (w *world) redisAnswers() {
	w.t.Helper()
	w.until("redis-server answers", func() bool { return w.rdb.Ping(w.t.Context()).Err() == nil })
}

func listens(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// until polls until ok, which it must be within a generous time.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) { // between two polls
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
