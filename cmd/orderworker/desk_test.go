package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"orderworker/dedupe/redisstore"
	"orderworker/worker/natsio"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/app"
	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/operator"
	"orderworker/dedupe"
	"orderworker/dedupe/storetest"
	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// desk is the test environment of the operator's commands: real servers, the simulated
// vendor, and workers whose policy is hold, so that only a command ends doubt.
type desk struct {
	t      *testing.T
	vendor *sandbox.Vendor
	env    map[string]string
	redis  *storetest.RedisServer
	rdb    *redis.Client
	js     jetstream.JetStream
}

// newDesk starts the servers and makes the streams. rules are the vendor's.
func newDesk(t *testing.T, env map[string]string, rules ...string) *desk {
	t.Helper()
	return newDeskOn(t, storetest.NATS(t), env, rules...)
}

// newDeskWithout is newDesk of a server whose user op, whom the commands are run as, may
// not publish to denied.
func newDeskWithout(t *testing.T, denied ...string) *desk {
	t.Helper()
	s := storetest.NATS(t, func(o *server.Options) {
		o.NoAuthUser = "admin"
		o.Users = []*server.User{
			{Username: "admin", Password: "p"},
			{Username: "op", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: denied}}},
		}
	})
	d := newDeskOn(t, s, nil)
	d.env["NATS_URL"] = strings.Replace(s.ClientURL(), "nats://", "nats://op:p@", 1)
	return d
}

// newDeskOn is newDesk with this NATS server.
func newDeskOn(t *testing.T, server *server.Server, env map[string]string, rules ...string) *desk {
	t.Helper()
	parsed, err := sandbox.ParseRules(strings.Join(rules, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, vendor: sandbox.New(sandbox.Config{AppKey: "000001", Secret: "hunter2", Rules: parsed}), redis: storetest.Redis(t)}
	http := httptest.NewServer(d.vendor)
	t.Cleanup(func() { d.vendor.Close(); http.Close() })
	if d.js, err = jetstream.New(storetest.Connect(t, server)); err != nil {
		t.Fatal(err)
	}
	d.rdb = d.redis.Client(t)
	d.env = map[string]string{
		"NATS_URL": server.ClientURL(), "REDIS_URL": "redis://" + d.redis.Addr,
		"UPSTREAM_URL": http.URL, "UPSTREAM_APPKEY": "000001", "UPSTREAM_SECRET": "hunter2", "UPSTREAM_RATE": "0",
		"UPSTREAM_TIMEOUT": "3s", "RECONCILE_DELAY": "3s", "UPSTREAM_RECONCILE": "hold", "IN_DOUBT_NOTICE": "0",
		"ORDERS_ACK_WAIT": "5s", "BACKOFF_INITIAL": "50ms", "BACKOFF_MAX": "1s",
	}
	maps.Copy(d.env, env)
	d.worker()
	return d
}

func (d *desk) settings() *config.Settings {
	d.t.Helper()
	s, err := load(d.t, d.env)
	d.ok(err)
	return s
}

// worker makes the streams, and a worker that does not run yet.
func (d *desk) worker() *worker.Worker {
	d.t.Helper()
	s := d.settings()
	vendor, err := connect.Vendor(s)
	d.ok(err)
	w, _, err := app.New(d.t.Context(), s, app.Parts{
		NATS: d.js.Conn(), Redis: d.rdb, Vendor: vendor,
		Log: zerolog.New(zerolog.NewTestWriter(d.t)).Level(zerolog.WarnLevel), Registry: prometheus.NewRegistry(),
	})
	d.ok(err)
	return w
}

// start starts a worker; stop ends it.
func (d *desk) start() (stop func()) {
	d.t.Helper()
	w := d.worker()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			d.t.Errorf("worker: %v", err)
		}
	}
	d.t.Cleanup(stop)
	return stop
}

// redeliver makes the order due at once, and its request available to the workers that
// start next. Otherwise an order in doubt would be left alone for up to 30 s.
func (d *desk) redeliver(no string) {
	d.t.Helper()
	if err := d.js.DeleteConsumer(d.t.Context(), "ORDERS", "order-worker"); err != nil {
		d.t.Fatal(err)
	}
	if err := d.rdb.HSet(d.t.Context(), "ORDERS:order:"+no, "due", 0).Err(); err != nil {
		d.t.Fatal(err)
	}
}

// publish stores a request and returns its place in the stream.
func (d *desk) publish(no string, more ...string) uint64 {
	d.t.Helper()
	payload := fmt.Sprintf(`{"outTradeNo":"%s","iccid":"8988308650100524999","packageCode":"P"%s}`, no, strings.Join(more, ""))
	ack, err := d.js.Publish(d.t.Context(), "orders.package.request", []byte(payload))
	if err != nil {
		d.t.Fatal(err)
	}
	return ack.Sequence
}

