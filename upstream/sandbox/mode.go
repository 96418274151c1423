package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// LookupMode says how the rows of a lookup differ from honest ones; the zero value is
// honest. The vendor has one mode for all lookups (Config.LookupMode,
// Vendor.SetLookupMode). A rule whose action is Rows has its own.
type LookupMode struct {
	Hide      string // a pattern as in path.Match: orders whose outTradeNo matches are not shown; "*" makes the lookup blind
	Omit      string // the comma-separated names of fields that no row has
	Packages  int    // rows per purchase, all with the same numbers; 0 means 1
	Strangers int    // rows of orders that were not asked for, after the others on every page
	Full      bool   // every page is full: pages never end
	Miscount  int    // added to the counter; makes the data an object
	List      string // the name of the array of rows, instead of "list"; makes the data an object
}

// maxRows is the largest value of Packages and of Strangers.
const maxRows = 10_000

// ParseLookupMode parses the text form of a mode, which Help explains. An empty text is
// the honest mode.
func ParseLookupMode(text string) (LookupMode, error) {
	words, err := splitWords(text)
	if err != nil {
		return LookupMode{}, fmt.Errorf("lookup mode %q: %w", text, err)
	}
	var m LookupMode
	for _, w := range words {
		field, ok := find(m.settings(), w.name)
		if !ok {
			return LookupMode{}, fmt.Errorf("lookup mode %q: %s: no such word, must be one of %s", text, w, strings.Join(modeWords, ", "))
		}
		if err := field.parse(w); err != nil {
			return LookupMode{}, fmt.Errorf("lookup mode %q: %w", text, err)
		}
	}
	if err := m.Validate(); err != nil {
		return LookupMode{}, fmt.Errorf("lookup mode %q: %w", text, err)
	}
	return m, nil
}

// String returns the text form, which ParseLookupMode parses into the same mode.
func (m LookupMode) String() string { return joinWords(wordsOf(m.settings())) }

// Validate returns one error with every fault of m, or nil.
func (m LookupMode) Validate() error { return errors.Join(m.validate()...) }

func (m LookupMode) validate() []error {
	var found faults
	found.add(badPattern(m.Hide), "hide=%s: not a pattern", m.Hide)
	for name := range strings.SplitSeq(m.Omit, ",") {
		found.add(m.Omit != "" && !slices.Contains(rowFields, name), "omit=%s: %q must be one of %s", m.Omit, name, strings.Join(rowFields, ", "))
	}
	found.add(m.Packages < 0 || m.Packages > maxRows, "packages=%d: must be within 1..%d", m.Packages, maxRows)
	found.add(m.Strangers < 0 || m.Strangers > maxRows, "strangers=%d: must be within 1..%d", m.Strangers, maxRows)
	found.add(m.List == totalField, "list=%s: that is the counter", m.List)
	return found
}

// settings returns the settings of a mode, in the order of the text form.
func (m *LookupMode) settings() []setting {
	return []setting{
		bindText("hide", &m.Hide),
		bindText("omit", &m.Omit),
		bindCount("packages", &m.Packages),
		bindCount("strangers", &m.Strangers),
		bindFlag("full", &m.Full),
		bindOffset("miscount", &m.Miscount),
		bindText("list", &m.List),
	}
}

// modeWords has the names of those settings.
var modeWords = []string{"hide", "omit", "packages", "strangers", "full", "miscount", "list"}

// SetLookupMode sets the mode of all lookups from the next answer on.
func (v *Vendor) SetLookupMode(m LookupMode) error {
	if err := m.Validate(); err != nil {
		return fmt.Errorf("lookup mode: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mode = m
	return nil
}

// LookupMode returns the mode of all lookups.
func (v *Vendor) LookupMode() LookupMode {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mode
}

// rowFields has the names of a row's fields.
var rowFields = []string{"outTradeNo", "orderNumber", "orderId", "iccid", "packageCode", "state"}
