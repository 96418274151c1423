package submit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"orderworker/worker"
	"orderworker/worker/client"
)

// row is one order of a file.
type row struct {
	line    int   // number of its first line
	offset  int64 // byte offset of its first byte in the file
	request client.Request
	payload []byte   // the request as it is published; nil: the row is broken
	cells   []string // CSV only
	faults  []error  // the rules that it breaks
}

// rows reads the orders of a file, one after another.
type rows struct {
	lines  *lines
	header *header // nil: JSON Lines
	prefix string  // prefix of the numbers that are made; "": every row must have its number
}

const (
	// A row may continue over this many lines and bytes after its first line. No field of a
	// request has line breaks, but a column of notes may.
	maxRowLines = 100
	maxRowBytes = 64 << 10
)

// next returns the next row, even if it is broken, or io.EOF. It skips empty lines.
func (r *rows) next() (*row, error) {
	for {
		l, err := r.lines.next()
		if err != nil {
			return nil, err
		}
		row := &row{line: l.number, offset: l.offset}
		if l.length > len(l.text) {
			row.faults = []error{fmt.Errorf("the line has %d bytes; the longest allowed has %d", l.length, maxLine)}
			return row, nil
		}
		if l.offset == 0 {
			l.text = bytes.TrimPrefix(l.text, bom)
		}
		if r.header == nil {
			if len(bytes.TrimSpace(l.text)) == 0 {
				continue
			}
			r.decode(row, l.text)
			return row, nil
		}
		if len(bytes.Trim(l.text, " \t,;")) == 0 { // spreadsheets end files with rows of empty cells
			continue
		}
		if err := r.split(row, l); err != nil {
			return nil, err
		}
		return row, nil
	}
}

// split reads a row of a CSV file, which may continue over several lines, and fills in row.
// The error is one of reading the file.
func (r *rows) split(row *row, first line) error {
	text, inQuotes := first.text, endsInQuotes(first.text, r.header.separator, false)
	var more []line
	for inQuotes {
		l, err := r.lines.next()
		if err == nil {
			more = append(more, l)
		}
		if errors.Is(err, io.EOF) || len(more) > maxRowLines || len(text)+l.length > maxRowBytes {
			r.lines.unread(more)
			row.faults = []error{fmt.Errorf("a cell's quote is not closed: %s", clip(first.text))}
			return nil
		}
		if err != nil {
			return err
		}
		text = append(append(text, '\n'), l.text...)
		inQuotes = endsInQuotes(l.text, r.header.separator, true)
	}
	var err error
	switch row.cells, err = splitCells(text, r.header.separator); {
	case err != nil:
		row.faults = []error{fmt.Errorf("a quote stands where none may: %s", clip(first.text))}
	case len(row.cells) != len(r.header.names):
		row.faults = []error{fmt.Errorf("the line has %d cells, the header has %d", len(row.cells), len(r.header.names))}
	case r.header.isRepeated(row.cells):
		row.faults = []error{errors.New("this is the header line again")}
	default:
		r.convert(row)
	}
	return nil
}

// spreadsheet matches a long number as spreadsheets write it, such as 8.98831E+18.
var spreadsheet = regexp.MustCompile(`^[+-]?\d([.,]\d+)?[eE]\+\d{1,3}$`)

// convert turns the cells of a row into a request. An empty cell is an absent field. The
// cells are written as JSON and decoded like any request, so that both kinds of files have
// the same rules. A cell whose own fault says more than the decoder's gets only that fault.
func (r *rows) convert(row *row) {
	object := []byte{'{'}
	wrong := map[string]error{}
	for field, name := range fieldNames {
		value := ""
		if column := r.header.column[field]; column >= 0 {
			value = row.cells[column]
		}
		if field == outTradeNo && value == "" && r.prefix != "" {
			value = r.number(row)
		}
		switch {
		case value == "":
			continue
		case !utf8.ValidString(value):
			wrong[name] = &worker.InvalidError{Field: name, Value: string(clip([]byte(value))), Rule: "valid UTF-8"}
			continue
		}
		if len(object) > 1 {
			object = append(object, ',')
		}
		object, _ = jsontext.AppendQuote(object, name)
		object = append(object, ':')
		if n, err := strconv.ParseInt(value, 10, 64); field == renew && err == nil {
			object = strconv.AppendInt(object, n, 10)
		} else {
			object, _ = jsontext.AppendQuote(object, value)
		}
	}
	r.decode(row, append(object, '}'))
	if len(wrong) == 0 {
		return
	}
	row.payload = nil
	row.faults = slices.DeleteFunc(row.faults, func(err error) bool {
		invalid, ok := errors.AsType[*worker.InvalidError](err)
		return ok && wrong[invalid.Field] != nil
	})
	for _, name := range fieldNames {
		if err := wrong[name]; err != nil {
			row.faults = append(row.faults, err)
		}
	}
}

// number returns the outTradeNo that is made for a row without one.
func (r *rows) number(row *row) string { return r.prefix + "-" + strconv.Itoa(row.line) }

// decode reads the row's request from JSON text, and checks it by the worker's rules.
func (r *rows) decode(row *row, text []byte) {
	request, err := client.Decode(text)
	faults := unjoin(err)
	if r.prefix != "" && slices.ContainsFunc(faults, isAbsentNumber) {
		faults = slices.DeleteFunc(faults, isAbsentNumber)
		request.OutTradeNo = r.number(row)
	}
	faults = nameNotation(request, faults)
	if len(faults) == 0 {
		row.request = request
		row.payload, err = request.Payload()
		faults = unjoin(err)
	}
	row.faults = faults
}

// nameNotation returns the faults of a request, and among them those of a number in a
// spreadsheet's notation instead of what else is said of it. It may be a valid outTradeNo,
// or stand in a fault as it stands in the file: a string or a number, with spaces.
func nameNotation(r client.Request, faults []error) []error {
	valid := [...]string{outTradeNo: r.OutTradeNo, iccid: r.ICCID}
	for field, value := range valid {
		name := fieldNames[field]
		isOfField := func(err error) bool {
			invalid, ok := errors.AsType[*worker.InvalidError](err)
			return ok && invalid.Field == name
		}
		i := slices.IndexFunc(faults, isOfField)
		if i >= 0 {
			invalid, _ := errors.AsType[*worker.InvalidError](faults[i])
			value = invalid.Value
		}
		if value = strings.Trim(value, "\" \t"); !spreadsheet.MatchString(value) {
			continue
		}
		fault := &worker.InvalidError{Field: name, Value: value,
			Rule: "this is a spreadsheet's notation of a long number, which has lost its last digits: give the column the format text, and export it again"}
		if i >= 0 {
			faults[i] = fault
		} else {
			faults = append(faults, fault)
		}
	}
	return faults
}

// unjoin returns the errors that err joins.
func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // only this error itself, not one that it wraps
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// isAbsentNumber reports whether err is that of a request without outTradeNo.
func isAbsentNumber(err error) bool {
	invalid, ok := errors.AsType[*worker.InvalidError](err)
	return ok && invalid.Field == fieldNames[outTradeNo] && invalid.Value == "absent"
}

// bom is the byte-order mark, with which spreadsheets begin a file in UTF-8.
var bom = []byte("\xef\xbb\xbf")

// clip returns the beginning of a text for a message: quoted, printable ASCII on one line.
func clip(text []byte) string {
	const most = 64 // bytes
	if len(text) > most {
		return strconv.QuoteToASCII(string(text[:most])) + fmt.Sprintf("... (%d bytes)", len(text))
	}
	return strconv.QuoteToASCII(string(text))
}
