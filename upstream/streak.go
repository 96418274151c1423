package upstream

import "time"

// Streak says since when all answers of one kind are bad, for operators: nothing is decided
// by it. Its zero value: there was no answer.
type Streak struct {
	Good  time.Time `json:"good,omitzero"`  // when an answer was good last; zero: none was
	Since time.Time `json:"since,omitzero"` // when the first bad one after it came; zero: there was none
	Last  time.Time `json:"last,omitzero"`  // when the last bad one came
	What  string    `json:"what,omitempty"` // it was
}

// AfterGood returns s after a good answer.
func (s Streak) AfterGood(now time.Time) Streak { return Streak{Good: now.UTC()} }

// AfterBad returns s after a bad answer.
func (s Streak) AfterBad(what string, now time.Time) Streak {
	s.Last, s.What = now.UTC(), what
	if s.Since.IsZero() {
		s.Since = s.Last
	}
	return s
}
