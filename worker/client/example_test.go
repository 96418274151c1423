package client_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker/client"
)

// Publish one order, and wait until it is bought or will never be.
func Example() {
	nc, stop := exampleServer()
	defer stop()
	c, err := client.New(nc, client.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	order := client.Request{OutTradeNo: "630000198311142676", ICCID: "8988308650100524999", PackageCode: "CN-5M-7D-C"}
	if err := c.Submit(ctx, order); err != nil { // after an error, call it again: a second request is a duplicate
		fmt.Println(err)
		return
	}
	event, err := c.Wait(ctx, order)
	fmt.Println(event.Status, event.OrderNumber, err)
	// Output: succeeded X-630000198311142676 <nil>
}

// Publish many orders, and collect their results at any later time.
func ExampleClient_SubmitAll() {
	nc, stop := exampleServer()
	defer stop()
	c, err := client.New(nc, client.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var orders []client.Request
	for i := range 3 {
		orders = append(orders, client.Request{OutTradeNo: fmt.Sprintf("A-%d", i), ICCID: "8988308650100524999", PackageCode: "CN-5M-7D-C"})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stored, err := c.SubmitAll(ctx, func(yield func(client.Request, error) bool) {
		for _, order := range orders {
			if !yield(order, nil) {
				return
			}
		}
	}, nil)
	fmt.Println(stored, err)
	if _, err := c.Wait(ctx, orders[2]); err != nil {
		fmt.Println(err)
	}
	outcomes, err := c.Results(ctx, append(orders, client.Request{OutTradeNo: "never", ICCID: "8988308650100524999", PackageCode: "P"}))
	for _, o := range outcomes {
		fmt.Println(o, o.Final)
	}
	fmt.Println(err)
	// Output:
	// 3 <nil>
	// A-0 succeeded, order number X-A-0 true
	// A-1 succeeded, order number X-A-1 true
	// A-2 succeeded, order number X-A-2 true
	// open false
	// <nil>
}

// A request is checked by the worker's own rules, and every broken one is named.
func ExampleRequest_Validate() {
	fmt.Println(client.Request{OutTradeNo: "A 1", ICCID: "8.98831E+18", PackageCode: "CN-5M-7D-C"}.Validate())
	// Output:
	// outTradeNo: "A 1" breaks the rule: required: a string of 1..32 printable ASCII characters, no space, no comma
	// iccid: "8.98831E+18" breaks the rule: required: a string of 15..22 characters 0-9 A-Z a-z
}

// exampleServer starts a nats-server with the streams, and something that answers each
// request as a worker would. It is not a part of what you need.
func exampleServer() (*nats.Conn, func()) {
	dir, err := os.MkdirTemp("", "orderworker-example-")
	check(err)
	s, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true})
	check(err)
	s.Start()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	check(err)
	js, err := jetstream.New(nc)
	check(err)
	ctx := context.Background()
	for name, subject := range map[string]string{"ORDERS": "orders.package.request", "ORDER_RESULTS": "orders.package.result.*.*"} {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: name == "ORDER_RESULTS"})
		check(err)
	}
	consumer, err := js.CreateConsumer(ctx, "ORDERS", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	check(err)
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		r, err := client.Decode(m.Data())
		check(err)
		_, err = js.Publish(ctx, "orders.package.result.succeeded."+r.OutTradeNo, fmt.Appendf(nil,
			`{"outTradeNo":%q,"iccid":%q,"packageCode":%q,"status":"succeeded","orderNumber":"X-%s"}`, r.OutTradeNo, r.ICCID, r.PackageCode, r.OutTradeNo))
		check(err)
		check(m.Ack())
	})
	check(err)
	return nc, func() {
		consuming.Stop()
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
		_ = os.RemoveAll(dir)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
