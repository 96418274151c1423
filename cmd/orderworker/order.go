package main

import (
	"encoding/json"
	"time"

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

// Check reports what is wrong with what every such command uses.
func (c *orderCmd) Check(f *config.Faults) {
	checkOutTradeNo(f, "OUT_TRADE_NO", c.OutTradeNo)
	config.Positive(f, "--timeout", c.Timeout)
	c.CheckServers(f)
	config.Positive(f, "UPSTREAM_TIMEOUT", c.UpstreamTimeout)
}

// order is what the operator asks about.
func (c *orderCmd) order() *operator.Order {
	return &operator.Order{OutTradeNo: c.OutTradeNo, Timeout: c.Timeout, Settings: &c.Settings}
}

// checkOutTradeNo reports a number that no order request can have.
func checkOutTradeNo(f *config.Faults, name, value string) {
	payload, err := json.Marshal(map[string]string{"outTradeNo": value})
	if o, _ := worker.DecodeOrder(payload); err != nil || o.OutTradeNo == "" {
		f.Add(name, "(%q) must be 1 to 32 printable ASCII characters without space or comma", value)
	}
}
