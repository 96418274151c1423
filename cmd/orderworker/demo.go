package main

import (
	"context"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/demo"
)

type demoCmd struct {
	Orders int `name:"orders" default:"240" help:"How many order requests to publish, duplicates and conflicts not counted."`
}

// Check reports a number of orders that makes no demo.
func (c *demoCmd) Check(f *config.Faults) {
	if c.Orders < 1 || c.Orders > 1000 {
		f.Add("--orders", "(%d) must be 1 to 1000: it has to end within a minute", c.Orders)
	}
}

// Run shows everything at work.
func (c *demoCmd) Run(soft context.Context, std *std) error {
	return demo.Run(soft, std.out, c.Orders)
}
