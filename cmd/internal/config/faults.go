package config

import (
	"errors"
	"fmt"
)

// Faults collects everything that is wrong with the settings, so that nobody has
// to start the program once per mistake. A setting is reported once, for the first
// thing that is wrong with it.
type Faults struct {
	found []error
	bad   map[string]bool
}

// Add reports the setting name, unless it was reported before. The format says
// which value it has (never a secret's) and which rule that breaks.
func (f *Faults) Add(name, format string, args ...any) {
	if f.bad[name] {
		return
	}
	if f.bad == nil {
		f.bad = map[string]bool{}
	}
	f.bad[name] = true
	f.found = append(f.found, fmt.Errorf("%s "+format, append([]any{name}, args...)...))
}

// good reports whether none of names has a fault so far. Only then can their
// values be compared.
func (f *Faults) good(names ...string) bool {
	for _, n := range names {
		if f.bad[n] {
			return false
		}
	}
	return true
}

// Err is one error with a line for each fault, nil where there is none.
func (f *Faults) Err() error { return errors.Join(f.found...) }
