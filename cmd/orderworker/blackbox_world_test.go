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
	rate     int  // requests per second that the vendor allows; 0: any number
	accounts bool // there is a second account, at another vendor
	beside   bool // there is a second deployment, with an account of its own
}

// The links of a worker that a proxy may stand in.
const (
	natsLink   = "nats"
	redisLink  = "redis"
	vendorLink = "vendor"
)

// world is everything that runs in a scenario, or one of two deployments that
// share servers. One goroutine makes the faults.
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
	accounts  []account         // where orders are bought; the first is at vendorURL
	now       int               // index of the account that the workers use
	held      map[string]string // open attempts of another account, as the journal has them: by order
	heldEver  int               // sum of held, at each change of the account
	proxies   map[string]*proxy // by link
	workers   []*process
	admins    addresses // their admin servers
	workerEnv []string
	spilled   spills
	js        jetstream.JetStream
	publisher *publisher
	orders    []request // every order that was ever to be published
	invalid   int       // requests that are no orders
	foreign   int       // messages in the stream of orders that are no requests
	rate      int       // see setup
	side      string    // what the names of the second deployment's streams begin with
	beside    *world    // the second deployment
}

// workers is how many there are of a deployment.
const workers = 3

// emptyWorld is a world in which nothing runs yet.
func emptyWorld(t *testing.T, programs programs, source rand.Source) *world {
	return &world{t: t, dir: t.TempDir(), random: rand.New(source), programs: programs, proxies: map[string]*proxy{}}
}

// newWorld starts everything. All of it ends with t.
func newWorld(t *testing.T, programs programs, s setup, source rand.Source) *world {
	t.Helper()
	w := emptyWorld(t, programs, source)
	w.rate = s.rate
	w.startNATS(max(1, s.nodes), s.natsDies)
	w.startRedis()
	w.startVendor(w.rules()...)
	if s.accounts {
		w.startVendor(w.rules()...)
	}
	nc := w.publishersConn()
	natsServers, redisAddr, vendorURL := w.natsServers(), w.redisAddr, w.vendorURL
	if s.proxied {
		w.proxies[natsLink] = newProxy(t, w.nodes[0].client)
		w.proxies[redisLink] = newProxy(t, redisAddr)
		w.proxies[vendorLink] = newProxy(t, strings.TrimPrefix(vendorURL, "http://"))
		natsServers, redisAddr, vendorURL = natsURL(w.proxies[natsLink].addr), w.proxies[redisLink].addr, "http://"+w.proxies[vendorLink].addr
		w.accounts[0].url = vendorURL
	}
	w.startWorkers(nc, workers, "NATS_URL="+natsServers, "REDIS_URL=redis://:"+encodedRedisPassword+"@"+redisAddr+"/0?read_timeout=1s",
		"UPSTREAM_URL="+vendorURL, "NATS_REPLICAS="+strconv.Itoa(len(w.nodes)), "UPSTREAM_RATE="+strconv.Itoa(w.rate))
	if s.beside {
		w.startBeside()
	}
	return w
}

// natsServers is the list of the NATS servers.
func (w *world) natsServers() string {
	var servers []string
	for _, n := range w.nodes {
		servers = append(servers, n.url())
	}
	return strings.Join(servers, ",")
}

// publishersConn returns a connection for a publisher. It reconnects however often its
// server dies.
func (w *world) publishersConn() *nats.Conn {
	w.t.Helper()
	nc, err := nats.Connect(w.natsServers(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // it would be printed; what is lost is noticed by the caller
	if err != nil {
		w.t.Fatal(err)
	}
	return nc
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
	w.publisher = newPublisher(w.t, w.js, w.subject(requestSubject))
}

// startWorker starts one more worker, and does not wait until it is ready.
func (w *world) startWorker() {
	w.t.Helper()
	addr, name := storetest.FreeAddr(w.t), fmt.Sprintf("%sworker%d", w.side, len(w.workers)+1)
	w.admins.add(addr)
	w.workers = append(w.workers, newProcess(w.t, w.dir, name, w.programs.orderworker, append(slices.Clip(w.workerEnv), "ADMIN_ADDR="+addr), "run"))
}

// workerEnv is the environment of a worker without the addresses of its servers. The
// times are short, in about the proportions of the defaults.
var workerEnv = []string{
	"LOG_LEVEL=debug", "LOG_FORMAT=json", "CONCURRENCY=16", "SHUTDOWN_TIMEOUT=20s", "ORDERS_ACK_WAIT=1s",
	"UPSTREAM_APPKEY=" + vendorKey, "UPSTREAM_SECRET=" + vendorSecret, "UPSTREAM_RATE=0", "UPSTREAM_JITTER=250ms",
	"UPSTREAM_TIMEOUT=400ms", "RECONCILE_DELAY=1500ms", "IN_DOUBT_NOTICE=750ms", "UPSTREAM_PERMANENT_CODES=" + codeNever,
	"BACKOFF_INITIAL=50ms", "BACKOFF_MAX=500ms", "MAX_ATTEMPTS=4",
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

// until polls until ok returns true. It fails the test after patience.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) { // between two polls
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
