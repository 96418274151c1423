package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/nats-io/nats.go/jetstream"

	"orderworker/upstream/sandbox"
	"orderworker/worker"
)

// progress shows how far the demo is: one live line on a terminal, else a line
// every two seconds.
type progress struct {
	out   io.Writer
	live  bool
	began time.Time
	shown time.Time
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, began: time.Now()}
	if f, ok := out.(*os.File); ok {
		p.live = isatty.IsTerminal(f.Fd())
	}
	return p
}

func (p *progress) show(requests int, left, results uint64, bought int) {
	now := time.Now()
	if !p.live && now.Sub(p.shown) < 2*time.Second {
		return
	}
	p.shown = now
	line := fmt.Sprintf("%4.1fs  %d of %d requests done, %d bought, %d results", now.Sub(p.began).Seconds(), requests-int(left), requests, bought, results)
	if p.live {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(p.out, line)
	}
}

func (p *progress) end() {
	if p.live {
		fmt.Fprintln(p.out)
	}
}

// observed is what is in the streams at the end.
type observed struct {
	requestsLeft uint64
	crash        crash
	emptied      int // requests that were done when Redis was emptied
	events, dead []jetstream.Msg
}

// promise is a promise of the contract, and what broke it.
type promise struct {
	text   string
	broken []string
}

func (p *promise) fault(bad bool, format string, args ...any) {
	if bad {
		p.broken = append(p.broken, fmt.Sprintf(format, args...))
	}
}

// report is the table and the promises.
type report struct {
	rows     [][2]string
	promises []*promise

	twice, lost, truth, quota *promise // those promises

	final  map[string][]worker.Result // the final results, by order
	counts map[worker.Status]int      // of events
	times  []time.Duration            // from a request to its final result
	found  int                        // orders in doubt that the lookup found
	again  int                        // orders in doubt that were proved not bought and sent again
}

func newReport(plan *orderPlan, seen observed, book sandbox.Book, took time.Duration) *report {
	r := &report{final: map[string][]worker.Result{}, counts: map[worker.Status]int{}}
	r.twice = r.promise("never buy twice")
	r.lost = r.promise("never lose an order")
	r.truth = r.promise("one true final result per order")
	r.quota = r.promise("never exceed the account's quota")
	r.read(seen.events)
	r.checkOrders(plan, book)
	r.checkCounts(plan, seen, book)
	r.fill(plan, seen, book, took)
	return r
}

// read reads the events.
func (r *report) read(events []jetstream.Msg) {
	ids := map[string]bool{}
	for _, msg := range events {
		var e worker.Result
		if err := json.Unmarshal(msg.Data(), &e); err != nil {
			r.truth.fault(true, "a result cannot be read: %v", err)
			continue
		}
		r.counts[e.Status]++
		id := msg.Headers().Get("Nats-Msg-Id")
		r.truth.fault(ids[id], "the event %s came twice", id)
		ids[id] = true
		if e.Status != worker.Succeeded && e.Status != worker.Failed {
			continue
		}
		r.final[e.OutTradeNo] = append(r.final[e.OutTradeNo], e)
		r.times = append(r.times, e.CompletedAt.Sub(e.ReceivedAt.Time))
		if e.Reconciled {
			r.found++
		}
	}
}

// checkOrders compares each order's results with what was bought.
func (r *report) checkOrders(plan *orderPlan, book sandbox.Book) {
	purchase := map[string]sandbox.Purchase{}
	for _, p := range book.Purchases {
		purchase[p.OutTradeNo] = p
		_, asked := plan.orders[p.OutTradeNo]
		r.truth.fault(!asked, "%s was bought, and nobody asked for it", p.OutTradeNo)
	}
	for _, no := range book.Doubles {
		r.twice.fault(true, "%s was bought %d times", no, book.PerOutTradeNo[no])
	}
	r.twice.fault(len(book.Purchases) == 0, "nothing was bought at all")
	for no, kind := range plan.orders {
		ends := r.final[no]
		if kind.doubt && len(ends) > 0 && !ends[0].Reconciled {
			r.again++
		}
		r.lost.fault(len(ends) == 0, "%s has no result", no)
		r.truth.fault(len(ends) > 1, "%s has %d results", no, len(ends))
		p, bought := purchase[no]
		for _, e := range ends {
			r.truth.fault((e.Status == worker.Succeeded) != bought, "%s is %s, and bought: %v", no, e.Status, bought)
			r.truth.fault(bought && e.OrderNumber != p.OrderNumber, "%s has the orderNumber %s, the vendor says %s", no, e.OrderNumber, p.OrderNumber)
			r.truth.fault(e.Status != kind.want, "%s is %s (%s), and should be %s", no, e.Status, e.Reason, kind.want)
		}
	}
}

