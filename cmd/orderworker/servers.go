package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
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
	if v.rdb, err = connect.Redis(s, nil); err != nil {
		v.close()
		return nil, err
	}
	v.store = dedupe.New(dedupe.NewRedis(v.rdb, s.OrdersStream), connect.Journal(s, v.js, v.rdb), nil, dedupe.Config{FinalTTL: s.DedupeTTL})
	return v, nil
}

// dialNATS connects to NATS. Where ctx ends first, the error is the last failure.
func dialNATS(ctx context.Context, s *config.Settings) (*nats.Conn, error) {
	var last atomic.Pointer[error]
	failed := func(err error) { last.Store(&err) }
	nc, err := connect.TryNATS(ctx, s, failed, failed)
	switch reason := last.Load(); {
	case err == nil || ctx.Err() == nil:
		return nc, err
	case reason != nil:
		return nil, *reason
	default:
		return nil, errors.New("not connected yet")
	}
}

func (v *servers) close() {
	v.nc.Close()
	if v.rdb != nil {
		connect.CloseRedis(v.rdb)
	}
}
