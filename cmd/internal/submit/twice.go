package submit

import (
	"cmp"
	"hash/maphash"
	"slices"
)

// fingerprints remembers of each row no more than a hash of its number, of its content
// and of its card: 32 bytes. A file of a million rows so costs some 40 MB, and two
// numbers share a hash once in thirty million such files; then they are looked at.
type fingerprints struct {
	seed    maphash.Seed
	numbers [256][]fingerprint
	cards   [256][]uint64
}

type fingerprint struct {
	number, content uint64
	row             uint32 // index in the file
	packageIndex    uint16
}

func (f *fingerprints) add(index uint32, packageIndex uint16, r *row) {
	n, c := maphash.String(f.seed, r.request.OutTradeNo), maphash.String(f.seed, r.request.ICCID)
	f.numbers[n>>56] = append(f.numbers[n>>56], fingerprint{n, maphash.Bytes(f.seed, r.payload), index, packageIndex})
	f.cards[c>>56] = append(f.cards[c>>56], c)
}

// distinctCards counts the cards.
func (f *fingerprints) distinctCards() (n int) {
	for i := range f.cards {
		slices.Sort(f.cards[i])
		n += len(slices.Compact(f.cards[i]))
		f.cards[i] = nil
	}
	return n
}

// pair is two rows with one number.
type pair struct {
	row, first   uint32
	same         bool // content
	packageIndex uint16
}

// twice calls found for each row whose number stood in an earlier one.
func (f *fingerprints) twice(found func(pair)) {
	for i := range f.numbers {
		rows := f.numbers[i]
		slices.SortFunc(rows, func(a, b fingerprint) int {
			return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.row, b.row))
		})
		first := 0
		for k := 1; k < len(rows); k++ {
			if rows[k].number != rows[first].number {
				first = k
				continue
			}
			found(pair{rows[k].row, rows[first].row, rows[k].content == rows[first].content, rows[k].packageIndex})
		}
		f.numbers[i] = nil
	}
}

// bits is a set of rows.
type bits []uint64

func (b bits) has(i int) bool { return i/64 < len(b) && b[i/64]>>(i%64)&1 == 1 }

func (b *bits) set(i int) {
	for len(*b) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}
