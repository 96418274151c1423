package submit

import (
	"cmp"
	"hash/maphash"
	"slices"
)

// digests keeps 32 bytes of each row: hashes of its number, of its content and of its
// card. A file of a million rows takes some 40 MB. Two numbers share a hash once in thirty
// million such files, so whoever reports a contradiction compares the rows themselves.
type digests struct {
	seed    maphash.Seed
	numbers [256][]digest
	cards   [256][]uint64
}

// digest is what is kept of one row.
type digest struct {
	number, content uint64
	row             uint32 // index in the file
	packageIndex    uint16 // index in summary.packages
}

// add keeps the digest of row r, which has that index in the file.
func (f *digests) add(index uint32, packageIndex uint16, r *row) {
	n, c := maphash.String(f.seed, r.request.OutTradeNo), maphash.String(f.seed, r.request.ICCID)
	f.numbers[n>>56] = append(f.numbers[n>>56], digest{n, maphash.Bytes(f.seed, r.payload), index, packageIndex})
	f.cards[c>>56] = append(f.cards[c>>56], c)
}

// distinctCards returns the number of different cards. It drops their hashes, so it is
// called once.
func (f *digests) distinctCards() (n int) {
	for i := range f.cards {
		slices.Sort(f.cards[i])
		n += len(slices.Compact(f.cards[i]))
		f.cards[i] = nil
	}
	return n
}

// pair is two rows whose numbers have the same hash.
type pair struct {
	row, first   uint32 // index of the later row, and of the first one with that number
	same         bool   // the two have the same content
	packageIndex uint16 // package of the later row
}

// eachRepeat calls found for each row that has the number of an earlier row. It drops the
// hashes of the numbers, so it is called once.
func (f *digests) eachRepeat(found func(pair)) {
	for i := range f.numbers {
		rows := f.numbers[i]
		slices.SortFunc(rows, func(a, b digest) int {
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

// bits is a set of row indexes.
type bits []uint64

func (b bits) has(i int) bool { return i/64 < len(b) && b[i/64]>>(i%64)&1 == 1 }

func (b *bits) set(i int) {
	for len(*b) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}
