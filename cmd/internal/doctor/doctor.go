package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	"orderworker/worker"
)

// Result is how a check ended.
type Result string

// The results. Only Failed makes a report bad.
const (
	OK      Result = "ok"
	Warning Result = "warning"
	Failed  Result = "failed"
)

// Finding is one row of the report. The names in JSON are part of the command's
// interface: contract, section 10.
type Finding struct {
	Check  string `json:"check"`
	Result Result `json:"result"`
	Detail string `json:"detail"`
	Cure   string `json:"cure"` // what to do; empty where there is nothing to do
}

// Report is all findings, in the order of the table.
type Report struct {
	Checks []Finding `json:"checks"`
	OK     bool      `json:"ok"` // nothing failed
}

// Print writes the report as a table: what was checked, the result, what was found,
// and what to do.
func (r Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	counts := map[Result]int{}
	fmt.Fprintln(w, "CHECK\tRESULT\tFOUND, AND WHAT TO DO")
	for _, f := range r.Checks {
		counts[f.Result]++
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Check, f.Result, f.Detail)
		if f.Cure != "" {
			fmt.Fprintf(w, "\t\t-> %s\n", f.Cure)
		}
	}
	fmt.Fprintf(w, "\n%d ok, %d warning, %d failed\n", counts[OK], counts[Warning], counts[Failed])
	return w.Flush()
}

// check is one row of the table.
type check struct {
	name   string
	needed bool   // if it fails, the later checks of its area are not made
	cure   string // what to do if it does not end well, unless look says something else
	look   func(context.Context) Finding
}

// area is the checks of one server, one after another. Areas run at the same time.
type area struct {
	checks []check
	end    func() // called when all are done
}

// table returns all checks.
func (d *deployment) table() []area {
	n := &natsVisit{NATS: &d.NATS}
	r := &redisVisit{Redis: &d.Redis, patience: d.Timeout / 3, usable: newPromise()}
	v := &vendorVisit{Vendor: &d.Vendor, patience: d.Timeout / 3, redis: r.usable}
	streams := []check{
		{"nats", true, "start NATS, or correct NATS_URL and its credentials", n.connect},
		{"nats version", false, "upgrade nats-server to 2.12 or newer", n.version},
		{"nats permissions", false, "allow the user these subjects", n.permissions},
	}
	for i := range d.NATS.Streams {
		s := &d.NATS.Streams[i]
		streams = append(streams, check{s.Row, false, "edit the stream (nats stream edit), or make it anew where that is not enough", func(ctx context.Context) Finding { return n.stream(ctx, s) }})
	}
	streams = append(streams,
		check{"orders consumer", false, "edit the consumer (nats consumer edit), or delete it: the worker makes it anew", n.consumer},
		check{"nats clock", false, "set the clocks of this host and of NATS by NTP", n.clock})
	memory := []check{
		{"redis", true, "start Redis, or correct REDIS_URL", r.connect},
		{"redis permissions", false, "allow the user these commands on the keys of orders and quota", r.permissions},
		{"rate headroom", false, "find out who else calls with this account, or lower UPSTREAM_RATE", func(ctx context.Context) Finding {
			defer r.usable.keep(true) // not before: lookups take slots
			return v.headroom(ctx)
		}},
		{"redis eviction", false, "set maxmemory-policy noeviction on every node: an evicted order is forgotten", r.eviction},
		{"redis persistence", false, "turn on appendonly (or save): without it a restart forgets all orders in progress, which then have to be looked up", r.persistence},
		{"redis clock", false, "set the clocks of this host and of Redis by NTP", r.clock},
	}
	vendor := []check{
		{"vendor dns", true, "correct UPSTREAM_URL, or this host's DNS", v.resolve},
		{"vendor tcp", true, "let this host out to the vendor (firewall, routes)", v.dial},
		{"vendor tls", true, "find out who answers in the vendor's place, and check this host's certificates and clock", v.handshake},
		{"vendor round trip", false, "ask the vendor whether the API is up", v.roundTrip},
		{"vendor clock", false, "set this host's clock by NTP: requests are signed with its time", v.clock},
		{"vendor account", false, "check UPSTREAM_APPKEY, UPSTREAM_SECRET and the account with the vendor", v.account},
	}
	vendor = append(vendor, v.knownChecks()...)
	if d.Vendor.ConnectWrong != nil {
		vendor = append(vendor, check{"wrong signature", false, "ask again later", v.wrongSignature})
	}
	return []area{{streams, n.close}, {memory, func() { r.usable.keep(false) }}, {vendor, v.close}}
}

