package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
)

var (
	streamFiles   = []string{"ORDERS", "ORDER_RESULTS", "ORDERS_DEAD", "ORDER_JOURNAL", "KV_ORDER_CONTROL"}
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

// start starts a server with nats.conf as it is but for its addresses and its
// directory. It has no streams yet.
func start(t *testing.T) *server.Server {
	t.Helper()
	conf := natsOptions(t)
	return storetest.NATS(t, func(o *server.Options) {
		conf.Host, conf.Port, conf.HTTPPort, conf.StoreDir, conf.NoLog, conf.NoSigs = o.Host, o.Port, 0, o.StoreDir, true, true
		*o = *conf
	})
}

// guarded starts a server as nats.conf says, with the streams and consumers of
// nats/streams made by its admin.
func guarded(t *testing.T) *server.Server {
	t.Helper()
	s := start(t)
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
	if user == "publisher" || user == "subscriber" || user == "operator" {
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

// accountOf says which account each user of nats.conf belongs to.
var accountOf = map[string]string{
	"admin": "ORDERWORKER", "worker": "ORDERWORKER", "operator": "ORDERWORKER",
	"publisher": "PUBLISHERS", "subscriber": "SUBSCRIBERS",
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
		if u.Account == nil || u.Account.Name != accountOf[u.Username] {
			t.Errorf("user %s is in account %v, want %s", u.Username, u.Account, accountOf[u.Username])
		}
	}
	if len(o.Users) != len(accountOf) || o.NoAuthUser != "" {
		t.Errorf("%d users, no_auth_user %q", len(o.Users), o.NoAuthUser)
	}
}

// TestStreamsAreTheWorkersOwn: the streams of nats/streams are those that the
// worker itself makes where it may.
func TestStreamsAreTheWorkersOwn(t *testing.T) {
	free := storetest.NATS(t)
	redis := storetest.Redis(t)
	work(t, here(t, free.ClientURL(), "redis://"+redis.Addr, vendor(t, "")))
	made := storetest.JetStream(t, free)
	ours := as(t, guarded(t), "admin")
	for _, name := range streamFiles {
		want, err := made.Stream(t.Context(), name)
		if name == "KV_ORDER_CONTROL" && errors.Is(err, jetstream.ErrStreamNotFound) {
			continue // the worker does not use the bucket yet
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		config := got.CachedInfo().Config
		if name == "ORDERS_DEAD" { // the one limit that the worker leaves to whoever knows the disk
			if config.Discard != jetstream.DiscardNew || config.MaxBytes <= 0 {
				t.Errorf("stream %s can fill the disk, or drops letters: discard %v, max_bytes %d", name, config.Discard, config.MaxBytes)
			}
			config.Discard, config.MaxBytes = want.CachedInfo().Config.Discard, want.CachedInfo().Config.MaxBytes
		}
		if !reflect.DeepEqual(config, want.CachedInfo().Config) {
			t.Errorf("stream %s is\n%+v\nthe worker makes\n%+v", name, config, want.CachedInfo().Config)
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
