package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/apptest"
	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
	"orderworker/dedupe"
	"orderworker/dedupe/redisstore"
	"orderworker/dedupe/storetest"
	"orderworker/upstream/sandbox"
	"orderworker/worker"
	"orderworker/worker/natsio"
)

// desk is the test environment of the operator's commands.
type desk struct{ *apptest.Deployment }

// newDesk starts the servers and makes the streams. rules are the vendor's.
func newDesk(t *testing.T, env map[string]string, rules ...string) *desk {
	t.Helper()
	return &desk{apptest.New(t, env, rules...)}
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
	d := &desk{apptest.NewOn(t, s, nil)}
	d.Env["NATS_URL"] = strings.Replace(s.ClientURL(), "nats://", "nats://op:p@", 1)
	return d
}

// redeliver makes the order due at once, and its request available to the workers that
// start next. Otherwise an order in doubt would be left alone for up to 30 s.
func (d *desk) redeliver(no string) {
	d.T.Helper()
	if err := d.JS.DeleteConsumer(d.T.Context(), "ORDERS", "order-worker"); err != nil {
		d.T.Fatal(err)
	}
	if err := d.RDB.HSet(d.T.Context(), "ORDERS:order:"+no, "due", 0).Err(); err != nil {
		d.T.Fatal(err)
	}
}

// publish stores a request and returns its place in the stream.
func (d *desk) publish(no string, more ...string) uint64 {
	d.T.Helper()
	return d.Publish(apptest.OrderRequest(no, "P", strings.Join(more, "")))
}

// bury stores a dead letter with these headers (names and values) and returns its place in
// the stream.
func (d *desk) bury(payload, reason string, headers ...string) uint64 {
	d.T.Helper()
	header := nats.Header{"Dead-Reason": {reason}}
	for i := 0; i < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	return d.DeadLetter([]byte(payload), header)
}

// count is the number of messages in a stream.
func (d *desk) count(stream string) uint64 {
	d.T.Helper()
	s, err := d.JS.Stream(d.T.Context(), stream)
	if err != nil {
		d.T.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// calls counts the requests to buy that reached the vendor.
func (d *desk) calls() int { return d.Vendor.Totals().Calls[sandbox.EndpointOrder] }

// do runs a command with the desk's environment.
func (d *desk) do(args ...string) (status int, stdout, stderr string) {
	d.T.Helper()
	status, stdout, stderr = orderworker(d.T, d.Env, args...)
	if strings.Contains(stdout+stderr, apptest.Secret) {
		d.T.Errorf("%v shows a secret:\n%s%s", args, stdout, stderr)
	}
	return status, stdout, stderr
}

// asked runs a command on a terminal, where somebody agrees, and returns all that it prints.
func (d *desk) asked(command interface {
	Run(context.Context, *std) error
}) string {
	d.T.Helper()
	var all bytes.Buffer
	err := command.Run(d.T.Context(), &std{out: &all, err: &all, in: strings.NewReader("yes\n"), isTerminal: func() bool { return true }})
	if err != nil {
		fmt.Fprintf(&all, "error: %v\n", err)
	}
	return all.String()
}

// know is what status says of the order.
func (d *desk) know(no string, args ...string) (known operator.Report) {
	d.T.Helper()
	status, out, errs := d.do(append([]string{"status", "--json", "--timeout=1m", no}, args...)...)
	if err := json.Unmarshal([]byte(out), &known); err != nil {
		d.T.Fatalf("status %d, %v\n%s%s", status, err, out, errs)
	}
	if (status == statusDone) != (known.Known && len(known.Errors) == 0) {
		d.T.Errorf("exit status %d for %s", status, out)
	}
	return known
}

// inDoubt publishes an order whose call ends in doubt, and waits until it is
// held and may be settled.
func (d *desk) inDoubt(no string, more ...string) (stop func()) {
	d.T.Helper()
	stop = d.Start()
	d.publish(no, more...)
	storetest.Eventually(d.T, no+" is held in doubt", func() bool {
		k := d.know(no)
		return k.State == "in_doubt" && k.Redis.Phase == dedupe.StateInDoubt && k.Redis.Owner == "" && len(k.Results.Events) == 1 && time.Now().After(k.Journal.Over)
	})
	return stop
}

// store is the same memory that the workers have.
func (d *desk) store() *dedupe.Store {
	d.T.Helper()
	return dedupe.New(redisstore.NewCache(d.RDB, "ORDERS"), natsio.NewJetStreamJournal(d.JS, "ORDER_JOURNAL", "orders.journal", time.Hour), nil, dedupe.Config{Lease: time.Hour, FinalTTL: time.Hour})
}

// claim takes the order as a worker does; seq 0 publishes its request first.
func (d *desk) claim(store *dedupe.Store, no string, seq uint64) *dedupe.Claim {
	d.T.Helper()
	o, err := worker.DecodeOrder([]byte(apptest.OrderRequest(no, "P", "")))
	if err != nil {
		d.T.Fatal(err)
	}
	if seq == 0 {
		seq = d.publish(no)
	}
	c, err := store.Claim(d.T.Context(), dedupe.Order{OutTradeNo: no, Fingerprint: o.Fingerprint(), Seq: seq}, store.NewOwner(), false)
	d.OK(err)
	return c
}

// doubt leaves the order in doubt, its request long over.
func (d *desk) doubt(store *dedupe.Store, no string, seq uint64) {
	d.T.Helper()
	c := d.claim(store, no, seq)
	d.OK(store.Doubt(d.T.Context(), c, d.intent(store, c, -time.Minute, -time.Minute).Doubt, time.Hour))
}

// intent writes the intent of a request that may leave until sendBy from now, and is over
// by over from now.
func (d *desk) intent(store *dedupe.Store, c *dedupe.Claim, sendBy, over time.Duration) *dedupe.Sent {
	d.T.Helper()
	sent, err := store.Intent(d.T.Context(), c, time.Now().Add(sendBy), time.Now().Add(over))
	d.OK(err)
	return sent
}

// parsed is a command as run makes it.
func (d *desk) parsed(args ...string) *commands {
	d.T.Helper()
	var cli commands
	var found config.Faults
	parser, err := config.NewParser(&cli, apptest.Lookup(d.Env), &found, new(bytes.Buffer), new(bytes.Buffer))
	d.OK(err)
	_, err = parser.Parse(args)
	d.OK(err)
	d.OK(found.Err())
	return &cli
}