// run makes every check, within d.Timeout.
func (d *deployment) run(ctx context.Context) Report {
	ctx, cancel := context.WithTimeoutCause(ctx, d.Timeout, fmt.Errorf("gave up after --timeout %v", d.Timeout))
	defer cancel()
	areas := d.table()
	found := make([][]Finding, len(areas))
	var running sync.WaitGroup
	for i, a := range areas {
		running.Go(func() { found[i] = a.run(ctx) })
	}
	running.Wait()
	report := Report{OK: true}
	for _, findings := range append([][]Finding{d.Settings}, found...) {
		for _, f := range findings {
			f.Detail, f.Cure = printable(f.Detail), printable(f.Cure)
			report.Checks = append(report.Checks, f)
			report.OK = report.OK && f.Result != Failed
		}
	}
	return report
}

// run makes the checks of one area.
func (a area) run(ctx context.Context) []Finding {
	defer a.end()
	found := make([]Finding, 0, len(a.checks))
	missing := ""
	for _, c := range a.checks {
		var f Finding
		switch {
		case missing != "":
			f = Finding{Result: Failed, Detail: "not checked: " + missing + " failed", Cure: "first mend " + missing}
		case ctx.Err() != nil:
			f = failed("not checked: %v", context.Cause(ctx))
			f.Cure = "mend what failed before it, or give a longer --timeout"
		default:
			f = c.look(ctx)
		}
		f.Check = c.name
		if f.Result != OK && f.Cure == "" {
			f.Cure = c.cure
		}
		if c.needed && f.Result == Failed && missing == "" {
			missing = c.name
		}
		found = append(found, f)
	}
	return found
}

func fine(format string, args ...any) Finding {
	return Finding{Result: OK, Detail: fmt.Sprintf(format, args...)}
}

func warning(format string, args ...any) Finding {
	return Finding{Result: Warning, Detail: fmt.Sprintf(format, args...)}
}

func failed(format string, args ...any) Finding {
	return Finding{Result: Failed, Detail: fmt.Sprintf(format, args...)}
}

// but returns f with another cure than the table's.
func (f Finding) but(format string, args ...any) Finding {
	f.Cure = fmt.Sprintf(format, args...)
	return f
}

// because returns a failed finding with err as its detail, or with the cause of ctx if that
// has ended.
func because(ctx context.Context, err error) Finding {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return failed("%v: %v", cause, err)
	}
	return failed("%v", err)
}

// maxText is the most bytes of a detail or a cure.
const maxText = 1000

// printable returns s on one line and without control characters, since much of it comes
// from servers and is printed on a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "..."
	}
	return s
}

// skewed compares a server's clock with this host's, which was read before and after.
func skewed(server, before, after time.Time) Finding {
	apart := server.Sub(before.Add(after.Sub(before) / 2)).Abs().Round(time.Millisecond)
	if worker.Skew(before, server, after).Abs() > worker.MaxSkew {
		return failed("%v apart from this host's, at most %v are allowed", apart, worker.MaxSkew)
	}
	return fine("%v apart from this host's", apart)
}

// promise is a yes or no that one area finds out and another waits for.
type promise struct {
	once sync.Once
	done chan struct{}
	good bool
}

func newPromise() *promise { return &promise{done: make(chan struct{})} }

func (p *promise) keep(good bool) {
	p.once.Do(func() {
		p.good = good
		close(p.done)
	})
}

// wait returns what was found out, or false if ctx ends first.
func (p *promise) wait(ctx context.Context) bool {
	select {
	case <-p.done:
		return p.good
	case <-ctx.Done():
		return false
	}
}
