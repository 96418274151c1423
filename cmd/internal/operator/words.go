package operator

import (
	"fmt"
	"time"
)

// The functions here are the words of the terminal for other faces of the desk.

// Ago is a duration for people, such as 2m17s.
func Ago(d time.Duration) string { return ago(d) }

// Clock is a moment in UTC for people who read a page now.
func Clock(t, now time.Time) string { return clock(t, now) }

// Text says whether orders are bought, and otherwise why not.
func (b *Buying) Text(now time.Time) string { return b.text(now) }

// Text says since when, and what was seen last.
func (s *Streak) Text(now time.Time) string { return s.text(now) }

// Tries are the refusals of those that are allowed, or the number of the request.
func (r *Row) Tries(maxAttempts int) string { return r.tries(maxAttempts) }

// LastText is what is known last of an order. It may have the vendor's words: show it with
// Shown.
func (r *Row) LastText(now time.Time) string { return r.lastText(now) }

// Headline is the state of an order in a sentence.
func (t *Detail) Headline(now time.Time, maxAttempts int) string { return t.headline(now, maxAttempts) }

// Words is what happened, in words.
func (m *Moment) Words() string { return m.text() }

// Fact is what one of the stores knows of an order.
type Fact struct{ Who, What string }

// Facts are what Redis, the journal and the others know of an order.
func (r *Report) Facts() []Fact {
	facts := []Fact{
		{"Redis", listed(r.Redis.facts(r.known.CacheErr))},
		{"Journal", listed(r.Journal.facts(r.known.JournalErr, r.call))},
		{"Request", listed(r.Request.facts(r.Untaken))},
	}
	for i, line := range r.Results.lines() {
		who := "Results"
		if i > 0 {
			who = fmt.Sprintf("Results %d", i+1)
		}
		facts = append(facts, Fact{who, line})
	}
	return facts
}
