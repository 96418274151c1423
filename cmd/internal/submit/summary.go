package submit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"orderworker/cmd/internal/text"
)

// summary is what a person is told of a file before it is published.
type summary struct {
	duplicates int            // rows that are not published, because an earlier row is the same order
	cards      int            // different cards
	packages   []packageCount // the first maxPackages, then one for all others
	known      map[string]int // index in packages by packageCode
	expired    int            // orders whose expiresAt has passed already
	rounded    int            // cards that look as if a spreadsheet had rounded them
}

type packageCount struct {
	code   string
	orders int
}

// maxPackages bounds the memory that the summary takes.
const maxPackages = 1000

// add counts a row, and returns the index of its package.
func (s *summary) add(r *row, now time.Time) uint16 {
	if s.known == nil {
		s.known = map[string]int{}
	}
	i, known := s.known[r.request.PackageCode]
	if !known {
		i = min(len(s.packages), maxPackages)
		if i == len(s.packages) {
			s.packages = append(s.packages, packageCount{})
		}
		if i < maxPackages {
			s.known[r.request.PackageCode] = i
			s.packages[i].code = r.request.PackageCode
		}
	}
	s.packages[i].orders++
	if at := r.request.ExpiresAt; at != nil && at.Before(now) {
		s.expired++
	}
	// A spreadsheet keeps 15 digits of a number and writes zeros for the others.
	if card := r.request.ICCID; len(card) >= 19 && strings.Trim(card, "0123456789") == "" && strings.Trim(card[15:], "0") == "" {
		s.rounded++
	}
	return uint16(i)
}

// describe returns a text for the person who submits the file: what would be published,
// and how long the account takes for it. rate is in requests a second, 0 for no limit.
func (f *file) describe(rate float64, jitter time.Duration) string {
	orders := f.rows - f.duplicates
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s, %s", f.name, text.Counted(orders, "order"), text.Counted(f.cards, "card"), f.countPackages())
	if rate > 0 {
		took := time.Duration(float64(orders) * (1 + jitter.Seconds()) / rate * float64(time.Second))
		fmt.Fprintf(&b, "; about %s at %g requests a second", roughly(took), rate)
	}
	b.WriteByte('\n')
	listed := slices.SortedFunc(slices.Values(f.packages), func(a, b packageCount) int {
		return cmp.Or(cmp.Compare(b.orders, a.orders), cmp.Compare(a.code, b.code))
	})
	for _, p := range listed[:min(len(listed), 10)] {
		fmt.Fprintf(&b, "  %7d x %s\n", p.orders, cmp.Or(p.code, "others"))
	}
	if len(listed) > 10 {
		b.WriteString("          and further packages\n")
	}
	if f.duplicates > 0 {
		fmt.Fprintf(&b, "  %d %s the same as an earlier one, and %s sent once; each gets the result\n", f.duplicates, text.Noun(f.duplicates, "row is", "rows are"), isAre(f.duplicates))
	}
	if f.header != nil && len(f.header.unused) > 0 {
		fmt.Fprintf(&b, "  columns that are not used: %s\n", shownNames(f.header.unused))
	}
	if f.expired > 0 {
		fmt.Fprintf(&b, "  warning: %d %s past expiresAt already, and will fail as expired\n", f.expired, text.Noun(f.expired, "order is", "orders are"))
	}
	if f.rounded*10 > f.rows { // by chance it is one card in ten thousand
		fmt.Fprintf(&b, "  warning: %d %s only zeros after the 15th digit: a spreadsheet that takes a card for a number rounds it so\n", f.rounded, text.Noun(f.rounded, "card has", "cards have"))
	}
	return b.String()
}

func (f *file) countPackages() string {
	if len(f.packages) > maxPackages {
		return fmt.Sprintf("more than %d packages", maxPackages)
	}
	return text.Counted(len(f.packages), "package")
}

// roughly formats d with the precision that a person needs.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second / 10).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
