package main

import (
	"errors"
	"fmt"
)

// faults is what is wrong with the settings, all of it: whoever sets a program
// up should not have to start it once per mistake. A setting is reported once,
// for the first thing that is wrong with it.
type faults struct {
	found []error
	bad   map[string]bool
}

// add reports name, unless it was reported before. The rest says with which
// value (never a secret's) and by which rule.
func (f *faults) add(name, format string, args ...any) {
	if f.bad[name] {
		return
	}
	if f.bad == nil {
		f.bad = map[string]bool{}
	}
	f.bad[name] = true
	f.found = append(f.found, fmt.Errorf("%s "+format, append([]any{name}, args...)...))
}

// good reports whether none of names has a fault so far: only then does a
// relation between them mean anything.
func (f *faults) good(names ...string) bool {
	for _, n := range names {
		if f.bad[n] {
			return false
		}
	}
	return true
}

// err is one error with a line for each fault, nil where there is none.
func (f *faults) err() error { return errors.Join(f.found...) }
