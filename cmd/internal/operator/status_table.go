package operator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/dedupe"
	"orderworker/worker"
)

// stateMeans explains the states to people.
var stateMeans = map[string]string{
	"unknown":                "nothing is known of it anywhere that was asked",
	string(Queued):           "it waits for a worker",
	"claimed":                "a worker took it",
	"waiting":                "not bought so far; the next attempt comes",
	string(worker.InDoubt):   "it may have been bought; see orderworker settle",
	string(worker.Succeeded): "bought",
	string(worker.Failed):    "certainly not bought, and will not be tried again",
	string(worker.Rejected):  "never sent",
	"bought":                 "only the vendor knows it",
}

const unasked = "could not be asked"

// Print writes the report as a table: who was asked, and what they know.
func (r *Report) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, facts ...string) {
		fmt.Fprintf(w, "%s\t%s\n", name, Shown(listed(facts), 0))
	}
	row("redis", r.Redis.facts(r.known.CacheErr)...)
	row("journal", r.Journal.facts(r.known.JournalErr, r.call)...)
	row("request", r.Request.facts(r.Untaken)...)
	name := "results"
	for _, line := range r.Results.lines() {
		row(name, line)
		name = ""
	}
	row("vendor", r.Vendor.facts(r.asked, r.unproven)...)
	for _, e := range r.Errors {
		row("error", e)
	}
	return w.Flush()
}

// listed joins the facts that are not empty.
func listed(facts []string) string {
	return strings.Join(slices.DeleteFunc(facts, func(fact string) bool { return fact == "" }), ", ")
}

// when returns the text if ok, otherwise nothing.
func when(ok bool, format string, args ...any) string {
	if !ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

func (v *redisView) facts(err error) []string {
	switch {
	case err != nil:
		return []string{unasked}
	case v == nil:
		return []string{"nothing"}
	}
	left := (time.Duration(v.LeftMs) * time.Millisecond).Round(time.Second / 10)
	facts := []string{
		string(v.Phase),
		when(v.Owner != "" && left > 0, "a worker has it, for %v more if it died", left),
		when(v.Owner != "" && left == 0, "its worker died"),
		when(v.Owner == "" && left > 0, "due in %v", left),
		when(v.Attempt > 0, "attempt %d", v.Attempt),
		when(v.Refusals > 0, "%s", text.Counted(v.Refusals, "refusal")),
		lastFact(v.Last, v.Result),
		when(v.Foreign, "attempt under another account (%s)", v.Account),
	}
	if d := v.Doubt; d != nil {
		facts = append(facts,
			when(d.Asked > 0, "asked about %s", text.Counted(d.Asked, "time")),
			when(d.Missing, "once not found"),
			when(d.Answer != "", "last lookup %s: %s", worker.Time{Time: d.AskedAt}, d.Answer),
			when(d.Exists, "the vendor says that the number exists"),
			when(d.Bought, "the vendor says that it was bought"),
			when(d.Noticed, "in_doubt was published"))
	}
	return append(facts, resultFacts(v.Result)...)
}

func (v *journalView) facts(err error, call time.Duration) []string {
	switch {
	case err != nil:
		return []string{unasked}
	case v == nil:
		return []string{"nothing"}
	}
	facts := []string{
		string(v.State),
		when(v.Attempt > 0, "attempt %d", v.Attempt),
		when(v.Refusals > 0, "%s", text.Counted(v.Refusals, "refusal")),
		lastFact(v.Last, v.Result),
		when(v.Foreign, "attempt under another account (%s)", v.Account),
	}
	switch v.State {
	case dedupe.StateIntent:
		over := v.Over
		if over.IsZero() {
			over = v.SendBy.Add(call)
		}
		facts = append(facts,
			fmt.Sprintf("in doubt since %s", worker.Time{Time: v.Since}),
			fmt.Sprintf("its request is over by %s", worker.Time{Time: over}),
			when(v.Open, "an earlier attempt is open too"),
			when(v.Bought, "the vendor said that it was bought"))
	case dedupe.StateReady:
		facts = append(facts, when(!v.Due.IsZero(), "due %s", worker.Time{Time: v.Due}))
	}
	facts = append(facts, when(v.ruling != "", "%s by an operator", v.ruling))
	return append(facts, resultFacts(v.Result)...)
}

func (v *requestView) facts(untaken *uint64) []string {
	if v == nil {
		return []string{"not known where", when(untaken != nil && *untaken > 0, "%d requests in the stream were not taken by a worker yet", deref(untaken))}
	}
	return []string{
		fmt.Sprintf("%s %d", v.Stream, v.Seq),
		map[string]string{
			"waiting": "not acknowledged", "acknowledged": "acknowledged", "gone": "gone: acknowledged",
			"stored": "stored, perhaps acknowledged", "other": v.Why, "": unasked,
		}[v.State],
		when(v.ICCID != "", "received %s, iccid %s, package %s", v.Received, v.ICCID, v.PackageCode),
		when(v.Renew != nil, "renew %d", deref(v.Renew)),
		when(v.ExpiresAt != nil, "expires %s", worker.Time{Time: deref(v.ExpiresAt)}),
	}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (v *orderEvents) lines() []string {
	if v == nil {
		return []string{unasked}
	}
	var lines []string
	for _, e := range v.Events {
		facts := append([]string{fmt.Sprintf("%s %d", v.Stream, e.Seq), "stored " + e.Stored.String()}, resultFacts(e.Event)...)
		lines = append(lines, listed(facts))
	}
	if len(lines) == 0 {
		return []string{"nothing"}
	}
	if v.Cut {
		lines = append(lines, "there are more")
	}
	return lines
}

func (v *vendorView) facts(asked bool, unproven *Streak) []string {
	switch {
	case v == nil && asked:
		return []string{"no answer"}
	case v == nil:
		return []string{"not asked (--ask-vendor)"}
	}
	return []string{
		map[string]string{"found": "bought", "missing": "not found", "unclear": "unclear: there may be one"}[v.Answer],
		v.Why,
		v.blind(unproven),
		when(v.OrderNumber != "", "order number %s", v.OrderNumber),
		when(v.OrderID != 0, "order id %d", v.OrderID),
	}
}

// blind says that a number that was not found may have been bought all the more.
func (v *vendorView) blind(unproven *Streak) string {
	if v.Answer != "missing" || unproven == nil {
		return ""
	}
	return "the workers' last lookups proved nothing " + unproven.text(time.Now())
}

// lastFact is the vendor's last answer; empty if there is a result, which has it.
func lastFact(last *dedupe.Answer, result []byte) string {
	if last == nil || result != nil {
		return ""
	}
	return fmt.Sprintf("last answer %s, code %s, %q", cmp.Or(last.Class, "refused"), last.Code, last.Message)
}

// resultFacts are the facts of an encoded result.
func resultFacts(encoded []byte) []string {
	var r worker.Result
	if encoded == nil || json.Unmarshal(encoded, &r) != nil {
		return nil
	}
	return []string{
		string(r.Status), string(r.Reason),
		when(r.Code != "", "code %s", r.Code),
		when(r.Message != "", "%q", r.Message),
		when(r.OrderNumber != "", "order number %s", r.OrderNumber),
		when(r.OrderID != 0, "order id %d", r.OrderID),
		when(r.Attempts > 0, "%s", text.Counted(r.Attempts, "attempt")),
		when(r.Reconciled, "reconciled"),
	}
}
