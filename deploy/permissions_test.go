package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/dedupe/storetest"
)

// TestLeastPermissions: with no more than they are given, a publisher asks for
// orders, the worker does all of its work, an operator looks and settles, and a
// subscriber reads the results.
func TestLeastPermissions(t *testing.T) {
	s := guarded(t)
	used := watch(t, s)
	redis := "redis://" + storetest.Redis(t).Addr
	env := here(t, natsURL(s, "worker"), redis, vendor(t, "first=1 packageCode=DOUBT buy: hang"))
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
			return seen["orders.package.result."+subject+"."+no+" "+no]
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

	// All else that an operator does.
	if out := operator("pause", "--reason", "a trial", "--yes"); !strings.Contains(out, "paused") {
		t.Errorf("pause:\n%s", out)
	}
	if out := operator("resume", "--yes"); !strings.Contains(out, "resumed") {
		t.Errorf("resume:\n%s", out)
	}
	if out := operator("list", "--json"); !strings.Contains(out, `"errors":[]`) {
		t.Errorf("list:\n%s", out)
	}
	if out := operator("list", "--state", "succeeded"); !strings.Contains(out, "good") {
		t.Errorf("list --state succeeded:\n%s", out)
	}
	if out := operator("status", "--iccid", "8988308650100524999"); !strings.Contains(out, "good") {
		t.Errorf("status --iccid:\n%s", out)
	}
	if out := operator("dead", "list"); !strings.Contains(out, "invalid") {
		t.Errorf("dead list:\n%s", out)
	}
	if out := operator("dead", "show", "1"); !strings.Contains(out, "no package code") {
		t.Errorf("dead show:\n%s", out)
	}
	if out := operator("dead", "replay", "1", "--set", "packageCode=CN-5M", "--yes"); !strings.Contains(out, "1 dead letter replayed") {
		t.Errorf("dead replay:\n%s", out)
	}
	await("succeeded", "bad")

	// The doctor, run as the worker, is told what this user may do, and finds nothing missing.
	doctor := exec.Command(binary(t), "doctor", "--json")
	doctor.Env = environ(env)
	report, _ := doctor.Output() // its exit status is that of all checks
	var checks struct {
		Checks []struct{ Check, Result, Detail string }
	}
	if err := json.Unmarshal(report, &checks); err != nil {
		t.Fatalf("doctor: %v\n%s", err, report)
	}
	judged := false
	for _, c := range checks.Checks {
		if c.Check == "nats permissions" {
			judged = c.Result == "ok"
		}
	}
	if !judged {
		t.Errorf("the doctor does not find the worker's permissions right:\n%s", report)
	}

	status, metrics := get(w.admin + "/metrics")
	if status != 200 || !strings.Contains(metrics, `orderworker_dead_letters_total{reason="invalid"} 1`) {
		t.Errorf("no dead letter: %d\n%s", status, metrics)
	}
	if text := strings.ToLower(w.log.String()); strings.Contains(text, "permissions violation") {
		t.Errorf("the worker was refused something:\n%s", text)
	}
	used(t, "worker")
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
		api + "STREAM.SNAPSHOT.ORDERS", api + "STREAM.RESTORE.ORDERS", "$SYS.REQ.SERVER.PING", "orders.other", "orders.package.result.succeeded",
	}
	worker := []string{"orders.journal.x", "orders.package.dead", "orders.package.result.succeeded.x", "$JS.ACK.ORDERS.order-worker.1.1.1.1.0", api + "CONSUMER.MSG.NEXT.ORDERS.order-worker"}
	for user, refused := range map[string]struct{ publish, subscribe []string }{
		"worker": {
			append([]string{"orders.package.request", "$KV.ORDER_CONTROL.ORDERS", api + "DIRECT.GET.ORDER_RESULTS.orders.package.result.succeeded.x", api + "CONSUMER.MSG.NEXT.ORDER_RESULTS.results-reader", "_INBOX.someone"}, every...),
			[]string{"orders.>", ">", "_INBOX_publisher.>", "$JS.>"},
		},
		"publisher": {
			slices.Concat([]string{api + "STREAM.INFO.ORDERS", api + "STREAM.MSG.GET.ORDERS", api + "STREAM.MSG.GET.ORDER_RESULTS", api + "DIRECT.GET.ORDER_RESULTS", "$KV.ORDER_CONTROL.ORDERS", "_INBOX.someone"}, worker, every),
			[]string{"orders.>", ">", "_INBOX.>", "orders.package.request", "orders.package.result.>"},
		},
		"subscriber": {
			slices.Concat([]string{"orders.package.request", "$KV.ORDER_CONTROL.ORDERS", api + "STREAM.MSG.GET.ORDER_RESULTS", api + "CONSUMER.CREATE.ORDER_RESULTS.mine", api + "STREAM.PURGE.ORDER_RESULTS", api + "CONSUMER.DELETE.ORDER_RESULTS.results-reader"}, worker, every),
			[]string{"orders.>", ">", "_INBOX.>", "orders.package.request", "orders.journal.>"},
		},
		"operator": {
			append([]string{"orders.package.dead", "orders.package.result.succeeded.x", "$KV.ORDER_CONTROL.OTHER", api + "STREAM.PURGE.ORDERS_DEAD", api + "CONSUMER.CREATE.KV_ORDER_CONTROL.mine", api + "STREAM.MSG.DELETE.ORDER_RESULTS", "_INBOX.someone", api + "CONSUMER.MSG.NEXT.ORDERS.order-worker", "$JS.ACK.ORDERS.order-worker.1.1.1.1.0", api + "STREAM.PURGE.ORDER_RESULTS", api + "CONSUMER.DELETE.ORDER_RESULTS.results-reader"}, every...),
			[]string{"orders.>", ">", "_INBOX.>", "_INBOX_publisher.>"},
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
