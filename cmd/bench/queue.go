package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// outTradeNo is the number of the n-th order, as long as those of the vendor's
// reference.
func outTradeNo(n int) string { return fmt.Sprintf("63%016d", n) }

// order is the n-th request, as publishers should send it.
func order(n int) *nats.Msg {
	msg := nats.NewMsg(streams().OrdersSubject)
	msg.Header.Set(nats.MsgIdHdr, outTradeNo(n))
	msg.Data = fmt.Appendf(nil, `{"outTradeNo":"%s","iccid":"8988308650100524999","packageCode":"CN-5M-7D-C-US-20230103AC4BF927"}`, outTradeNo(n))
	return msg
}

// fill stores n requests, and returns when the stream has them.
func (s *site) fill(ctx context.Context, n int) error {
	for i := range n {
		if _, err := s.js.PublishMsgAsync(order(i), jetstream.WithStallWait(startTimeout)); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return s.stored(ctx, n)
}

// stored waits until all that was published is stored, n requests ever.
func (s *site) stored(ctx context.Context, n int) error {
	select {
	case <-s.js.PublishAsyncComplete():
	case <-time.After(startTimeout):
		return fmt.Errorf("publish: %d requests are not acknowledged", s.js.PublishAsyncPending())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	info, err := s.orders.Info(ctx)
	if err != nil {
		return err
	}
	if info.State.LastSeq != uint64(n) {
		return fmt.Errorf("publish: %d of %d requests were stored", info.State.LastSeq, n)
	}
	return nil
}

// pace publishes n requests, perSecond of them in each, and returns when each
// left. It keeps to the plan: after a pause it catches up.
func (s *site) pace(ctx context.Context, n, perSecond int) ([]time.Time, error) {
	sent := make([]time.Time, n)
	begun := time.Now()
	for i := range n {
		due := begun.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		msg := order(i)
		sent[i] = time.Now()
		if _, err := s.js.PublishMsgAsync(msg); err != nil {
			return nil, fmt.Errorf("publish: %w", err)
		}
	}
	return sent, s.stored(ctx, n)
}

// latencies are the times from each request's leaving to its result being
// stored, by the server's clock, which is ours.
func (s *site) latencies(ctx context.Context, sent []time.Time) ([]time.Duration, error) {
	took := make([]time.Duration, len(sent))
	for seq := 1; seq <= len(sent); seq++ {
		msg, err := s.results.GetMsg(ctx, uint64(seq))
		if err != nil {
			return nil, fmt.Errorf("read result %d: %w", seq, err)
		}
		id := msg.Header.Get(nats.MsgIdHdr)
		var no string
		if _, err := fmt.Sscanf(id, "63%16s.succeeded", &no); err != nil {
			return nil, fmt.Errorf("result %d has the message id %q", seq, id)
		}
		n, err := strconv.Atoi(no)
		if err != nil || n < 0 || n >= len(sent) {
			return nil, fmt.Errorf("result %d has the message id %q", seq, id)
		}
		took[n] = msg.Time.Sub(sent[n])
	}
	return took, nil
}

// storedAt is when the n-th result (from 1) was stored.
func (s *site) storedAt(ctx context.Context, n int) (time.Time, error) {
	msg, err := s.results.GetMsg(ctx, uint64(n))
	if err != nil {
		return time.Time{}, fmt.Errorf("read result %d: %w", n, err)
	}
	return msg.Time, nil
}

// rate is how many results per second were stored between the first one and the
// last; both count from 1.
func (s *site) rate(ctx context.Context, first, last int) (float64, error) {
	begun, err := s.storedAt(ctx, first)
	if err != nil {
		return 0, err
	}
	ended, err := s.storedAt(ctx, last)
	if err != nil {
		return 0, err
	}
	return float64(last-first) / ended.Sub(begun).Seconds(), nil
}
