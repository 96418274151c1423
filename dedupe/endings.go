package dedupe

import (
	"slices"
	"time"
)

// Ending is how a request to the vendor ended that did not sell for certain. It is for
// people who ask what happened: nothing is decided by it.
type Ending struct {
	At      time.Time `json:"at"`
	Attempt int       `json:"attempt,omitempty"`
	Class   string    `json:"class"`
	Code    string    `json:"code,omitempty"`
	Message string    `json:"message,omitempty"` // the vendor's, or what went wrong
}

// maxEndings is how many endings of an order are kept, the newest ones.
const maxEndings = 10

// Note adds an ending to the progress of the order.
func (p *Progress) Note(e Ending) {
	e.At = floorMillis(e.At)
	kept := p.Endings[max(0, len(p.Endings)-maxEndings+1):]
	p.Endings = append(slices.Clone(kept), e) // the old slice may be part of a record
}

// newerEndings returns the list whose last ending is the newer one. The lists may differ:
// the journal is not written at every ending, and the cache may be lost.
func newerEndings(a, b []Ending) []Ending {
	if len(a) == 0 || len(b) > 0 && b[len(b)-1].At.After(a[len(a)-1].At) {
		return b
	}
	return a
}

// Endings returns how the order's requests ended, as far as that is known, oldest first.
func (k Known) Endings() []Ending {
	var cached, journalled []Ending
	if k.Cache != nil {
		cached = k.Cache.Endings
	}
	if k.Journal != nil {
		journalled = k.Journal.Endings
	}
	return newerEndings(cached, journalled)
}
