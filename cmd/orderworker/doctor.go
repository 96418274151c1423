package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"

	"orderworker/cmd/internal/config"
	"orderworker/cmd/internal/connect"
	"orderworker/cmd/internal/doctor"
	"orderworker/cmd/internal/telemetry"
	"orderworker/upstream"
	"orderworker/worker"
)

type doctorCmd struct {
	Known        string        `name:"known" placeholder:"OUT_TRADE_NO" help:"An order that was bought: measure which form of the vendor's lookup shows it (5 lookups)."`
	BadSignature bool          `name:"bad-signature" help:"Sign one lookup wrongly, to learn the code that means it."`
	JSON         bool          `name:"json" help:"One JSON object instead of a table."`
	Timeout      time.Duration `name:"timeout" default:"15s" help:"How long all checks may take together."`
	config.Settings
}

// Help is what the command's help says first.
func (doctorCmd) Help() string {
	return `Checks the settings, NATS (version, permissions, streams, consumer), Redis (version, permissions, eviction, persistence), the clocks, the way to the vendor, and whether the vendor accepts the account. Prints one table: what was checked, the result (ok, warning or failed), and what to do. It changes nothing, and it never buys; each lookup takes a slot of the account's quota.

--known NO, an order that was bought, says which UPSTREAM_LOOKUP_STATES finds it. --bad-signature says which code belongs into UPSTREAM_ACCOUNT_CODES.

The settings are those of the worker, as variables or flags: see orderworker run --help.

Exit status 0: nothing failed (there may be warnings); 1: something failed; 2: wrong usage or settings.

    orderworker doctor
    orderworker doctor --known 630000198311142676 --bad-signature
    orderworker doctor --json | jq '.checks[] | select(.result != "ok")'`
}

// BeforeReset hides the settings, which would fill three screens: they are still
// read.
func (c *doctorCmd) BeforeReset(command *kong.Path) error {
	for _, flag := range command.Flags {
		flag.Hidden = flag.Hidden || len(flag.Envs) > 0
	}
	return nil
}

// check looks at every setting, as that of run does.
func (c *doctorCmd) Check(f *config.Faults) {
	c.Settings.Check(f)
	telemetry.CheckTraces(f, os.Getenv)
	config.Positive(f, "--timeout", c.Timeout)
	if c.Known == "" {
		return
	}
	payload, err := json.Marshal(map[string]string{"outTradeNo": c.Known})
	if o, _ := worker.DecodeOrder(payload); err != nil || o.OutTradeNo == "" {
		f.Add("--known", "(%q) must be 1 to 32 printable ASCII characters without space or comma", c.Known)
	}
}

// Run makes the checks and prints them.
func (c *doctorCmd) Run(soft context.Context, std *std) error {
	rdb, err := connect.Redis(&c.Settings, nil)
	if err != nil {
		return err
	}
	defer connect.CloseRedis(rdb)
	right, err := connect.Vendor(&c.Settings)
	if err != nil {
		return err
	}
	defer right.Close()
	wrong, err := c.wrongVendor()
	if err != nil {
		return err
	}
	defer wrong.Close()
	base, err := url.Parse(c.UpstreamURL)
	if err != nil {
		return err // it was good when the settings were checked
	}
	states, err := c.LookupStates()
	if err != nil {
		return err
	}
	d := doctor.Deployment{
		Timeout: c.Timeout, Settings: notes(&c.Settings), NATS: c.nats(),
		Redis: doctor.Redis{Client: rdb, Policy: connect.EvictionPolicy, Keys: []string{connect.ProbeKey(c.OrdersStream), "quota:{orderworker asks whether it may write}"}},
		Vendor: doctor.Vendor{
			Base: base, Codes: c.Codes(), States: states, Rate: c.UpstreamRate, Known: c.Known,
			Quota:   connect.Quota(&c.Settings, rdb),
			Connect: asking(right),
		},
	}
	if c.BadSignature {
		d.Vendor.ConnectWrong = asking(wrong)
	}
	report := doctor.Run(soft, d)
	if c.JSON {
		err = printJSON(std.out, report)
	} else {
		err = printReport(std.out, report)
	}
	if err == nil && !report.OK {
		return exitStatus(statusFailed)
	}
	return err
}

// wrongVendor signs with a secret that has nothing to do with the account's: what
// leaves so says nothing about that one.
func (c *doctorCmd) wrongVendor() (*upstream.Client, error) {
	s := c.Settings
	s.UpstreamSecret = upstream.Secret(rand.Text())
	return connect.Vendor(&s)
}

