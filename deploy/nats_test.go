package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
)

var (
	streamFiles   = []string{"ORDERS", "ORDER_RESULTS", "ORDERS_DEAD", "ORDER_JOURNAL"}
	consumerFiles = map[string]string{"order-worker": "ORDERS", "results-reader": "ORDER_RESULTS"}
)

// natsOptions are deploy/nats/nats.conf as the server reads it; passwords are
// pw-USER.
func natsOptions(t *testing.T) *server.Options {
	t.Helper()
	for _, user := range []string{"admin", "worker", "publisher", "subscriber", "operator"} {
		t.Setenv("NATS_"+strings.ToUpper(user)+"_PASSWORD", "pw-"+user)
	}
	o, err := server.ProcessConfigFile("nats/nats.conf")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// guarded starts a server with the users and permissions of nats.conf, and the
// streams and consumers of nats/streams made by its admin.
func guarded(t *testing.T) *server.Server {
	t.Helper()
	conf := natsOptions(t)
	s := storetest.NATS(t, func(o *server.Options) { o.Users = conf.Users })
	makeStreams(t, as(t, s, "admin"))
	return s
}

// natsURL is where user finds s.
func natsURL(s *server.Server, user string) string {
	return fmt.Sprintf("nats://%s:pw-%s@%s", user, user, s.Addr())
}

// client is a user's connection, and what the server refused it.
type client struct {
	jetstream.JetStream
	nc      *nats.Conn
	refused chan error
}

// as connects as user, with the inbox that its permissions allow.
func as(t *testing.T, s *server.Server, user string) *client {
	t.Helper()
	c := &client{refused: make(chan error, 100)}
	options := []nats.Option{nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.refused <- err })}
	if user == "publisher" || user == "subscriber" {
		options = append(options, nats.CustomInboxPrefix("_INBOX_"+user))
	}
	var err error
	if c.nc, err = nats.Connect(natsURL(s, user), options...); err != nil {
		t.Fatalf("connect as %s: %v", user, err)
	}
	t.Cleanup(c.nc.Close)
	if c.JetStream, err = jetstream.New(c.nc); err != nil {
		t.Fatal(err)
	}
	return c
}

// strictly reads a JSON file of nats/streams; a field that the API does not
// know is an error.
func strictly(t *testing.T, name string, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(read(t, filepath.Join("nats", "streams", name+".json")))))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s.json: %v", name, err)
	}
}

// makeStreams makes what nats/streams describes.
func makeStreams(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for _, name := range streamFiles {
		var config jetstream.StreamConfig
		strictly(t, name, &config)
		if config.Name != name {
			t.Errorf("%s.json describes %q", name, config.Name)
		}
		if _, err := js.CreateStream(t.Context(), config); err != nil {
			t.Fatalf("%s.json: %v", name, err)
		}
	}
	for name, stream := range consumerFiles {
		var config jetstream.ConsumerConfig
		strictly(t, name, &config)
		if config.Durable != name {
			t.Errorf("%s.json describes %q", name, config.Durable)
		}
		if _, err := js.CreateConsumer(t.Context(), stream, config); err != nil {
			t.Fatalf("%s.json: %v", name, err)
		}
	}
}

// TestNATSConfig holds nats.conf to what the guarantees rest on.
func TestNATSConfig(t *testing.T) {
	o := natsOptions(t)
	if !o.JetStream || !o.SyncAlways || o.StoreDir != "/data" || o.Port != 4222 || o.HTTPPort != 8222 {
		t.Errorf("JetStream %v, sync_interval always %v, store_dir %q, port %d, http %d", o.JetStream, o.SyncAlways, o.StoreDir, o.Port, o.HTTPPort)
	}
	for _, u := range o.Users {
		if u.Username != "admin" && (u.Permissions == nil || u.Permissions.Publish == nil || u.Permissions.Subscribe == nil) {
			t.Errorf("user %s may do anything", u.Username)
		}
	}
	if len(o.Users) != 5 || o.NoAuthUser != "" {
		t.Errorf("%d users, no_auth_user %q", len(o.Users), o.NoAuthUser)
	}
}

// TestStreamsAreTheWorkersOwn: the streams of nats/streams are those that the
// worker itself makes where it may.
func TestStreamsAreTheWorkersOwn(t *testing.T) {
	free := storetest.NATS(t)
	redis := storetest.Redis(t)
	work(t, here(t, free.ClientURL(), "redis://"+redis.Addr, vendor(t, "").URL))
	made, err := jetstream.New(storetest.Connect(t, free))
	if err != nil {
		t.Fatal(err)
	}
	ours := as(t, guarded(t), "admin")
	for _, name := range streamFiles {
		want, err := made.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.CachedInfo().Config, want.CachedInfo().Config) {
			t.Errorf("stream %s is\n%+v\nthe worker makes\n%+v", name, got.CachedInfo().Config, want.CachedInfo().Config)
		}
	}
	want, err := made.Consumer(t.Context(), "ORDERS", "order-worker")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ours.Consumer(t.Context(), "ORDERS", "order-worker")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.CachedInfo().Config, want.CachedInfo().Config) {
		t.Errorf("the consumer is\n%+v\nthe worker makes\n%+v", got.CachedInfo().Config, want.CachedInfo().Config)
	}
}

