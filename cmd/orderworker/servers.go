package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"orderworker/cmd/internal/config"
	"orderworker/dedupe"
	"orderworker/worker"
)

// orderCmd is what the commands about one order have in common.
type orderCmd struct {
	OutTradeNo string        `arg:"" name:"OUT_TRADE_NO" help:"The order's outTradeNo."`
	Timeout    time.Duration `name:"timeout" default:"10s" help:"How long to wait for the servers before giving up."`
	config.Settings
}

// narrow leaves a command the settings that it takes to find the servers and
// the streams, and of the vendor's those that are named: the others are neither
// in its help nor read from the environment. They keep their defaults.
func narrow(command *kong.Path, vendor ...string) {
	for _, flag := range command.Flags {
		if flag.Group == nil || len(flag.Envs) == 0 {
			continue
		}
		name := flag.Envs[0]
		used := slices.Contains([]string{"NATS", "Streams", "Redis"}, flag.Group.Key) || slices.Contains(vendor, name)
		if !used || name == "NATS_REPLICAS" || name == "ALLOW_LOSSY_STREAMS" {
			flag.Hidden, flag.Envs = true, nil
		}
	}
}

// check reports what is wrong with what every such command uses.
func (c *orderCmd) Check(f *config.Faults) {
	payload, err := json.Marshal(map[string]string{"outTradeNo": c.OutTradeNo})
	if o, _ := worker.DecodeOrder(payload); err != nil || o.OutTradeNo == "" {
		f.Add("OUT_TRADE_NO", "(%q) must be 1 to 32 printable ASCII characters without space or comma", c.OutTradeNo)
	}
	config.Positive(f, "--timeout", c.Timeout)
	c.CheckServers(f)
	config.Positive(f, "UPSTREAM_TIMEOUT", c.UpstreamTimeout)
}

// within limits ctx to --timeout.
func (c *orderCmd) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.Timeout)
}

// failed is err in one line, for what could not be done within ctx.
func (c *orderCmd) failed(ctx context.Context, what string, err error) error {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("%s %s: gave up after --timeout %v: %s", what, c.OutTradeNo, c.Timeout, text)
	}
	return fmt.Errorf("%s %s: %s", what, c.OutTradeNo, text)
}

// servers is NATS and Redis, for a command that looks at an order and leaves.
type servers struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	rdb   redis.UniversalClient
	store *dedupe.Store
}

// reachServers connects to NATS, until ctx ends. Nothing is made there; Redis
// is not asked yet.
func reachServers(ctx context.Context, s *config.Settings) (*servers, error) {
	nc, err := dialNATS(ctx, s)
	if err != nil {
		return nil, err
	}
	v := &servers{nc: nc}
	if v.js, err = jetstream.New(nc); err != nil {
		v.close()
		return nil, err
	}
	if v.rdb, err = connectRedis(s, nil); err != nil {
		v.close()
		return nil, err
	}
	journal := dedupe.NewJetStreamJournal(v.js, s.JournalStream, s.JournalSubject, s.JournalTTL)
	if s.JournalTTL == 0 {
		journal = dedupe.NewRedisJournal(v.rdb, s.OrdersStream, s.DedupeTTL)
	}
	v.store = dedupe.New(dedupe.NewRedis(v.rdb, s.OrdersStream), journal, nil, dedupe.Config{FinalTTL: s.DedupeTTL})
	return v, nil
}

// dialNATS is connectNATS that ends when ctx does, where a server accepts and
// says nothing too, with the last reason.
func dialNATS(ctx context.Context, s *config.Settings) (*nats.Conn, error) {
	type dialled struct {
		nc  *nats.Conn
		err error
	}
	var last gate
	done := make(chan dialled, 1)
	go func() {
		nc, err := connectNATS(ctx, s, zerolog.Nop(), last.fail, last.fail)
		if ctx.Err() != nil && nc != nil {
			nc.Close() // nobody waits for it any more
			nc, err = nil, ctx.Err()
		}
		done <- dialled{nc, err}
	}()
	select {
	case d := <-done:
		if d.err != nil && ctx.Err() != nil {
			return nil, last.check(ctx)
		}
		return d.nc, d.err
	case <-ctx.Done():
		return nil, last.check(ctx) // the dial under way ends by its own time-out
	}
}

func (v *servers) close() {
	v.nc.Close()
	if v.rdb != nil {
		closeRedis(v.rdb)
	}
}