// checkCounts compares the counts with the plan and with the quota.
func (r *report) checkCounts(plan *orderPlan, seen observed, book sandbox.Book) {
	r.lost.fault(seen.requestsLeft > 0, "%d requests are left in the stream", seen.requestsLeft)
	r.lost.fault(len(seen.dead) != plan.invalid+plan.conflicts, "%d dead letters for %d invalid and %d conflicting requests", len(seen.dead), plan.invalid, plan.conflicts)
	r.lost.fault(r.counts[worker.Rejected] != plan.rejected, "%d rejected results, and there should be %d", r.counts[worker.Rejected], plan.rejected)
	r.quota.fault(book.PeakPerSecond > rate, "%d requests in one second, %d are allowed", book.PeakPerSecond, rate)
	r.quota.fault(book.Throttled > 0, "%d requests were over the limit", book.Throttled)
	r.quota.fault(book.RefusedSignatures > 0, "%d signatures were refused", book.RefusedSignatures)
}

// fill fills the table.
func (r *report) fill(plan *orderPlan, seen observed, book sandbox.Book, took time.Duration) {
	calls := book.Calls[sandbox.EndpointOrder]
	r.row("published", "%d requests in %.1f s: %d orders, %d duplicates, %d conflicts, %d invalid", len(plan.requests), took.Seconds(), len(plan.orders), plan.duplicates, plan.conflicts, plan.invalid)
	r.row("bought", "%d", len(book.Purchases))
	r.row("succeeded", "%d", r.counts[worker.Succeeded])
	r.row("failed", "%d", r.counts[worker.Failed])
	r.row("rejected", "%d", r.counts[worker.Rejected])
	r.row("duplicates", "%d acknowledged without a result of their own", len(plan.requests)-int(seen.requestsLeft)-len(r.times)-len(seen.dead))
	r.row("dead letters", "%d", len(seen.dead))
	r.row("calls", "%d to buy, %d lookups; at most %d of %d in any second", calls, book.Calls[sandbox.EndpointLookup], book.PeakPerSecond, rate)
	r.row("retries", "%d", calls-countCalled(plan))
	r.row("in doubt", "%d: %d found by the lookup, %d proved not bought and sent again", r.found+r.again, r.found, r.again)
	r.row("worker killed", "%s", seen.crash.text(len(plan.requests)))
	r.row("Redis emptied", "after %d of %d requests: nothing that was in it was needed", seen.emptied, len(plan.requests))
	r.row("request to result", "p50 %v, p99 %v", quantile(r.times, .5), quantile(r.times, .99))
}

// countCalled counts the orders that are sent to the vendor.
func countCalled(plan *orderPlan) int {
	n := 0
	for _, kind := range plan.orders {
		if kind.name != kindExpired.name {
			n++
		}
	}
	return n
}

// quantile is the smallest of times that at least a share q of them does not
// exceed.
func quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[max(0, int(float64(len(times))*q+.999999)-1)]
}

func (r *report) promise(text string) *promise {
	p := &promise{text: text}
	r.promises = append(r.promises, p)
	return p
}

func (r *report) row(name, format string, args ...any) {
	r.rows = append(r.rows, [2]string{name, fmt.Sprintf(format, args...)})
}

// kept reports whether every promise was kept.
func (r *report) kept() bool {
	return !slices.ContainsFunc(r.promises, func(p *promise) bool { return len(p.broken) > 0 })
}

func (r *report) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table)
	for _, row := range r.rows {
		fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
	}
	fmt.Fprintln(table, "\nPromises, checked against the vendor's book and the streams:")
	for _, p := range r.promises {
		if len(p.broken) == 0 {
			fmt.Fprintf(table, "  held\t%s\n", p.text)
			continue
		}
		more := ""
		if n := len(p.broken); n > 5 {
			more = fmt.Sprintf("; and %d more", n-5)
		}
		fmt.Fprintf(table, "  BROKEN\t%s: %s%s\n", p.text, strings.Join(p.broken[:min(5, len(p.broken))], "; "), more)
	}
	_ = table.Flush() // out is a terminal or a file; nobody is left to tell
}
