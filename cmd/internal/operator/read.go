package operator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
	"orderworker/worker/natsio"
)

const (
	// readers is how many reads of a stream are under way at once.
	readers = 32

	// MaxScan is how many messages of a stream one list reads. What there is beyond that
	// is said, not read.
	MaxScan = 20_000

	// firstWindow is how many sequences of a stream are read first, from its end.
	firstWindow = 1024
)

// info returns the state of a stream.
func (d *Desk) info(ctx context.Context, stream string) (info *jetstream.StreamInfo, err error) {
	err = d.about(ctx, stream, func(ctx context.Context, l *link) error {
		s, err := l.js.Stream(ctx, stream)
		if err == nil {
			info = s.CachedInfo()
		}
		return err
	})
	return info, err
}

// walk calls take with the messages of a subject in the sequences first to last of a
// stream, in any order and never two at once. It skips gaps. A message whose headers
// cannot be read comes without them.
func (d *Desk) walk(ctx context.Context, stream, subject string, first, last uint64, take func(natsio.Stored)) error {
	if first > last || last == 0 {
		return nil
	}
	first = max(first, 1)
	return d.about(ctx, stream, func(ctx context.Context, l *link) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var (
			mu     sync.Mutex
			failed error
			all    sync.WaitGroup
		)
		step := max((last-first+1+readers-1)/readers, 1)
		for low := first; low <= last; low += step {
			all.Go(func() {
				high := min(low+step-1, last)
				for seq := low; seq <= high; {
					m, found, err := natsio.ReadLeader(ctx, l.js, stream, natsio.Get{Seq: seq, NextFor: subject})
					mu.Lock()
					switch {
					case err != nil && !errors.Is(err, natsio.ErrHeader):
						if failed == nil {
							failed = err
						}
						cancel()
						mu.Unlock()
						return
					case !found || m.Seq > high:
						mu.Unlock()
						return
					}
					take(m)
					mu.Unlock()
					seq = m.Seq + 1
				}
			})
			if low+step < low { // the highest sequences there are
				break
			}
		}
		all.Wait()
		return failed
	})
}

// newest calls take with the messages of a subject up to the sequence last, window by
// window from the newest to the oldest, until enough says so after a window or most were
// read. It reports whether it came to the first message.
func (d *Desk) newest(ctx context.Context, stream, subject string, first, last uint64, most int, take func(natsio.Stored), enough func() bool) (whole bool, err error) {
	read := 0
	for window := uint64(firstWindow); last >= first && last > 0; window *= 2 {
		low := first
		if last-first >= window {
			low = last - window + 1
		}
		before := read
		if err := d.walk(ctx, stream, subject, low, last, func(m natsio.Stored) { read++; take(m) }); err != nil {
			return false, err
		}
		if low == first {
			return true, nil
		}
		last = low - 1
		if enough() || read >= most {
			return false, nil
		}
		if read-before > firstWindow { // dense: a window is as long as its messages take
			window = firstWindow
		}
	}
	return true, nil
}

// Request is an order request in its stream.
type Request struct {
	worker.Order
	Seq      uint64
	Received time.Time
	Invalid  error // why it is none; then the fields of Order may be missing
}

func requestIn(m natsio.Stored) Request {
	o, err := worker.DecodeOrder(m.Data)
	return Request{Order: o, Seq: m.Seq, Received: m.Time, Invalid: err}
}

// consumerInfo returns the state of the consumer of the orders.
func (d *Desk) consumerInfo(ctx context.Context) (info *jetstream.ConsumerInfo, err error) {
	err = d.about(ctx, d.OrdersStream, func(ctx context.Context, l *link) error {
		c, err := l.js.Consumer(ctx, d.OrdersStream, d.OrdersConsumer)
		if err == nil {
			info = c.CachedInfo()
		}
		return err
	})
	return info, err
}

// events calls take with the newest events of subjects, oldest first, most at most. It
// makes a consumer, which ends by itself. It returns how many older ones there are.
func (d *Desk) events(ctx context.Context, subjects []string, most int, take func(natsio.Stored)) (older uint64, err error) {
	info, err := d.info(ctx, d.ResultsStream)
	if err != nil {
		return 0, err
	}
	err = d.about(ctx, d.ResultsStream, func(ctx context.Context, l *link) error {
		older, err = d.eventsFrom(ctx, l, info, subjects, uint64(most), take)
		return err
	})
	return older, err
}

// eventsFrom is events. The consumer's count of what is left tells how many events there
// are from a sequence on, so that the place where the newest begin is found by halves.
func (d *Desk) eventsFrom(ctx context.Context, l *link, info *jetstream.StreamInfo, subjects []string, most uint64, take func(natsio.Stored)) (older uint64, err error) {
	config := jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 10 * time.Second, Replicas: 1,
		FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 1,
	}
	consumer, err := l.js.CreateConsumer(ctx, d.ResultsStream, config)
	if err != nil {
		return 0, err
	}
	all := consumer.CachedInfo().NumPending
	count := all
	if count > most { // guess where the newest begin, and look again until the guess is good
		low, high := max(info.State.FirstSeq, 1), info.State.LastSeq
		for tries := 0; tries < 12 && high > low && (count > 2*most || count < most); tries++ {
			middle := low + (high-low)/2
			config.OptStartSeq = middle
			next, err := l.js.CreateConsumer(ctx, d.ResultsStream, config)
			if err != nil {
				return 0, err
			}
			if n := next.CachedInfo().NumPending; n >= most {
				low, consumer, count = middle, next, n
			} else {
				high = middle
			}
		}
	}
	older = all - min(all, most)
	return older, fetch(ctx, consumer, count, min(count, most), take)
}

// fetch calls take with the last of count messages that a consumer has.
func fetch(ctx context.Context, consumer jetstream.Consumer, count, last uint64, take func(natsio.Stored)) error {
	for got := uint64(0); got < count; {
		batch, err := consumer.Fetch(int(min(count-got, 2000)), jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			return err
		}
		some := false
		for m := range batch.Messages() {
			some = true
			got++
			if count-got >= last {
				continue
			}
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			take(natsio.Stored{Subject: m.Subject(), Seq: meta.Sequence.Stream, Header: m.Headers(), Data: m.Data(), Time: meta.Timestamp})
		}
		switch {
		case batch.Error() != nil:
			return batch.Error()
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !some: // they have aged out meanwhile
			return nil
		}
	}
	return nil
}
