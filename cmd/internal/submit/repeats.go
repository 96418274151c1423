package submit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// compareRepeats marks the rows that are duplicates of an earlier row. It calls broken for
// each row that has the number of an earlier row and other content, and counts those.
func (f *file) compareRepeats(ctx context.Context, hashes *digests, broken func(line int, err error)) (conflicts int, err error) {
	var differing []pair
	hashes.eachRepeat(func(p pair) {
		if p.same {
			f.duplicate.set(int(p.row))
			f.duplicates++
			f.packages[p.packageIndex].orders--
		} else {
			differing = append(differing, p)
		}
	})
	slices.SortFunc(differing, func(a, b pair) int { return cmp.Compare(a.row, b.row) })
	// The rows come in their order, and the first rows mostly do. So the last chunk of each is
	// kept: to decode two chunks for every row would take minutes for a file of 100,000 rows.
	later, earlier := &decoded{file: f}, &decoded{file: f}
	for _, p := range differing {
		if ctx.Err() != nil {
			return 0, fmt.Errorf("read %s: %w", f.name, context.Cause(ctx))
		}
		row, err := later.row(int(p.row))
		if err != nil {
			return 0, err
		}
		first, err := earlier.row(int(p.first))
		if err != nil {
			return 0, err
		}
		if row.request.OutTradeNo != first.request.OutTradeNo { // different numbers with the same hash
			continue
		}
		conflicts++
		broken(row.line, fmt.Errorf("outTradeNo: %q stands on line %d too, with another %s", row.request.OutTradeNo, first.line, differences(row, first)))
	}
	return conflicts, nil
}

// differences names the fields in which two rows differ.
func differences(a, b *row) string {
	var fields []string
	for _, f := range []struct {
		name string
		same bool
	}{
		{"iccid", a.request.ICCID == b.request.ICCID},
		{"packageCode", a.request.PackageCode == b.request.PackageCode},
		{"renew", (a.request.Renew == nil) == (b.request.Renew == nil) && (a.request.Renew == nil || *a.request.Renew == *b.request.Renew)},
		{"expiresAt", (a.request.ExpiresAt == nil) == (b.request.ExpiresAt == nil) && (a.request.ExpiresAt == nil || a.request.ExpiresAt.Equal(*b.request.ExpiresAt))},
	} {
		if !f.same {
			fields = append(fields, f.name)
		}
	}
	return strings.Join(fields, ", ")
}

// decoded is a file of which the chunk that was read last is kept.
type decoded struct {
	*file
	chunk int // index of the chunk that rows has
	rows  []*row
}

// row returns the row of index i, which it reads again if need be.
func (d *decoded) row(i int) (*row, error) {
	if d.rows == nil || d.chunk != i/chunkRows {
		rows, err := d.read(i / chunkRows)
		if err != nil {
			return nil, err
		}
		d.chunk, d.rows = i/chunkRows, rows
	}
	return d.rows[i%chunkRows], nil
}
