package submit

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// file is a file of orders that was checked: all its rows keep the rules. What is read
// from it later is compared with what was checked, so that nothing unchecked is published
// if somebody changes the file in between.
type file struct {
	name      string // for messages
	data      *os.File
	buffer    *bufio.Reader
	header    *header // nil: JSON Lines
	prefix    string  // Options.Prefix
	chunks    []chunk
	rows      int
	duplicate bits // rows with the number and the content of an earlier row: they are not published
	seed      maphash.Seed

	summary
}

// chunkRows is how many rows are read, verified and looked up in the results together.
const chunkRows = 200

// chunk is all that is kept of chunkRows consecutive rows of a file.
type chunk struct {
	offset int64  // byte offset of the first row
	line   int    // line number of the first row
	rows   int    // number of rows, broken ones included
	sum    uint64 // hash of the payloads
	final  bits   // rows whose outcome is known to be final
	left   int    // number of rows that are not in final
}

// errChanged means that the file is no longer the one that was checked.
var errChanged = errors.New("it was changed while it was being read; nothing more of it is published")

// openFile opens the file of orders at path. For "-" it copies stdin to a temporary file,
// because the file is read more than once. The caller closes it.
func openFile(path string, stdin io.Reader) (*os.File, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			f.Close()
			return nil, cmp.Or(err, fmt.Errorf("%s is no regular file; - reads standard input", path))
		}
		return f, nil
	}
	f, err := os.CreateTemp("", "orderworker-submit-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name()) // without a name the file disappears with the process, however that ends
	if _, err := io.Copy(f, stdin); err != nil {
		f.Close()
		return nil, fmt.Errorf("copy standard input to a temporary file: %w", err)
	}
	return f, nil
}

// displayName returns the file's name for messages.
func displayName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

// hasJSONName reports whether the file's name says that it is JSON Lines.
func hasJSONName(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".jsonl", ".ndjson", ".json":
		return true
	}
	return false
}

// isJSON reports whether the file is JSON Lines: by its name, otherwise by its first byte.
func isJSON(path string, data io.ReaderAt) bool {
	if hasJSONName(path) {
		return true
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv", ".tsv":
		return false
	}
	begin := make([]byte, 512)
	n, _ := data.ReadAt(begin, 0)
	return bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(begin[:n], bom)), []byte("{"))
}

// check reads and checks the whole file. It calls broken for each rule that a row breaks,
// and returns an error if there was one, or if ctx ends.
func check(ctx context.Context, path string, data *os.File, prefix string, now time.Time, broken func(line int, err error)) (*file, error) {
	f := &file{name: displayName(path), data: data, buffer: bufio.NewReaderSize(nil, 64<<10), prefix: prefix, seed: maphash.MakeSeed()}
	r, err := f.begin(isJSON(path, data), broken)
	if err != nil {
		return nil, err
	}
	hashes := &digests{seed: f.seed}
	faulty := 0
	var sum maphash.Hash
	sum.SetSeed(f.seed)
	for {
		row, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
		if len(row.faults) > 0 {
			faulty++
		}
		for _, fault := range row.faults {
			broken(row.line, fault)
		}
		if f.rows%chunkRows == 0 {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("read %s: %w", f.name, context.Cause(ctx))
			}
			f.seal(&sum)
			f.chunks = append(f.chunks, chunk{offset: row.offset, line: row.line})
		}
		last := &f.chunks[len(f.chunks)-1]
		last.rows++
		last.left++
		_, _ = sum.Write(row.payload)
		if row.payload != nil {
			hashes.add(uint32(f.rows), f.summary.add(row, now), row)
		}
		f.rows++
	}
	f.seal(&sum)
	f.cards = hashes.distinctCards()
	conflicts, err := f.compareRepeats(ctx, hashes, broken)
	switch faulty += conflicts; {
	case err != nil:
		return nil, err
	case faulty > 0:
		return nil, fmt.Errorf("%s: %d of %d rows %s refused; nothing was published", f.name, faulty, f.rows, isAre(faulty))
	case f.rows == 0:
		return nil, fmt.Errorf("%s has no orders", f.name)
	}
	return f, nil
}

// begin reads the header of a CSV file, and returns the reader of the rows.
func (f *file) begin(json bool, broken func(line int, err error)) (*rows, error) {
	start := make([]byte, 3)
	n, err := f.data.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", f.name, err)
	}
	if s := start[:n]; bytes.HasPrefix(s, []byte{0xff, 0xfe}) || bytes.HasPrefix(s, []byte{0xfe, 0xff}) {
		return nil, fmt.Errorf("%s is in UTF-16: export it as CSV in UTF-8", f.name)
	}
	l := newLines(f.data, f.buffer, 0, 0)
	if json {
		return &rows{lines: l, prefix: f.prefix}, nil
	}
	for {
		first, err := l.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%s has no orders", f.name)
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
		if first.offset == 0 {
			first.text = bytes.TrimPrefix(first.text, bom)
		}
		if len(bytes.TrimSpace(first.text)) == 0 {
			continue
		}
		var faults []error
		if f.header, faults = readHeader(first.text, f.prefix != ""); len(faults) > 0 {
			for _, fault := range faults {
				broken(first.number, fault)
			}
			return nil, fmt.Errorf("%s: the header line is broken; nothing was published", f.name)
		}
		return &rows{lines: l, header: f.header, prefix: f.prefix}, nil
	}
}

// seal stores the hash of the last chunk, and resets sum for the next one.
func (f *file) seal(sum *maphash.Hash) {
	if len(f.chunks) > 0 {
		f.chunks[len(f.chunks)-1].sum = sum.Sum64()
	}
	sum.Reset()
}

// read reads chunk i again. If it differs from what was checked, the error wraps
// errChanged.
func (f *file) read(i int) ([]*row, error) {
	c := f.chunks[i]
	r := rows{lines: newLines(f.data, f.buffer, c.offset, c.line-1), header: f.header, prefix: f.prefix}
	var sum maphash.Hash
	sum.SetSeed(f.seed)
	all := make([]*row, 0, c.rows)
	for range c.rows {
		row, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: %w", f.name, errChanged)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", f.name, err)
		}
		_, _ = sum.Write(row.payload)
		all = append(all, row)
	}
	if sum.Sum64() != c.sum {
		return nil, fmt.Errorf("%s: %w", f.name, errChanged)
	}
	return all, nil
}

// isAre returns the verb for n things.
func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
