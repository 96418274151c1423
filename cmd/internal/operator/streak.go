package operator

import (
	"time"

	"orderworker/cmd/internal/vitals"
	"orderworker/upstream"
)

// Answers is what is wrong with the vendor's answers, as the workers tell it.
type Answers struct {
	Unclear  *Streak `json:"unclear"`  // since when orders get no clear answer; null: the last one got one, or no worker tells
	Unproven *Streak `json:"unproven"` // since when lookups prove nothing of the orders that they do not show; null likewise
}

// Streak is one of all workers together.
type Streak struct {
	upstream.Streak
	Workers int `json:"workers"` // how many of them have it
	Of      int `json:"of"`      // how many workers tell
}

// streakOf returns the streak of all workers together. A good answer that one of them got
// ends it for all. nil: there is none, or nobody tells.
func streakOf(workers []vitals.Figures, kind func(*vitals.Figures) *upstream.Streak) *Streak {
	var all Streak
	for i := range workers {
		if s := kind(&workers[i]); s != nil {
			all.Of++
			all.Good = later(all.Good, s.Good)
		}
	}
	for i := range workers {
		s := kind(&workers[i])
		if s == nil || !s.Last.After(all.Good) {
			continue
		}
		all.Workers++
		since := s.Since
		if !since.After(all.Good) { // the first one after it is not known
			since = s.Last
		}
		if all.Since.IsZero() || since.Before(all.Since) {
			all.Since = since
		}
		if s.Last.After(all.Last) {
			all.Last, all.What = s.Last, s.What
		}
	}
	if all.Workers == 0 {
		return nil
	}
	return &all
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
