package main

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/operator"
	"orderworker/worker"
)

// orderCmd is what the commands about one order have in common.
type orderCmd struct {
	OutTradeNo string        `arg:"" name:"OUT_TRADE_NO" help:"The order's outTradeNo."`
	Timeout    time.Duration `name:"timeout" default:"10s" help:"How long to wait for the servers before giving up."`
	config.Settings
}

// narrow leaves a command the settings that name the servers and the streams, and
// the vendor's that are listed. The others are neither in its help nor read from the
// environment, and keep their defaults.
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

// Check reports what is wrong with what every such command uses.
func (c *orderCmd) Check(f *config.Faults) {
	payload, err := json.Marshal(map[string]string{"outTradeNo": c.OutTradeNo})
	if o, _ := worker.DecodeOrder(payload); err != nil || o.OutTradeNo == "" {
		f.Add("OUT_TRADE_NO", "(%q) must be 1 to 32 printable ASCII characters without space or comma", c.OutTradeNo)
	}
	config.Positive(f, "--timeout", c.Timeout)
	c.CheckServers(f)
	config.Positive(f, "UPSTREAM_TIMEOUT", c.UpstreamTimeout)
}

// order is what the operator asks about.
func (c *orderCmd) order() *operator.Order {
	return &operator.Order{OutTradeNo: c.OutTradeNo, Timeout: c.Timeout, Settings: &c.Settings}
}