// bury stores a dead letter with these headers (names and values) and returns its place in
// the stream.
func (d *desk) bury(payload, reason string, headers ...string) uint64 {
	d.t.Helper()
	msg := nats.NewMsg("orders.package.dead")
	msg.Data = []byte(payload)
	msg.Header.Set("Dead-Reason", reason)
	for i := 0; i < len(headers); i += 2 {
		msg.Header.Set(headers[i], headers[i+1])
	}
	ack, err := d.js.PublishMsg(d.t.Context(), msg)
	d.ok(err)
	return ack.Sequence
}

// count is the number of messages in a stream.
func (d *desk) count(stream string) uint64 {
	d.t.Helper()
	s, err := d.js.Stream(d.t.Context(), stream)
	if err != nil {
		d.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// calls counts the requests to buy that reached the vendor.
func (d *desk) calls() int { return d.vendor.Totals().Calls[sandbox.EndpointOrder] }

// do runs a command with the desk's environment.
func (d *desk) do(args ...string) (status int, stdout, stderr string) {
	d.t.Helper()
	status, stdout, stderr = orderworker(d.t, d.env, args...)
	if strings.Contains(stdout+stderr, "hunter2") {
		d.t.Errorf("%v shows a secret:\n%s%s", args, stdout, stderr)
	}
	return status, stdout, stderr
}

// asked runs a command on a terminal, where somebody agrees, and returns all that it prints.
func (d *desk) asked(command interface {
	Run(context.Context, *std) error
}) string {
	d.t.Helper()
	var all bytes.Buffer
	err := command.Run(d.t.Context(), &std{out: &all, err: &all, in: strings.NewReader("yes\n"), isTerminal: func() bool { return true }})
	if err != nil {
		fmt.Fprintf(&all, "error: %v\n", err)
	}
	return all.String()
}

// know is what status says of the order.
func (d *desk) know(no string, args ...string) (known operator.Report) {
	d.t.Helper()
	status, out, errs := d.do(append([]string{"status", "--json", "--timeout=1m", no}, args...)...)
	if err := json.Unmarshal([]byte(out), &known); err != nil {
		d.t.Fatalf("status %d, %v\n%s%s", status, err, out, errs)
	}
	if (status == statusDone) != (known.Known && len(known.Errors) == 0) {
		d.t.Errorf("exit status %d for %s", status, out)
	}
	return known
}

// inDoubt publishes an order whose call ends in doubt, and waits until it is
// held and may be settled.
func (d *desk) inDoubt(no string, more ...string) (stop func()) {
	d.t.Helper()
	stop = d.start()
	d.publish(no, more...)
	storetest.Eventually(d.t, no+" is held in doubt", func() bool {
		k := d.know(no)
		return k.State == "in_doubt" && k.Redis.Phase == dedupe.StateInDoubt && k.Redis.Owner == "" && len(k.Results.Events) == 1 && time.Now().After(k.Journal.Over)
	})
	return stop
}

// store is the same memory that the workers have.
func (d *desk) store() *dedupe.Store {
	d.t.Helper()
	return dedupe.New(redisstore.NewCache(d.rdb, "ORDERS"), natsio.NewJetStreamJournal(d.js, "ORDER_JOURNAL", "orders.journal", time.Hour), nil, dedupe.Config{Lease: time.Hour, FinalTTL: time.Hour})
}

// claim takes the order as a worker does; seq 0 publishes its request first.
func (d *desk) claim(store *dedupe.Store, no string, seq uint64) *dedupe.Claim {
	d.t.Helper()
	o, err := worker.DecodeOrder([]byte(`{"outTradeNo":"` + no + `","iccid":"8988308650100524999","packageCode":"P"}`))
	if err != nil {
		d.t.Fatal(err)
	}
	if seq == 0 {
		seq = d.publish(no)
	}
	c, err := store.Claim(d.t.Context(), dedupe.Order{OutTradeNo: no, Fingerprint: o.Fingerprint(), Seq: seq}, store.NewOwner(), false)
	d.ok(err)
	return c
}

// doubt leaves the order in doubt, its request long over.
func (d *desk) doubt(store *dedupe.Store, no string, seq uint64) {
	d.t.Helper()
	c := d.claim(store, no, seq)
	d.ok(store.Doubt(d.t.Context(), c, d.intent(store, c, -time.Minute, -time.Minute).Doubt, time.Hour))
}

// intent writes the intent of a request that may leave until sendBy from now, and is over
// by over from now.
func (d *desk) intent(store *dedupe.Store, c *dedupe.Claim, sendBy, over time.Duration) *dedupe.Sent {
	d.t.Helper()
	sent, err := store.Intent(d.t.Context(), c, time.Now().Add(sendBy), time.Now().Add(over))
	d.ok(err)
	return sent
}

func (d *desk) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// parsed is a command as run makes it.
func (d *desk) parsed(args ...string) *commands {
	d.t.Helper()
	var cli commands
	var found config.Faults
	parser, err := config.NewParser(&cli, lookupIn(d.env), &found, new(bytes.Buffer), new(bytes.Buffer))
	d.ok(err)
	_, err = parser.Parse(args)
	d.ok(err)
	d.ok(found.Err())
	return &cli
}