// TestSetUpScript runs setup.sh, twice, where the nats tool is there.
func TestSetUpScript(t *testing.T) {
	script := read(t, "nats/streams/setup.sh")
	for _, name := range streamFiles {
		if !strings.Contains(script, "\nstream "+name+"\n") {
			t.Errorf("setup.sh does not make stream %s", name)
		}
		if strings.Count(read(t, "nats/streams/"+name+".json"), `"num_replicas": 1`) != 1 {
			t.Errorf("%s.json has no num_replicas that setup.sh could set", name)
		}
	}
	for name, stream := range consumerFiles {
		if !strings.Contains(script, "\nconsumer "+stream+" "+name+"\n") {
			t.Errorf("setup.sh does not make consumer %s", name)
		}
	}
	if _, err := exec.LookPath("nats"); err != nil {
		t.Skip("NOT RUN: the nats tool is missing; go install github.com/nats-io/natscli/nats@v0.5.1")
	}
	conf := natsOptions(t)
	s := storetest.NATS(t, func(o *server.Options) { o.Users = conf.Users })
	t.Setenv("HOME", t.TempDir())
	t.Setenv("NATS_URL", natsURL(s, "admin"))
	for _, want := range []string{" made", " is there"} {
		out, err := exec.Command("sh", "nats/streams/setup.sh").CombinedOutput()
		if err != nil || strings.Count(string(out), want) != len(streamFiles)+len(consumerFiles) {
			t.Fatalf("setup.sh: %v, want %q of each\n%s", err, want, out)
		}
	}
}

