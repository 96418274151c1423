package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// setting is one field of a rule, an action or a mode, and the word that sets it
// in the text form. A list of them is a grammar: each word is in it once, for the
// parser and for String.
type setting struct {
	name  string
	parse func(w word) error          // sets the field
	word  func() (w word, isSet bool) // the word that sets the field as it is
}

// bind returns the setting of a field whose word has a value. A value that parse
// does not accept is an error that ends in must.
func bind[T comparable](name string, to *T, must string, parse func(string) (T, bool), format func(T) string) setting {
	return setting{name,
		func(w word) error {
			v, ok := parse(w.value)
			if !ok {
				return fmt.Errorf("%s: %s", w, must)
			}
			*to = v
			return nil
		},
		func() (word, bool) {
			var zero T
			return word{name, format(*to), true}, *to != zero
		}}
}

func bindText(name string, to *string) setting {
	return bind(name, to, "needs a value", func(s string) (string, bool) { return s, s != "" }, verbatim)
}

func bindState(name string, to *string) setting {
	return bind(name, to, "must be 0 (waiting), 1 (in use) or 2 (finished)", func(s string) (string, bool) {
		_, err := stateOf(s)
		return s, err == nil
	}, verbatim)
}

func verbatim(s string) string { return s }

func bindCount(name string, to *int) setting {
	return bind(name, to, "must be an integer of at least 1", func(s string) (int, bool) {
		n, err := strconv.Atoi(s)
		return n, err == nil && n >= 1
	}, strconv.Itoa)
}

func bindOffset(name string, to *int) setting {
	return bind(name, to, "must be an integer other than 0", func(s string) (int, bool) {
		n, err := strconv.Atoi(s)
		return n, err == nil && n != 0
	}, strconv.Itoa)
}

func bindDuration(name string, to *time.Duration) setting {
	return bind(name, to, "must be a duration over 0, such as 300ms or 2s", func(s string) (time.Duration, bool) {
		d, err := time.ParseDuration(s)
		return d, err == nil && d > 0
	}, time.Duration.String)
}

func bindProbability(name string, to *float64) setting {
	return bind(name, to, "must be a number over 0 and at most 1", func(s string) (float64, bool) {
		p, err := strconv.ParseFloat(s, 64)
		return p, err == nil && p > 0 && p <= 1
	}, func(p float64) string { return strconv.FormatFloat(p, 'g', -1, 64) })
}

func bindEndpoint(name string, to *Endpoint) setting {
	return bind(name, to, "must be order, lookup or any", endpointOf, func(e Endpoint) string { return endpointWords[e] })
}

// bindFlag returns the setting of a field whose word has no value.
func bindFlag(name string, to *bool) setting {
	return setting{name,
		func(w word) error {
			if w.hasValue {
				return fmt.Errorf("%s: %s takes no value", w, w.name)
			}
			*to = true
			return nil
		},
		func() (word, bool) { return word{name: name}, *to }}
}

// bindBuy returns the setting of buy, a flag that may have a state as its value.
func bindBuy(name string, buy *bool, state *string) setting {
	flag, valued := bindFlag(name, buy), bindState(name, state)
	return setting{name,
		func(w word) error {
			if *buy = true; w.hasValue {
				return valued.parse(w)
			}
			return nil
		},
		func() (word, bool) {
			if *state != "" {
				return valued.word()
			}
			return flag.word()
		}}
}

// find returns the setting of the word called name.
func find(settings []setting, name string) (setting, bool) {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
	if i < 0 {
		return setting{}, false
	}
	return settings[i], true
}

// wordsOf returns the words of the settings that are set, in their order.
func wordsOf(settings []setting) (words []word) {
	for _, s := range settings {
		if w, isSet := s.word(); isSet {
			words = append(words, w)
		}
	}
	return words
}
