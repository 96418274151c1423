package operator

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"orderworker/dedupe"
	"orderworker/worker"
)

// Print writes what is known of an order: its state in a sentence, its timeline, and who
// was asked. Refusals are shown as a part of maxAttempts.
func (t *Detail) Print(out io.Writer, maxAttempts int) error {
	now := time.Now()
	fmt.Fprintln(out, t.headline(now, maxAttempts))
	if b := t.buying(); b.Operator != nil || b.Account != nil || b.Unknown != "" {
		fmt.Fprintf(out, "  the buying is %s\n", b.text(now))
	}
	for _, line := range t.Answers.lines(now) {
		fmt.Fprintf(out, "  %s: %s\n", line.who, line.text)
	}
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
	words := t.means(now)
	if t.twoFinals() {
		words = append(words, "an event said before that it had failed: tell those who read it; if nobody wants it any more, a refund returns the whole amount only within 24 hours of the purchase")
	}
	if o := t.Order; o != nil {
		switch {
		case o.Unpublished:
			words = append(words, unpublishedWords(t.known))
		case o.State == Paused:
			words = []string{"it is not sent while the buying is paused"}
		case o.Answer != "":
			words = append(words, fmt.Sprintf("last lookup at %s: %s", clock(o.AskedAt.Time, now), Shown(o.Answer, 160)))
		}
		if o.Refusals > 0 && !o.State.Finished() {
			words = append(words, fmt.Sprintf("%d of %d refusals", o.Refusals, maxAttempts))
		}
		if next := o.Next.sentence(now); next != "" && !o.State.Finished() {
			words = append(words, next)
		}
	}
	return fmt.Sprintf("%s  %s: %s", Shown(t.OutTradeNo, 40), t.State, strings.Join(words, "; "))
}

// twoFinals reports whether an event said that the order had failed, and another that it was
// bought. The failed event is the older one: no worker
// stores one where there is a succeeded event.
func (t *Detail) twoFinals() bool {
	if t.Results == nil {
		return false
	}
	has := func(s worker.Status) bool {
		return slices.ContainsFunc(t.Results.Events, func(e resultEvent) bool { return e.Status == string(s) })
	}
	return has(worker.Succeeded) && has(worker.Failed)
}

// means is the state in words. That nothing was sent is said only if it is certain: see
// dedupe.Known.Verdict.
func (t *Detail) means(now time.Time) []string {
	words := []string{cmp.Or(stateMeans[t.State], "it has its result")}
	verdict := t.known.Verdict(now)
	if t.sending {
		return append(words, "a request may be under way")
	}
	switch begun := t.State == string(Queued) || t.State == "claimed"; {
	case t.State == string(Unknown) && verdict == dedupe.Unknown:
		return []string{"not everything could be asked: it may have been sent, and bought"}
	case begun && verdict == dedupe.Fresh && !t.known.Stored.IsZero():
		words = append(words, "nothing was sent")
	case begun && (verdict == dedupe.Ready || verdict == dedupe.Waiting):
		words = append(words, "not bought so far")
	case begun:
		words = append(words, "it may have been sent: its request is gone, or older than what is remembered")
	}
	return words
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
	text += "next: "
	if !m.NextAt.IsZero() {
		text += m.NextAt.UTC().Format("15:04:05") + " "
	}
	return text + m.Follows
}