// TestLeastPermissions: with no more than they are given, a publisher asks for
// orders, the worker does all of its work, an operator looks and settles, and a
// subscriber reads the results.
func TestLeastPermissions(t *testing.T) {
	s := guarded(t)
	redis := "redis://" + storetest.Redis(t).Addr
	env := here(t, natsURL(s, "worker"), redis, vendor(t, "first=1 packageCode=DOUBT buy: hang").URL)
	env["UPSTREAM_TIMEOUT"], env["RECONCILE_DELAY"], env["UPSTREAM_RECONCILE"], env["IN_DOUBT_NOTICE"] = "1s", "2s", "hold", "0s"
	env["ORDERS_ACK_WAIT"] = "30s"
	w := work(t, env)

	publisher := as(t, s, "publisher")
	publish := func(no, packageCode string) {
		t.Helper()
		payload := fmt.Sprintf(`{"outTradeNo":%q,"iccid":"8988308650100524999","packageCode":%q}`, no, packageCode)
		if _, err := publisher.Publish(t.Context(), "orders.package.request", []byte(payload), jetstream.WithMsgID(no)); err != nil {
			t.Fatalf("publish %s: %v", no, err)
		}
	}
	publish("good", "CN-5M")
	publish("bad", "no package code")
	publish("doubt", "DOUBT")

	// The subscriber's consumer gives what has come, in order of the stream.
	reader, err := as(t, s, "subscriber").Consumer(t.Context(), "ORDER_RESULTS", "results-reader")
	if err != nil {
		t.Fatalf("subscriber: %v", err)
	}
	seen := map[string]bool{}
	await := func(subject, no string) {
		t.Helper()
		storetest.Eventually(t, no+" is "+subject, func() bool {
			batch, err := reader.Fetch(10, jetstream.FetchMaxWait(200*time.Millisecond))
			if err != nil {
				t.Fatalf("subscriber: %v", err)
			}
			for m := range batch.Messages() {
				seen[m.Subject()+" "+m.Headers().Get("ce-subject")] = true
				if err := m.DoubleAck(t.Context()); err != nil {
					t.Fatalf("subscriber: ack: %v", err)
				}
			}
			return seen["orders.package.result."+subject+" "+no]
		})
	}
	await("succeeded", "good")
	await("rejected", "bad")
	await("in_doubt", "doubt")

	operator := func(args ...string) string {
		t.Helper()
		c := exec.Command(binary(t), args...)
		c.Env = environ(map[string]string{"NATS_URL": natsURL(s, "operator"), "REDIS_URL": redis, "UPSTREAM_TIMEOUT": "1s"})
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("orderworker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if out := operator("status", "good", "--json"); !strings.Contains(out, `"succeeded"`) {
		t.Errorf("status of good:\n%s", out)
	}
	var settled string
	storetest.Eventually(t, "the order in doubt can be settled", func() bool {
		c := exec.Command(binary(t), "settle", "doubt", "--bought", "--order-number", "X1", "--yes")
		c.Env = environ(map[string]string{"NATS_URL": natsURL(s, "operator"), "REDIS_URL": redis, "UPSTREAM_TIMEOUT": "1s"})
		out, err := c.CombinedOutput()
		settled = string(out)
		return err == nil
	})
	if strings.Contains(settled, "permissions violation") {
		t.Errorf("settle:\n%s", settled)
	}

	status, metrics := get(w.admin + "/metrics")
	if status != 200 || !strings.Contains(metrics, `orderworker_dead_letters_total{reason="invalid"} 1`) {
		t.Errorf("no dead letter: %d\n%s", status, metrics)
	}
	if text := strings.ToLower(w.log.String()); strings.Contains(text, "permissions violation") {
		t.Errorf("the worker was refused something:\n%s", text)
	}
	info, err := as(t, s, "admin").Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	if n := info.CachedInfo().State.Msgs; n != 1 { // the order that was settled waits for its turn
		t.Errorf("%d orders are left in the stream, want the settled one: acks do not arrive", n)
	}
}

// TestNothingElseIsAllowed: each user is refused what others do, by the server.
func TestNothingElseIsAllowed(t *testing.T) {
	s := guarded(t)
	const api = "$JS.API."
	every := []string{ // publish
		api + "STREAM.DELETE.ORDERS", api + "STREAM.PURGE.ORDERS", api + "STREAM.UPDATE.ORDERS", api + "STREAM.CREATE.MORE",
		api + "STREAM.DELETE.ORDER_JOURNAL", api + "STREAM.PURGE.ORDER_JOURNAL", api + "STREAM.MSG.DELETE.ORDERS", api + "STREAM.MSG.DELETE.ORDER_JOURNAL",
		api + "CONSUMER.DELETE.ORDERS.order-worker", api + "CONSUMER.CREATE.ORDERS.mine", api + "CONSUMER.DURABLE.CREATE.ORDERS.mine",
		api + "STREAM.SNAPSHOT.ORDERS", api + "STREAM.RESTORE.ORDERS", "$SYS.REQ.SERVER.PING", "orders.other", "orders.package.result.succeeded.more",
	}
	worker := []string{"orders.journal.x", "orders.package.dead", "orders.package.result.succeeded", "$JS.ACK.ORDERS.order-worker.1.1.1.1.0", api + "CONSUMER.MSG.NEXT.ORDERS.order-worker"}
	for user, refused := range map[string]struct{ publish, subscribe []string }{
		"worker": {
			append([]string{"orders.package.request", api + "STREAM.MSG.GET.ORDER_RESULTS", api + "CONSUMER.MSG.NEXT.ORDER_RESULTS.results-reader", "_INBOX.someone"}, every...),
			[]string{"orders.>", ">", "_INBOX_publisher.>", "$JS.>"},
		},
		"publisher": {
			slices.Concat([]string{api + "STREAM.INFO.ORDERS", api + "STREAM.MSG.GET.ORDERS", "_INBOX.someone"}, worker, every),
			[]string{"orders.>", ">", "_INBOX.>", "orders.package.request"},
		},
		"subscriber": {
			slices.Concat([]string{"orders.package.request", api + "STREAM.PURGE.ORDER_RESULTS", api + "CONSUMER.DELETE.ORDER_RESULTS.results-reader"}, worker, every),
			[]string{"orders.>", ">", "_INBOX.>"},
		},
		"operator": {
			append([]string{"orders.package.request", "orders.package.dead", "orders.package.result.succeeded", api + "CONSUMER.MSG.NEXT.ORDERS.order-worker", "$JS.ACK.ORDERS.order-worker.1.1.1.1.0", api + "STREAM.PURGE.ORDER_RESULTS", api + "CONSUMER.DELETE.ORDER_RESULTS.results-reader"}, every...),
			[]string{"orders.>", ">"},
		},
	} {
		t.Run(user, func(t *testing.T) {
			c := as(t, s, user)
			expect := func(what, subject string) {
				t.Helper()
				if err := c.nc.Flush(); err != nil {
					t.Fatal(err)
				}
				select {
				case err := <-c.refused:
					if !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), fmt.Sprintf("%q", subject)) {
						t.Errorf("%s %s: %v", what, subject, err)
					}
				case <-time.After(2 * time.Second):
					t.Errorf("%s %s is allowed", what, subject)
				}
			}
			for _, subject := range refused.publish {
				if err := c.nc.Publish(subject, []byte("{}")); err != nil {
					t.Fatal(err)
				}
				expect("publish to", subject)
			}
			for _, subject := range refused.subscribe {
				sub, err := c.nc.SubscribeSync(subject)
				if err != nil {
					t.Fatal(err)
				}
				expect("subscribe to", subject)
				_ = sub.Unsubscribe()
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, name := range streamFiles { // all of it had no effect
		stream, err := as(t, s, "admin").Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.LastSeq; n != 0 {
			t.Errorf("stream %s has %d messages", name, n)
		}
	}
}
