package operator

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"orderworker/cmd/internal/text"
)

// maxShownPayload is how many characters of a payload are shown on a terminal.
const maxShownPayload = 4000

// Print writes a line for each letter.
func (l *DeadLetters) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SEQ\tSINCE\tREASON\tNUMBER\tBYTES\tERROR")
	now := time.Now()
	for _, d := range l.Letters {
		number := Shown(d.OutTradeNo, 40)
		if number == "" {
			number = "-"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\n", d.Seq, clock(d.At.Time, now), Shown(d.Reason, 20), number, d.Bytes, Shown(d.Error, 100))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	shown := fmt.Sprintf("%d of %d dead letters", len(l.Letters), l.Total)
	if l.More {
		shown += ": there are more, --limit shows them"
	}
	if l.Unsearched > 0 {
		shown += fmt.Sprintf("; %d were not searched", l.Unsearched)
	}
	_, err := fmt.Fprintln(out, shown)
	return err
}

// Print writes all of a letter. A payload that is long is cut: --json has all of it.
func (d *DeadLetter) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("letter", "%d, put aside %s", d.Seq, d.At)
	row("reason", "%s", Shown(d.Reason, 40))
	row("error", "%s", Shown(d.Error, 0))
	if d.RequestSeq > 0 {
		row("request", "it was message %d of its stream", d.RequestSeq)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		ours := strings.HasPrefix(name, "Nats-") || strings.HasPrefix(name, "Dead-") && !strings.HasPrefix(name, "Dead-Nats-")
		if !ours {
			row("header", "%s: %s", Shown(name, 100), Shown(strings.Join(d.Headers[name], " | "), 300))
		}
	}
	if d.Dropped > 0 {
		row("", "%s were dropped: there was no room", text.Counted(d.Dropped, "header"))
	}
	size := fmt.Sprintf("%d bytes", d.Bytes)
	if d.Truncated > 0 {
		size = fmt.Sprintf("%d of %d bytes: it was cut, and cannot be replayed", d.Bytes, d.Truncated)
	}
	row("payload", "%s", size)
	if err := w.Flush(); err != nil {
		return err
	}
	text := string(d.Raw)
	if d.Payload != nil {
		text = *d.Payload
	}
	_, err := fmt.Fprintf(out, "%s\n", Shown(text, maxShownPayload))
	return err
}

// Question says what Run is about to do.
func (p *ReplayPlan) Question() string {
	b := new(strings.Builder)
	fmt.Fprintf(b, "%s will be published again as an order request", text.Counted(len(p.Letters), "dead letter"))
	if len(p.set) > 0 {
		var set []string
		for _, name := range slices.Sorted(maps.Keys(p.set)) {
			set = append(set, name+"="+Shown(p.set[name], 0))
		}
		fmt.Fprintf(b, ", with %s", strings.Join(set, ", "))
	}
	b.WriteString(", and removed from the dead letters.\n")
	for i, l := range p.Letters {
		if i == 5 {
			fmt.Fprintf(b, "  and %d more\n", len(p.Letters)-i)
			break
		}
		fmt.Fprintf(b, "  %d  %s  %s  %s\n", l.Seq, Shown(l.Reason, 20), Shown(l.OutTradeNo, 40), Shown(l.Error, 80))
	}
	listUpTo(b, 5, "will be a dead letter again", p.Futile)
	listUpTo(b, 5, "cannot be replayed", p.Cannot)
	if p.Left > 0 {
		fmt.Fprintf(b, "%d more are left for the next time (--limit).\n", p.Left)
	}
	b.WriteString("What is valid is bought.")
	return b.String()
}

// Print writes what was done.
func (r *Replayed) Print(out io.Writer) {
	fmt.Fprintf(out, "%s replayed\n", text.Counted(r.Replayed, "dead letter"))
	listUpTo(out, 20, "will be a dead letter again", r.Futile)
	listUpTo(out, 20, "not replayed", r.Skipped)
	if r.Left > 0 {
		fmt.Fprintf(out, "%d are left: the same command goes on\n", r.Left)
	}
}

// listUpTo writes a line for each letter that something is said of, most at most.
func listUpTo(out io.Writer, most int, what string, letters []string) {
	for i, l := range letters {
		if i == most {
			fmt.Fprintf(out, "%s: %d more\n", what, len(letters)-i)
			return
		}
		fmt.Fprintf(out, "%s: %s\n", what, Shown(l, 300))
	}
}