// askingLine is a line without Place: the doctor cannot buy.
type askingLine struct{ line *upstream.Line }

func (l askingLine) Ready() bool { return l.line.Ready() }
func (l askingLine) Release()    { l.line.Release() }
func (l askingLine) Lookup(ctx context.Context, q upstream.Question, sendBy time.Time) (upstream.Page, error) {
	return l.line.Lookup(ctx, q, sendBy)
}

// asking connects to the vendor for questions only.
func asking(client *upstream.Client) func(context.Context) (doctor.Line, error) {
	return func(ctx context.Context) (doctor.Line, error) {
		line, err := client.Connect(ctx)
		if err != nil {
			return nil, err
		}
		return askingLine{line}, nil
	}
}

// notes is what the settings say, which are all valid.
func notes(s *config.Settings) []doctor.Finding {
	notes := []doctor.Finding{{Check: "settings", Result: doctor.OK, Detail: "all are valid"}}
	warn := func(bad bool, detail, cure string) {
		if bad {
			notes = append(notes, doctor.Finding{Check: "settings", Result: doctor.Warning, Detail: detail, Cure: cure})
		}
	}
	warn(s.AllowLossyStreams, "ALLOW_LOSSY_STREAMS=true: streams that can drop an order are put up with", "mend the streams, and turn it off")
	warn(s.UpstreamReconcile == "resend", "UPSTREAM_RECONCILE=resend: an order in doubt is sent again", "make sure that the vendor refuses a repeated outTradeNo")
	return notes
}

// nats is what the worker uses in NATS.
func (c *doctorCmd) nats() doctor.NATS {
	s := &c.Settings
	names := connect.Streams(s)
	journal := s.JournalStream
	if s.JournalTTL == 0 {
		journal = ""
	}
	return doctor.NATS{
		Connect: func(ctx context.Context, denied func(error)) (*nats.Conn, error) { return dialOnce(ctx, s, denied) },
		Streams: []doctor.Stream{
			{Row: "orders stream", Name: s.OrdersStream, Audit: names.Audit},
			{Row: "results stream", Name: s.ResultsStream, Audit: names.Audit},
			{Row: "dead letters stream", Name: s.DeadStream, Audit: names.Audit},
			{Row: "journal stream", Name: journal, Audit: names.Audit},
		},
		Consumer: s.OrdersConsumer, AuditConsumer: names.AuditConsumer,
		Tolerant: s.AllowLossyStreams, Publishes: publishes(s),
	}
}

// publishes are the subjects that a worker publishes to where the streams exist.
// The users of deploy/nats have these permissions.
func publishes(s *config.Settings) []string {
	const info, get = "$JS.API.STREAM.INFO.", "$JS.API.STREAM.MSG.GET."
	consumer := s.OrdersStream + "." + s.OrdersConsumer
	subjects := []string{
		info + s.OrdersStream, "$JS.API.CONSUMER.INFO." + consumer, "$JS.API.CONSUMER.MSG.NEXT." + consumer, "$JS.ACK." + consumer + ".>",
		info + s.ResultsStream, get + s.ResultsStream,
	}
	for _, status := range []worker.Status{worker.Succeeded, worker.Failed, worker.Rejected, worker.InDoubt} {
		subjects = append(subjects, s.ResultsSubject+"."+string(status)+".*")
	}
	subjects = append(subjects, info+s.DeadStream, s.DeadSubject)
	if s.JournalTTL != 0 {
		subjects = append(subjects, info+s.JournalStream, get+s.JournalStream, s.JournalSubject+".*")
	}
	return subjects
}

// dialOnce connects to NATS, and ends with the first failure.
func dialOnce(ctx context.Context, s *config.Settings, denied func(error)) (*nats.Conn, error) {
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	return connect.TryNATS(ctx, s, failed, denied)
}

// printReport writes the table: what was checked, the result, what was found; and
// below it what to do.
func printReport(out io.Writer, r doctor.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	counts := map[doctor.Result]int{}
	fmt.Fprintln(w, "CHECK\tRESULT\tFOUND, AND WHAT TO DO")
	for _, f := range r.Checks {
		counts[f.Result]++
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Check, f.Result, f.Detail)
		if f.Cure != "" {
			fmt.Fprintf(w, "\t\t-> %s\n", f.Cure)
		}
	}
	fmt.Fprintf(w, "\n%d ok, %d warning, %d failed\n", counts[doctor.OK], counts[doctor.Warning], counts[doctor.Failed])
	return w.Flush()
}
