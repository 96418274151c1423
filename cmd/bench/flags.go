package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// options is how the load can be changed.
type options struct {
	runs            int
	orders          int
	latency         time.Duration
	concurrency     int
	wideConcurrency int
	perSecond       int
	lowPerSecond    int
	paced           time.Duration
	idle            time.Duration

	long       bool
	longQueue  int
	shortQueue int
	processes  int

	only     []string
	worker   string
	against  string
	env      []string
	logLevel string
	profile  string
	dir      string
}

// errUsage says that the flags are wrong; what is wrong has been printed.
var errUsage = errors.New("wrong usage")

// parts are what -only may name.
var parts = []string{"fast", "slow", "steady", "low", "idle", "queue", "fleet"}

func readOptions(args []string, complain io.Writer) (*options, error) {
	o := new(options)
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(complain)
	f.IntVar(&o.runs, "runs", 5, "how often each side is measured")
	f.IntVar(&o.orders, "orders", 30_000, "orders in the queue")
	f.DurationVar(&o.latency, "latency", 20*time.Millisecond, "of the vendor, where it has one")
	f.IntVar(&o.concurrency, "concurrency", 256, "orders in progress at once")
	f.IntVar(&o.wideConcurrency, "wide-concurrency", 512, "the same for the parts slow and queue")
	f.IntVar(&o.perSecond, "rate", 200, "orders per second in the part steady")
	f.IntVar(&o.lowPerSecond, "low-rate", 10, "orders per second in the part low")
	f.DurationVar(&o.paced, "paced", 20*time.Second, "how long the parts steady and low last")
	f.DurationVar(&o.idle, "idle", 10*time.Second, "how long nothing is to be done in the part idle")
	f.BoolVar(&o.long, "long", false, "the parts queue (a long one beside a short one, and peak memory) and fleet (several processes beside one), in place of the others")
	f.IntVar(&o.longQueue, "long-queue", 1_000_000, "orders in the long queue")
	f.IntVar(&o.shortQueue, "short-queue", 10_000, "orders in the short queue")
	f.IntVar(&o.processes, "processes", 3, "processes beside one")
	f.Func("only", "these `parts` only, comma-separated: "+strings.Join(parts, ", "), func(text string) error {
		for part := range strings.SplitSeq(text, ",") {
			if !slices.Contains(parts, part) {
				return fmt.Errorf("there is no part %q", part)
			}
			o.only = append(o.only, part)
		}
		return nil
	})
	f.StringVar(&o.worker, "worker", "", "`file` of a built orderworker; it is built if there is none")
	f.StringVar(&o.against, "against", "", "`file` of another built orderworker, to be measured in place of the bare loop, without what -env adds")
	f.Func("env", "a further `NAME=VALUE` in the worker's environment, such as GOGC=50; may be repeated", func(text string) error {
		if !strings.Contains(text, "=") {
			return errors.New("no = in it")
		}
		o.env = append(o.env, text)
		return nil
	})
	f.StringVar(&o.logLevel, "log-level", "error", "of the worker: info is its default, and writes a line for each order to a file")
	f.StringVar(&o.profile, "profile", "", "`directory` for CPU profiles of the worker; they cost it some CPU time")
	f.StringVar(&o.dir, "dir", "", "`directory` for the servers' files, in place of the system's for temporary ones")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errUsage
	}
	counts := map[string]int{"runs": o.runs, "orders": o.orders / minOrders, "concurrency": o.concurrency, "wide-concurrency": o.wideConcurrency,
		"rate": o.perSecond, "low-rate": o.lowPerSecond, "paced": o.pacedOrders(min(o.perSecond, o.lowPerSecond)) / minOrders,
		"idle": int(o.idle / time.Millisecond), "long-queue": o.longQueue / max(o.shortQueue, 1),
		"short-queue": o.shortQueue / minOrders, "processes": o.processes}
	for name, n := range counts {
		if n < 1 {
			fmt.Fprintf(complain, "-%s is too small\n", name)
			return nil, errUsage
		}
	}
	if f.NArg() > 0 {
		fmt.Fprintf(complain, "%q is not a flag\n", f.Arg(0))
		return nil, errUsage
	}
	return o, nil
}

// pacedOrders is how many orders a paced load has.
func (o *options) pacedOrders(perSecond int) int { return int(o.paced.Seconds() * float64(perSecond)) }

// minOrders is the smallest load: with fewer, nothing is left when the first
// are not counted.
const minOrders = 40

// conditions says under which circumstances the worker was measured.
func (o *options) conditions(dir string) string {
	env := ""
	if len(o.env) > 0 {
		env = ", " + strings.Join(o.env, " ")
	}
	return fmt.Sprintf("orderworker run: UPSTREAM_RATE=0 LOG_LEVEL=%s%s, all else default, journal on; nats-server: R1, file storage, sync_interval 2m;\n"+
		"redis-server: appendonly yes, everysec; all on this machine, files in %s", o.logLevel, env, dir)
}
