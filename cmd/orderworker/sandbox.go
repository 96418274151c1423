package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"orderworker/cmd/internal/config"
	"orderworker/upstream"
	"orderworker/upstream/sandbox"
)

// sandboxCmd is the simulated vendor as a program. It has flags only: a
// worker's UPSTREAM_SECRET must not become the sandbox's by accident.
type sandboxCmd struct {
	Addr               string          `name:"addr" default:"127.0.0.1:8480" help:"Where it listens."`
	Appkey             string          `name:"appkey" default:"sandbox" help:"The one account there is."`
	Secret             upstream.Secret `name:"secret" default:"sandbox-secret" help:"That account's secret; checks the signatures."`
	Rate               int             `name:"rate" default:"10" help:"Calls per sliding second, over both endpoints, before one is too many; 0 = no limit."`
	ThrottleAs         string          `name:"throttle-as" default:"http" help:"What a call over the rate is answered: http (HTTP 429) or code (HTTP 200); code 501 in both."`
	RetryAfter         time.Duration   `name:"retry-after" default:"0s" help:"Retry-After of HTTP 429, in whole seconds; 0s = no such header."`
	Latency            time.Duration   `name:"latency" default:"50ms" help:"From the arrival of a call to its execution."`
	Jitter             time.Duration   `name:"jitter" default:"0s" help:"Up to this much more."`
	LookupLag          time.Duration   `name:"lookup-lag" default:"0s" help:"A purchase shows in the lookup only when it is this old."`
	LookupShape        string          `name:"lookup-shape" default:"array" help:"The lookup's data: array or object."`
	LookupWithoutState string          `name:"lookup-without-state" default:"all" help:"What a lookup without a state asks for: all, 0 or error (it is refused)."`
	LookupMode         string          `name:"lookup-mode" placeholder:"MODE" help:"How the lookup's rows differ from honest ones, such as 'hide=*'; see above."`
	RefuseRepeats      string          `name:"refuse-repeats" placeholder:"CODE" help:"Refuse a repeated outTradeNo with this code, such as 503016; without it, it is bought again, so that buying twice shows."`
	Rule               []string        `name:"rule" sep:"none" placeholder:"RULE" help:"A fault, such as 'first=1 buy: hang'; may be given several times, the first that fits a call decides it; see above."`
	Seed               int             `name:"seed" default:"1" help:"Decides which calls a rule with a probability picks."`
}

// Help is what kong prints behind the flags.
func (*sandboxCmd) Help() string { return sandbox.Help }

// config returns c for package sandbox, and adds what is wrong to f.
func (c *sandboxCmd) config(f *config.Faults) sandbox.Config {
	rules, err := sandbox.ParseRules(strings.Join(c.Rule, "\n"))
	if err != nil {
		f.Add("--rule", "is wrong: %w", err)
	}
	mode, err := sandbox.ParseLookupMode(c.LookupMode)
	if err != nil {
		f.Add("--lookup-mode", "is wrong: %w", err)
	}
	return sandbox.Config{
		AppKey: c.Appkey, Secret: string(c.Secret),
		Rate: c.Rate, ThrottleAs: c.ThrottleAs, RetryAfter: c.RetryAfter,
		Latency: c.Latency, Jitter: c.Jitter,
		RefuseRepeats: c.RefuseRepeats,
		LookupLag:     c.LookupLag, LookupShape: c.LookupShape,
		LookupWithoutState: c.LookupWithoutState, LookupMode: mode,
		Rules: rules, Seed: uint64(c.Seed),
	}
}

// Check reports every wrong flag.
func (c *sandboxCmd) Check(f *config.Faults) {
	if err := config.CheckHostPort(c.Addr); err != nil {
		f.Add("--addr", "(%q) %w", c.Addr, err)
	}
	if c.Appkey == "" {
		f.Add("--appkey", "must not be empty")
	}
	if c.Secret == "" {
		f.Add("--secret", "must not be empty")
	}
	config.AtLeast(f, "--rate", c.Rate, 0, "")
	config.AtLeast(f, "--retry-after", c.RetryAfter, 0, "")
	config.AtLeast(f, "--latency", c.Latency, 0, "")
	config.AtLeast(f, "--jitter", c.Jitter, 0, "")
	config.AtLeast(f, "--lookup-lag", c.LookupLag, 0, "")
	config.OneOf(f, "--lookup-shape", c.LookupShape, sandbox.ShapeArray, sandbox.ShapeObject)
	config.OneOf(f, "--lookup-without-state", c.LookupWithoutState, sandbox.StateAll, sandbox.StateZero, sandbox.StateError)
	config.OneOf(f, "--throttle-as", c.ThrottleAs, sandbox.ThrottleAsHTTP, sandbox.ThrottleAsCode)
	config.AtLeast(f, "--seed", c.Seed, 0, "")
	cfg := c.config(f)
	if f.Err() == nil {
		if err := cfg.Validate(); err != nil {
			f.Add("sandbox", "cannot work so: %w", err)
		}
	}
}

// Run serves until soft ends, then prints what was bought.
func (c *sandboxCmd) Run(soft context.Context, std *std) error {
	listener, err := new(net.ListenConfig).Listen(soft, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("--addr (%q): %w", c.Addr, err)
	}
	vendor := sandbox.New(c.config(new(config.Faults)))
	base := "http://" + listener.Addr().String()
	fmt.Fprintf(std.out, "sandbox %s appkey %s book %s/book\n", base, c.Appkey, base)
	err = vendor.Serve(soft, listener)
	printBook(std.out, vendor.Book())
	return err
}

// printBook prints the sums of b, and every order that was bought twice.
func printBook(w io.Writer, b sandbox.Book) {
	fmt.Fprintf(w, "%d purchases for %d orders, %d of them bought more than once\n", b.Bought, len(b.PerOutTradeNo), len(b.Doubles))
	for _, no := range b.Doubles {
		fmt.Fprintf(w, "  %s: %d times\n", no, b.PerOutTradeNo[no])
	}
	fmt.Fprintf(w, "calls %d %s, %d %s, at most %d in a second\n",
		b.Calls[sandbox.EndpointOrder], sandbox.EndpointOrder, b.Calls[sandbox.EndpointLookup], sandbox.EndpointLookup, b.PeakPerSecond)
	fmt.Fprintf(w, "refused %s, throttled %d, faults %s\n", sums(b.Refused), b.Throttled, sums(b.Faults))
}

// sums lists counts by name: "a 1, b 2", or "none".
func sums(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
