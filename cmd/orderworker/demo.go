package main

import (
	"context"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/demo"
)

type demoCmd struct {
	Orders  int    `name:"orders" default:"240" help:"How many order requests to publish, duplicates and conflicts not counted."`
	Serve   string `name:"serve" placeholder:"HOST:PORT" help:"Publish nothing: let NATS listen there, and keep everything running until Ctrl-C, to try other commands on."`
	Console string `name:"console" placeholder:"HOST:PORT" help:"Serve the console there, and keep everything running until Ctrl-C."`
}

// Check reports a number of orders that makes no demo.
func (c *demoCmd) Check(f *config.Faults) {
	if c.Orders < 1 || c.Orders > 1000 {
		f.Add("--orders", "(%d) must be 1 to 1000: it has to end within a minute", c.Orders)
	}
	for flag, addr := range map[string]string{"--serve": c.Serve, "--console": c.Console} {
		if addr == "" {
			continue
		}
		if err := config.CheckHostPort(addr); err != nil {
			f.Add(flag, "(%q) %w", addr, err)
		}
	}
}

// Run shows everything at work.
func (c *demoCmd) Run(soft context.Context, std *std) error {
	if c.Serve != "" {
		return demo.Serve(soft, std.out, c.Serve, c.Console)
	}
	return demo.Run(soft, std.out, c.Orders, c.Console)
}
