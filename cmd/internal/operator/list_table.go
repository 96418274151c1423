package operator

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"orderworker/cmd/internal/text"
	"orderworker/cmd/internal/vitals"
	"orderworker/worker/halt"
)

// Widths of columns: what is longer is cut.
const (
	packageWidth = 20
	answerWidth  = 44
)

// Print writes the overview in a few lines, and a line for each order. Refusals are shown
// as a part of maxAttempts.
func (l *List) Print(out io.Writer, maxAttempts int) error {
	l.Overview.Print(out)
	if len(l.Orders) == 0 && !l.Counts.Known("inProgress") {
		_, err := fmt.Fprintln(out, "orders   not known")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NUMBER\tSTATE\tSINCE\tCARD\tPACKAGE\tTRIES\tLAST ANSWER\tNEXT")
	for i := range l.Orders {
		fmt.Fprintln(w, strings.Join(l.Orders[i].columns(l.At.Time, maxAttempts), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if l.More {
		fmt.Fprintln(out, "there are more: --limit shows them, --state some of them")
	}
	if c := l.Counts; c.Unknown+c.Uncounted > 0 {
		fmt.Fprintf(out, "%s could not be looked at: the state is not known, and may be bought\n", text.Counted(int(c.Unknown+c.Uncounted), "order"))
	}
	return nil
}

// PrintRows writes a line for each order, without an overview.
func PrintRows(out io.Writer, rows []Row, maxAttempts int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NUMBER\tSTATE\tSINCE\tCARD\tPACKAGE\tTRIES\tLAST ANSWER\tNEXT")
	now := time.Now()
	for i := range rows {
		fmt.Fprintln(w, strings.Join(rows[i].columns(now, maxAttempts), "\t"))
	}
	return w.Flush()
}

// Print writes the overview.
func (o *Overview) Print(out io.Writer) {
	now := o.At.Time
	fmt.Fprintf(out, "buying   %s\n", o.Buying.text(now))
	for _, line := range o.Answers.lines(now) {
		fmt.Fprintf(out, "%-8s %s\n", line.who, line.text)
	}
	facts := []string{}
	for _, s := range o.Stores {
		if s.OK {
			facts = append(facts, s.Name+" ok")
		} else {
			facts = append(facts, strings.ToUpper(s.Name)+" AWAY")
		}
	}
	if o.away("redis") || o.away("workers") {
		facts = append(facts, "workers ?")
	} else {
		facts = append(facts, fmt.Sprintf("workers %d", len(o.Workers)))
	}
	if o.Quota.Limit > 0 {
		facts = append(facts, fmt.Sprintf("quota %.1f of %.1f/s (in the last 30 s)", o.Quota.Rate, o.Quota.Limit))
	} else if len(o.Workers) > 0 {
		facts = append(facts, fmt.Sprintf("%.1f requests/s (in the last 30 s), no limit", o.Quota.Rate))
	}
	fmt.Fprintf(out, "stores   %s\n", strings.Join(facts, "   "))
	fmt.Fprintln(out, strings.Join(o.counts(now), "   "))
	for _, e := range o.Errors {
		fmt.Fprintf(out, "error    %s\n", Shown(e, 300))
	}
}

// counts are the counts in words; those of rare states only where there are any.
func (o *Overview) counts(now time.Time) []string {
	c := o.Counts
	rare := func(name string, n uint64) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%s %d", name, n)
	}
	count := func(words, name string, n uint64) string {
		if !c.Known(name) {
			return words + " ?"
		}
		return fmt.Sprintf("%s %d", words, n)
	}
	queued := count("queued", "queued", c.Queued)
	if c.Queued > 0 && o.Quota.Limit > 0 && !o.Buying.Paused {
		queued += fmt.Sprintf(" (about %s)", ago(time.Duration(float64(c.Queued)/o.Quota.Limit*float64(time.Second)).Round(time.Second)))
	}
	doubt := count("in doubt", "inDoubt", c.InDoubt)
	if !c.OldestDoubt.IsZero() {
		doubt += fmt.Sprintf(" (oldest %s)", ago(now.Sub(c.OldestDoubt.Time)))
	}
	var shown []string
	for _, text := range []string{queued, count("in progress", "inProgress", c.InProgress), count("waiting", "waiting", c.Waiting), rare("paused", c.Paused), doubt,
		rare("being published", c.Finishing), rare("not known", c.Unknown), rare("not counted", c.Uncounted), count("dead", "dead", c.Dead),
		count("failed in the last hour", "failedLastHour", c.FailedLately)} {
		if text != "" {
			shown = append(shown, text)
		}
	}
	return shown
}

// text says whether orders are bought.
func (b *Buying) text(now time.Time) string {
	var why []string
	if b.Operator != nil {
		why = append(why, operatorPause(b.Operator, now))
	}
	if b.Account != nil {
		why = append(why, accountPause(b.Account, now))
	}
	switch {
	case len(why) == 0 && b.Unknown == "" && b.Starting:
		return "starting: no worker has read the operator's word yet"
	case len(why) == 0 && b.Unknown == "":
		return "yes"
	case len(why) == 0:
		return "NOT KNOWN: " + Shown(b.Unknown, 300)
	case b.Unknown != "":
		why = append(why, "whether there is another pause is not known: "+Shown(b.Unknown, 300))
	}
	return "PAUSED " + strings.Join(why, "; and ")
}

// told is a sentence about what is wrong with the vendor's answers, and whom it is about.
type told struct{ who, text string }

// lines say what is wrong with the vendor's answers.
func (a *Answers) lines(now time.Time) (lines []told) {
	if s := a.Unclear; s != nil {
		lines = append(lines, told{"vendor", "no clear answer to the last orders " + s.text(now)})
	}
	if s := a.Unproven; s != nil {
		lines = append(lines, told{"lookups", "the last ones proved nothing " + s.text(now)})
	}
	return lines
}

func (s *Streak) text(now time.Time) string {
	text := fmt.Sprintf("since %s (%s); last %s: %s", clock(s.Since, now), ago(now.Sub(s.Since)), clock(s.Last, now), Shown(s.What, 200))
	if s.Workers < s.Of {
		text += fmt.Sprintf(" (told by %d of %d workers)", s.Workers, s.Of)
	}
	return text
}

func operatorPause(s *halt.State, now time.Time) string {
	until := ""
	if !s.Until.IsZero() {
		until = fmt.Sprintf(", until %s", clock(s.Until, now))
	}
	return fmt.Sprintf("by %s since %s (%s)%s: %s", Shown(s.By, 64), clock(s.At, now), ago(now.Sub(s.At)), until, Shown(s.Reason, 200))
}

func accountPause(p *vitals.Pause, now time.Time) string {
	why := Shown(p.Why, 120)
	if p.Code != "" {
		why = fmt.Sprintf("code %s \"%s\"", Shown(p.Code, 32), Shown(p.Message, 80))
	}
	return fmt.Sprintf("since %s (%s): %s; next probe %s", clock(p.Since, now), ago(now.Sub(p.Since)), why, clock(p.NextProbe, now))
}

// columns are the columns of a row.
func (r *Row) columns(now time.Time, maxAttempts int) []string {
	number := Shown(r.OutTradeNo, 40)
	if number == "" {
		number = "-"
	}
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	return []string{number, string(r.State), clock(r.Since.Time, now), dash(Shown(r.ICCID, 24)), dash(Shown(r.PackageCode, packageWidth)),
		r.tries(maxAttempts), dash(Shown(r.lastText(now), answerWidth)), r.Next.text(now)}
}

// tries are the refusals of those that are allowed; in doubt and with a worker, the
// number of the request.
func (r *Row) tries(maxAttempts int) string {
	switch {
	case r.State == InDoubt, r.State == Claimed, r.State.Finished():
		if r.Attempt == 0 && r.Refusals == 0 {
			return "-"
		}
		return fmt.Sprint(max(r.Attempt, r.Refusals))
	case r.Refusals > 0:
		return fmt.Sprintf("%d/%d", r.Refusals, maxAttempts)
	case r.State == Waiting, r.State == Paused:
		return fmt.Sprintf("0/%d", maxAttempts)
	}
	return "-"
}

func (n *Next) text(now time.Time) string {
	switch {
	case n == nil:
		return "-"
	case n.Why != "":
		return n.What + " (" + n.Why + ")"
	case n.At.IsZero():
		return n.What
	}
	return clock(n.At.Time, now) + " " + n.What
}
