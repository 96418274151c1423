package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// request is an order request, as its publisher sees it.
type request struct {
	OutTradeNo  string      `json:"outTradeNo"`
	ICCID       string      `json:"iccid"`
	PackageCode string      `json:"packageCode"`
	again       bool        // published before: without a Nats-Msg-Id, so that the stream takes it
	empty       bool        // without a payload
	header      nats.Header // more headers
	subject     string      // another one than that of requests
}

// newOrders makes n orders: most can be bought, one in a hundred never can, one
// in a hundred is refused until its attempts are exhausted.
func (w *world) newOrders(n int) []request {
	var made []request
	for range n {
		r := request{OutTradeNo: fmt.Sprintf("order-%06d", len(w.orders)+len(made)), ICCID: "8988308650100524999", PackageCode: "CN-5M"}
		switch w.random.IntN(100) {
		case 0:
			r.PackageCode = "NEVER"
		case 1:
			r.PackageCode = "NOTNOW"
		}
		made = append(made, r)
	}
	w.orders = append(w.orders, made...)
	return made
}

// newPlain makes n orders that can be bought.
func (w *world) newPlain(n int) []request {
	var made []request
	for range n {
		made = append(made, w.buyable())
	}
	return made
}

// buyable is one more order, which can be bought.
func (w *world) buyable() request {
	o := request{OutTradeNo: fmt.Sprintf("order-%06d", len(w.orders)), ICCID: "8988308650100524999", PackageCode: "CN-5M"}
	w.orders = append(w.orders, o)
	return o
}

// newInvalid makes a request that becomes a dead letter. It has no outTradeNo, so there is
// no rejected event for it.
func (w *world) newInvalid() request {
	w.invalid++
	return request{ICCID: "none", again: true}
}

// publisher stores requests, and repeats each until it is stored. One in
// twenty it stores twice.
type publisher struct {
	js      jetstream.JetStream
	subject string
	mu      sync.Mutex
	more    *sync.Cond
	queue   []request
	unsure  int // not known to be stored
	ended   bool
}

const publishers = 4

func newPublisher(t *testing.T, js jetstream.JetStream, subject string) *publisher {
	p := &publisher{js: js, subject: subject}
	p.more = sync.NewCond(&p.mu)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for range publishers {
		running.Go(func() { p.run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.more.Broadcast()
		running.Wait()
	})
	return p
}

// enqueue publishes requests in the background, in about this order.
func (p *publisher) enqueue(requests ...request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.queue)
	for i, r := range requests {
		p.queue = append(p.queue, r)
		if i%20 == 19 && !r.again {
			r.again = true
			p.queue = append(p.queue, r)
		}
	}
	p.unsure += len(p.queue) - before
	p.more.Broadcast()
}

// left counts the requests whose publish is not acknowledged yet.
func (p *publisher) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unsure
}

func (p *publisher) run(ctx context.Context) {
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.ended {
			p.more.Wait()
		}
		if p.ended {
			p.mu.Unlock()
			return
		}
		r := p.queue[0]
		p.queue = p.queue[1:]
		p.mu.Unlock()
		for !p.publish(ctx, r) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(20 * time.Millisecond): // until it is stored
			}
		}
		p.mu.Lock()
		p.unsure--
		p.mu.Unlock()
	}
}

// publish publishes r and reports whether the stream acknowledged it. The stream may have
// r although it did not.
func (p *publisher) publish(ctx context.Context, r request) bool {
	msg := nats.NewMsg(cmp.Or(r.subject, p.subject))
	maps.Copy(msg.Header, r.header)
	if !r.again {
		msg.Header.Set(nats.MsgIdHdr, r.OutTradeNo)
	}
	var err error
	if msg.Data, err = json.Marshal(r); err != nil {
		panic(err)
	}
	if r.empty {
		msg.Data = nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = p.js.PublishMsg(ctx, msg)
	return err == nil
}
