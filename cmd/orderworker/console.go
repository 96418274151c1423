package main

import (
	"context"
	"strings"

	"github.com/alecthomas/kong"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/console"
	"orderworker/cmd/internal/telemetry"
	"orderworker/upstream"
)

type consoleCmd struct {
	Addr      string          `name:"addr" default:"127.0.0.1:8081" placeholder:"HOST:PORT" help:"Where it listens."`
	Prefix    string          `name:"prefix" placeholder:"/PATH" help:"What stands before its paths behind a proxy, such as /orderworker."`
	Host      []string        `name:"host" placeholder:"NAME" help:"A name by which browsers reach it; may be given several times. With any, the console answers only to these, localhost and addresses; without, to every name, unless it listens on loopback."`
	Token     upstream.Secret `name:"console-token" env:"CONSOLE_TOKEN" placeholder:"TOKEN" help:"What operators give to change something; without it the console is read-only. A flag can be seen in the process list."`
	TokenFile string          `name:"console-token-file" env:"CONSOLE_TOKEN_FILE" placeholder:"FILE" help:"File that holds the token; a newline at its end is not part of it."`
	config.Settings
}

// consoleSettings are the settings of other groups that the console reads.
var consoleSettings = append([]string{"CONSOLE_TOKEN", "CONSOLE_TOKEN_FILE", "LOG_LEVEL", "LOG_FORMAT"}, deskSettings...)

// BeforeReset hides the settings; the help has them in one paragraph.
func (c *consoleCmd) BeforeReset(command *kong.Path) error {
	config.Narrow(command, consoleSettings...)
	for _, flag := range command.Flags {
		flag.Hidden = flag.Hidden || len(flag.Envs) > 0 && !strings.HasPrefix(flag.Name, "console-")
	}
	return nil
}

// Help is what the command's help says first.
func (consoleCmd) Help() string {
	return `Serves the operator's desk as web pages: how the deployment fares, every order and its timeline, orders in doubt, dead letters, pause and resume. Each page's data as JSON is at /api and the page's path (/api/overview for /).

Reading needs no token: let only those reach it who may read. Changing something needs CONSOLE_TOKEN, in the login form or as Authorization: Bearer; each change asks first and writes one log line.

` + config.Folded(consoleSettings...)
}

// Check reports what is wrong with what the command uses.
func (c *consoleCmd) Check(f *config.Faults) {
	c.CheckServers(f)
	config.Positive(f, "UPSTREAM_TIMEOUT", c.UpstreamTimeout)
	c.CheckPolicy(f)
	config.AtLeast(f, "MAX_ATTEMPTS", c.MaxAttempts, 1, "")
	config.OneOf(f, "LOG_LEVEL", c.LogLevel, "debug", "info", "warn", "error")
	config.OneOf(f, "LOG_FORMAT", c.LogFormat, "auto", "json", "console")
	if err := config.CheckHostPort(c.Addr); err != nil {
		f.Add("--addr", "(%q) %w", c.Addr, err)
	}
	c.Prefix = strings.TrimRight(c.Prefix, "/")
	if c.Prefix != "" && (!strings.HasPrefix(c.Prefix, "/") || strings.Contains(c.Prefix, "//") || strings.ContainsFunc(c.Prefix, func(r rune) bool {
		return !strings.ContainsRune("/-_.~", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})) {
		f.Add("--prefix", "(%q) must be a path such as /orderworker, of letters, digits and - _ . ~", c.Prefix)
	}
	if err := console.CheckPrefix(c.Prefix); err != nil {
		f.Add("--prefix", "(%q) %w", c.Prefix, err)
	}
	for i := range c.Host {
		c.Host[i] = strings.ToLower(c.Host[i])
	}
	token, err := config.SecretIn("CONSOLE_TOKEN", string(c.Token), c.TokenFile)
	if err != nil {
		f.Add("CONSOLE_TOKEN_FILE", "%w", err)
	}
	c.Token = upstream.Secret(token)
}

// Run serves the console until soft ends.
func (c *consoleCmd) Run(soft context.Context, std *std) error {
	log := telemetry.NewLogger(c.LogLevel, c.LogFormat, std.err)
	if n := len(c.Token); n > 0 && n < 16 {
		log.Warn().Msg("CONSOLE_TOKEN is short: whoever reaches the console could guess it; 16 random characters cannot be guessed")
	}
	return console.Run(soft, console.Config{Addr: c.Addr, Prefix: c.Prefix, Token: string(c.Token), Hosts: c.Host}, &c.Settings, log)
}
