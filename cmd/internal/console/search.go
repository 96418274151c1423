package console

import (
	"slices"
	"strings"
	"time"

	"orderworker/cmd/internal/operator"
	"orderworker/worker"
)

// Query is what a list is asked for.
type Query struct {
	Text  string         // a part of a number, a card, a package or the vendor's order number; "": any
	State operator.State // "": any; unfinished: any that is not final
	Skip  int
	Limit int
}

// unfinished is the state of a query that wants all orders that are not final.
const unfinished operator.State = "unfinished"

// matcher reports whether one of the fields has the text of a query. Package codes are
// mostly written in capitals, so small letters find them too.
type matcher struct{ text, upper string }

func newMatcher(text string) matcher {
	m := matcher{text: text, upper: strings.ToUpper(text)}
	if m.upper == m.text {
		m.upper = ""
	}
	return m
}

func (m matcher) in(field string) bool {
	return m.text == "" || strings.Contains(field, m.text) || m.upper != "" && strings.Contains(field, m.upper)
}

// Search returns the orders of a query, unfinished ones first, then the newest. more says
// that there are more than the limit.
func (x *Index) Search(q Query) (rows []operator.Row, more bool) {
	x.see()
	rows = []operator.Row{}
	m := newMatcher(q.Text)
	skipped := 0
	take := func(row func() operator.Row) (enough bool) {
		switch {
		case skipped < q.Skip:
			skipped++
		case len(rows) == q.Limit:
			more = true
			return true
		default:
			rows = append(rows, row())
		}
		return false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	for i := range x.rows {
		r := &x.rows[i]
		if (q.State == "" || q.State == unfinished || q.State == r.State) && x.unfinished(r) &&
			(m.in(r.OutTradeNo) || m.in(r.ICCID) || m.in(r.PackageCode)) && take(func() operator.Row { return *r }) {
			return rows, more
		}
	}
	if q.State != "" && !q.State.Finished() {
		return rows, more
	}
	for i := range len(x.finished) - x.gone {
		e := x.newest(i)
		if (q.State == "" || e.succeeded == (q.State == operator.Succeeded)) && m.in(e.key) && take(e.row) {
			return rows, more
		}
	}
	return rows, more
}

// newest returns the finished order that ended as the i-th last.
func (x *Index) newest(i int) *entry {
	n := len(x.finished)
	return &x.finished[((x.next-1-i)%n+n)%n]
}

// unfinished reports whether a row is of an order that has not ended since it was read.
func (x *Index) unfinished(r *operator.Row) bool {
	seq, ended := x.ended[r.OutTradeNo]
	return r.Open() && (!ended || seq != 0 && r.Seq != 0 && seq != r.Seq)
}

// InDoubt returns the orders in doubt, the oldest doubt first.
func (x *Index) InDoubt() []operator.Row {
	x.see()
	x.mu.RLock()
	defer x.mu.RUnlock()
	found := []operator.Row{}
	for i := range x.rows {
		if r := &x.rows[i]; r.State == operator.InDoubt && x.unfinished(r) {
			found = append(found, *r)
		}
	}
	slices.SortStableFunc(found, func(a, b operator.Row) int { return a.Since.Compare(b.Since.Time) })
	return found
}

// see notes that somebody looks; rows that are old are then read anew.
func (x *Index) see() {
	now := time.Now()
	if before := x.looked.Swap(now.Unix()); now.Unix()-before > int64(lookedAt/time.Second) {
		x.Poke()
	}
}

// Overview is how the deployment fares, with what only the index knows.
type Overview struct {
	*operator.Overview
	Scanned   worker.Time `json:"ordersReadAt,omitzero"` // when the unfinished orders were read
	Indexed   int         `json:"indexed"`               // finished orders that can be searched
	Unlisted  uint64      `json:"unlisted"`              // unfinished orders that cannot: they are too many
	EndedRate float64     `json:"resultsPerSecond"`      // in the last minute
	PerMinute []Minute    `json:"resultsPerMinute"`      // oldest first; the last one is not over
}

// Minute is how many orders ended in a minute.
type Minute struct {
	At        worker.Time `json:"at"`
	Succeeded int         `json:"succeeded"`
	Failed    int         `json:"failed"`
}

// Overview returns how the deployment fares.
func (x *Index) Overview() *Overview {
	now := time.Now()
	x.see()
	x.mu.RLock()
	defer x.mu.RUnlock()
	o := &Overview{Overview: x.overview, Scanned: worker.Time{Time: x.scanned}, Indexed: len(x.finished) - x.gone, Unlisted: x.unlisted}
	for minute := now.Unix()/60 - chartLength + 1; minute <= now.Unix()/60; minute++ {
		m := Minute{At: worker.Time{Time: time.Unix(minute*60, 0).UTC()}}
		if n := x.minutes[minute]; n != nil {
			m.Succeeded, m.Failed = n.succeeded, n.failed
		}
		o.PerMinute = append(o.PerMinute, m)
	}
	ended := 0
	for _, s := range x.seconds {
		if age := now.Unix() - s.second; age > 0 && age <= 60 {
			ended += s.ended
		}
	}
	o.EndedRate = float64(ended) / 60
	fleet := *x.overview
	fleet.Counts.FailedLately = 0
	for _, m := range o.PerMinute {
		fleet.Counts.FailedLately += uint64(m.Failed)
	}
	fleet.Counts.NotKnown = slices.DeleteFunc(slices.Clone(fleet.Counts.NotKnown), func(name string) bool { return name == "failedLastHour" })
	if !x.heard {
		fleet.Counts.NotKnown = append(fleet.Counts.NotKnown, "failedLastHour")
	}
	o.Overview = &fleet
	return o
}

// Letters returns dead letters, newest first: those of a reason whose number, card, package
// or error has the text. There are unlisted ones more that it does not have.
func (x *Index) Letters(reason, text string, skip, limit int) (found *operator.DeadLetters, unlisted uint64) {
	x.see()
	m := newMatcher(text)
	x.mu.RLock()
	defer x.mu.RUnlock()
	found = &operator.DeadLetters{Letters: []operator.DeadLetter{}, Total: uint64(len(x.letters)) + x.lettersLost}
	for i := len(x.letters) - 1; i >= 0; i-- {
		l := &x.letters[i]
		if reason != "" && l.Reason != reason || !m.in(l.OutTradeNo) && !m.in(l.ICCID) && !m.in(l.PackageCode) && !m.in(l.Error) {
			continue
		}
		switch {
		case skip > 0:
			skip--
		case len(found.Letters) == limit:
			found.More = true
			return found, x.lettersLost
		default:
			found.Letters = append(found.Letters, *l)
		}
	}
	return found, x.lettersLost
}
