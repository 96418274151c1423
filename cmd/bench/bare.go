package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"orderworker/upstream"
	"orderworker/worker"
)

// bare is the yardstick: the loop that one writes in an afternoon, with the
// libraries of the worker. Consume, SET NX, call, publish, ack; no journal, no
// lease, no heartbeat, no second thought about an answer. It loses orders and
// buys them twice when anything breaks. The event that it publishes has the
// worker's payload and message id, but no headers of CloudEvents.
type bare struct {
	js     jetstream.JetStream
	redis  *redis.Client
	http   *http.Client
	vendor string
}

// heapUse is what the bare loop says last.
type heapUse struct {
	Allocs uint64 `json:"allocs"`
	Bytes  uint64 `json:"bytes"`
}

// runBare is the bare loop's process: args are the addresses of its servers and
// how many orders it has in progress at once. It says a line when it is ready.
func runBare(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 4 {
		return errors.New("bare: NATS REDIS VENDOR CONCURRENCY are wanted")
	}
	concurrency, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer nc.Close()
	b := &bare{vendor: args[2]}
	if b.js, err = jetstream.New(nc); err != nil {
		return err
	}
	b.redis = redis.NewClient(&redis.Options{Addr: args[1], MaxRetries: -1, PoolSize: min(concurrency+8, 256)})
	defer b.redis.Close()
	b.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		MaxIdleConns: concurrency, MaxIdleConnsPerHost: concurrency, DisableCompression: true,
	}}
	if err := b.run(ctx, concurrency, out); err != nil {
		return err
	}
	if err := nc.FlushTimeout(time.Second); err != nil {
		return err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return json.NewEncoder(out).Encode(heapUse{Allocs: m.Mallocs, Bytes: m.TotalAlloc})
}

// run works until ctx ends, or an order goes wrong.
func (b *bare) run(ctx context.Context, concurrency int, out io.Writer) error {
	names := streams()
	consumer, err := b.js.Consumer(ctx, names.Orders, names.Consumer)
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var (
		orders  = make(chan jetstream.Msg)
		workers sync.WaitGroup
		failed  sync.Once
		first   error
	)
	for range concurrency {
		workers.Go(func() {
			for msg := range orders {
				if err := b.handle(msg); err != nil {
					failed.Do(func() { first = err; fail(err) })
				}
			}
		})
	}
	consuming, err := consumer.Consume(func(msg jetstream.Msg) {
		select {
		case orders <- msg:
		case <-ctx.Done():
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	<-ctx.Done()
	consuming.Stop()
	<-consuming.Closed()
	close(orders)
	workers.Wait()
	return first
}

// request is one order request.
type request struct {
	OutTradeNo  string `json:"outTradeNo"`
	ICCID       string `json:"iccid"`
	PackageCode string `json:"packageCode"`
}

// handle is an order's whole life.
func (b *bare) handle(msg jetstream.Msg) error {
	ctx := context.Background()
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	var o request
	if err := json.Unmarshal(msg.Data(), &o); err != nil {
		return err
	}
	isNew, err := b.redis.SetNX(ctx, "order:"+o.OutTradeNo, 1, 720*time.Hour).Result()
	if err != nil {
		return err
	}
	if !isNew {
		return msg.Ack()
	}
	r := worker.Result{
		OutTradeNo: o.OutTradeNo, ICCID: o.ICCID, PackageCode: o.PackageCode, Status: worker.Succeeded,
		Attempts: 1, ReceivedAt: worker.Time{Time: meta.Timestamp},
	}
	if err := b.buy(ctx, o, &r); err != nil {
		return err
	}
	r.CompletedAt = worker.Time{Time: time.Now()}
	event, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := b.js.Publish(ctx, streams().ResultSubject("succeeded", o.OutTradeNo), event, jetstream.WithMsgID(o.OutTradeNo+".succeeded")); err != nil {
		return err
	}
	return msg.Ack()
}

// signed is the body of the call.
type signed struct {
	request
	AppKey    string `json:"appkey"`
	Nonce     int64  `json:"nonce"`
	Timestamp int64  `json:"timestamp"`
	Sign      string `json:"sign"`
}

// buy makes the call, and writes into r what was bought.
func (b *bare) buy(ctx context.Context, o request, r *worker.Result) error {
	call := signed{request: o, AppKey: appKey, Nonce: 10_000 + rand.Int64N(90_000), Timestamp: time.Now().Unix()}
	call.Sign = upstream.Sign(map[string]string{
		"appkey": call.AppKey, "nonce": strconv.FormatInt(call.Nonce, 10), "timestamp": strconv.FormatInt(call.Timestamp, 10),
		"outTradeNo": o.OutTradeNo, "iccid": o.ICCID, "packageCode": o.PackageCode,
	}, secret)
	body, err := json.Marshal(call)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.vendor+placePath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json;charset=utf-8")
	resp, err := b.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	var answer struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Data    struct {
			OrderNumber string `json:"orderNumber"`
			OrderID     int64  `json:"orderId"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return err
	}
	if answer.Code != "200" {
		return fmt.Errorf("refused: %s", text)
	}
	r.Code, r.Message, r.OrderNumber, r.OrderID = answer.Code, answer.Message, answer.Data.OrderNumber, answer.Data.OrderID
	return nil
}
