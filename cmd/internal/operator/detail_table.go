package operator

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes what is known of an order: its state in a sentence, its timeline, and who
// was asked. Refusals are shown as a part of maxAttempts.
func (t *Detail) Print(out io.Writer, maxAttempts int) error {
	fmt.Fprintln(out, t.headline(time.Now(), maxAttempts))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, m := range t.Timeline {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", m.clock(), m.What, m.text())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !t.Searched && t.Untaken != nil && *t.Untaken > 0 {
		fmt.Fprintln(out, "  not all requests in the stream were searched: there are too many")
	}
	return t.Report.Print(out)
}

// headline is the state in a sentence.
func (t *Detail) headline(now time.Time, maxAttempts int) string {
	words := []string{cmp.Or(stateMeans[t.State], "it has its result")}
	if o := t.Order; o != nil {
		if o.State == Paused {
			words = []string{"it is not sent while the buying is paused"}
		}
		if o.Refusals > 0 && !o.State.Finished() {
			words = append(words, fmt.Sprintf("%d of %d refusals", o.Refusals, maxAttempts))
		}
		if n := o.Next; n != nil && !n.At.IsZero() {
			what := map[string]string{"send": "next attempt", "ask": "the vendor is asked next at"}[n.What]
			words = append(words, fmt.Sprintf("%s %s (in %s)", what, clock(n.At.Time, now), ago(n.At.Sub(now))))
		}
	}
	return fmt.Sprintf("%s  %s: %s", Shown(t.OutTradeNo, 40), t.State, strings.Join(words, "; "))
}

// clock is the moment in UTC, to the millisecond.
func (m *Moment) clock() string {
	if m.At.IsZero() {
		return "(time not known)"
	}
	return m.At.UTC().Format("2006-01-02 15:04:05.000")
}

func (m *Moment) text() string {
	var words []string
	if m.Code != "" || m.Message != "" {
		words = append(words, strings.TrimSpace(Shown(m.Code, 32)+" "+Shown(m.Message, 200)))
	}
	if m.Text != "" {
		words = append(words, Shown(m.Text, 300))
	}
	text := strings.Join(words, ", ")
	if m.Attempt > 0 {
		text = strings.TrimSpace(fmt.Sprintf("%s (attempt %d)", text, m.Attempt))
	}
	if m.Follows == "" {
		return text
	}
	if text != "" {
		text += "; "
	}
	text += m.Follows
	if !m.NextAt.IsZero() {
		text += " " + m.NextAt.UTC().Format("15:04:05")
	}
	return text
}
