package submit

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
)

// The fields of a request: section 2 of the contract. They index header.column.
const (
	outTradeNo = iota
	iccid
	packageCode
	renew
	expiresAt
	fieldCount
)

var fieldNames = [fieldCount]string{"outTradeNo", "iccid", "packageCode", "renew", "expiresAt"}

// header is the first line of a CSV file.
type header struct {
	separator rune
	names     []string        // names of all columns, without spaces around them
	column    [fieldCount]int // column of each field; -1: there is none
	unused    []string        // columns that are no field of a request
}

// readHeader reads the header line. Of comma, semicolon and tab the separator is the one
// with which most fields are found. numbered says that outTradeNo may be missing. The
// errors are the header's faults, one for each line of output.
func readHeader(text []byte, numbered bool) (*header, []error) {
	var best *header
	most := -1
	for _, separator := range []rune{',', ';', '\t'} {
		names, err := splitCells(text, separator)
		if err != nil {
			continue
		}
		h := newHeader(separator, names)
		found := 0
		for _, c := range h.column {
			if c >= 0 {
				found++
			}
		}
		if found > most {
			best, most = h, found
		}
	}
	if best == nil {
		return nil, []error{fmt.Errorf("the header cannot be read: a cell's quote is not closed")}
	}
	return best, best.faults(numbered)
}

func newHeader(separator rune, names []string) *header {
	h := &header{separator: separator, column: [fieldCount]int{-1, -1, -1, -1, -1}}
	for i, name := range names {
		name = strings.TrimSpace(name)
		h.names = append(h.names, name)
		if field := slices.Index(fieldNames[:], name); field >= 0 && h.column[field] < 0 {
			h.column[field] = i
		} else if field < 0 && name != "" {
			h.unused = append(h.unused, name)
		}
	}
	return h
}

// faults lists what is wrong with the header: columns that are missing, that occur twice,
// or whose names differ from a field only in case, spaces, "_" or "-".
func (h *header) faults(numbered bool) (faults []error) {
	plain := strings.NewReplacer("_", "", "-", "", " ", "")
	for i, name := range h.names {
		for _, field := range fieldNames {
			switch {
			case name == field && slices.Index(h.names, name) < i:
				faults = append(faults, fmt.Errorf("column %s comes twice", name))
			case name != field && strings.EqualFold(plain.Replace(name), field):
				faults = append(faults, fmt.Errorf("column %q: no such field; did you mean %s?", name, field))
			}
		}
	}
	if len(faults) > 0 {
		return faults
	}
	for _, field := range []int{outTradeNo, iccid, packageCode} {
		switch {
		case h.column[field] >= 0, field == outTradeNo && numbered:
		case field == outTradeNo:
			faults = append(faults, fmt.Errorf("column outTradeNo is missing: the first line must name the columns; --prefix makes the numbers"))
		default:
			faults = append(faults, fmt.Errorf("column %s is missing: the first line must name the columns, and names %s", fieldNames[field], shownNames(h.names)))
		}
	}
	return faults
}

// shownNames lists column names for a message. They come from a file and may be of any
// length and number, so they are quoted and cut.
func shownNames(names []string) string {
	var shown []string
	for _, name := range names[:min(len(names), 8)] {
		shown = append(shown, fmt.Sprintf("%.40q", name))
	}
	if len(names) > len(shown) {
		shown = append(shown, fmt.Sprintf("and %d more", len(names)-len(shown)))
	}
	return strings.Join(shown, ", ")
}

// isRepeated reports whether a row is the header line once more, as in a file to which
// another one was appended.
func (h *header) isRepeated(row []string) bool {
	for field, column := range h.column {
		if column >= 0 && (column >= len(row) || strings.TrimSpace(row[column]) != fieldNames[field]) {
			return false
		}
	}
	return true
}

// splitCells splits the text of one row into cells.
func splitCells(text []byte, separator rune) ([]string, error) {
	if !bytes.ContainsRune(text, '"') {
		return strings.Split(string(text), string(separator)), nil
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.FieldsPerRecord = separator, -1
	return r.Read()
}

// endsInQuotes reports whether the end of text is inside a quoted cell, so that the row
// continues on the next line. inQuotes says whether the beginning of text is.
func endsInQuotes(text []byte, separator rune, inQuotes bool) bool {
	quoted, start := inQuotes, !inQuotes // start: the next byte is the first one of a cell
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted && c == '"' && i+1 < len(text) && text[i+1] == '"':
			i++
		case c == '"' && (quoted || start):
			quoted, start = !quoted, false
		case !quoted:
			start = rune(c) == separator
		}
	}
	return quoted
}
