package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxNumbers is the most numbers in one lookup, the control number included, and the
// page size that it asks for.
//
// Source: upstream/VENDOR.md, "Batch lookup".
const MaxNumbers = 50

// Question is the content of one lookup: which orders among Numbers have packages in
// State?
type Question struct {
	Numbers []string // outTradeNos, 1 to MaxNumbers
	State   *int64   // nil: the parameter is left out; the vendor does not document what that means
	Unpaged bool     // page and pageSize are left out; only the doctor does so, to learn what that means
}

// Page is the vendor's answer to a Question. By itself it proves nothing: see Round.
type Page struct {
	Rows    []Row
	List    string // the name of the field with the rows; "" if the data is the list itself, or missing
	More    bool   // there may be more rows: the page is full, or a counter says so
	Message string // the vendor's message
}

// Row is one package that was sold.
type Row struct {
	OutTradeNo string // "" if the row has none
	Purchase          // OrderNumber is "" if the row has no valid one
}

// Lookup makes one lookup. No byte leaves after sendBy, by the wall clock. Lookup ends
// the line. The error is always an *Error; whatever its class, it proves nothing about
// any order.
//
// Source: upstream/VENDOR.md, "Batch lookup".
func (l *Line) Lookup(ctx context.Context, q Question, sendBy time.Time) (Page, error) {
	if err := q.check(); err != nil {
		l.Release()
		return Page{}, &Error{Class: Unreachable, Err: err}
	}
	r, hide, fail := l.call(ctx, l.client.lookup, lookupParams(q), sendBy)
	if fail != nil {
		return Page{}, fail
	}
	p, err := readPage(r)
	p.Message = hide.text(r.message, maxMessageBytes)
	if err != nil {
		return Page{}, &Error{Class: Ambiguous, Code: codeOK, Message: p.Message, Err: err}
	}
	for i := range p.Rows {
		p.Rows[i].Code, p.Rows[i].Message = codeOK, p.Message
	}
	return p, nil
}

func (q Question) check() error {
	if n := len(q.Numbers); n < 1 || n > MaxNumbers {
		return fmt.Errorf("lookup of %d numbers: must be 1 to %d", n, MaxNumbers)
	}
	for _, no := range q.Numbers {
		if no == "" || strings.Contains(no, ",") {
			return fmt.Errorf("lookup of %q: must be a number without a comma", no)
		}
	}
	return nil
}

// readPage parses the reply to a lookup, with code "200". Its data is an array of
// objects, or an object that contains one. No data means no rows.
func readPage(r reply) (Page, error) {
	var p Page
	list, isArray := elements(r.data)
	counted := r.counters
	switch kind := r.data.Kind(); {
	case len(r.data) == 0, kind == 'n', isArray:
	case kind == '{':
		var err error
		if p.List, list, err = listIn(r.data, &counted); err != nil {
			return Page{}, err
		}
	default:
		return Page{}, errors.New("the data of a lookup is neither an array nor an object")
	}
	for _, element := range list {
		if element.Kind() != '{' {
			return Page{}, errors.New("a row of a lookup is not an object")
		}
		row, err := readRow(element)
		if err != nil {
			return Page{}, fmt.Errorf("a row of a lookup is unreadable: %w", err)
		}
		p.Rows = append(p.Rows, row)
	}
	p.More = len(p.Rows) >= MaxNumbers || counted.more(len(p.Rows))
	return p, nil
}

// listIn returns the array of rows in the data of a lookup, and reads its counters into c.
// If there are several arrays of objects, it is the only one whose objects name an
// order.
func listIn(data jsontext.Value, c *counters) (name string, list []jsontext.Value, err error) {
	type found struct {
		name string
		list []jsontext.Value
	}
	var lists, naming []found
	err = readObject(data, func(name string, value jsontext.Value) {
		c.read(name, value)
		all, ok := elements(value)
		if !ok {
			return
		}
		namesOrder := false
		for _, element := range all {
			if element.Kind() != '{' {
				return
			}
			_ = readObject(element, func(name string, _ jsontext.Value) {
				namesOrder = namesOrder || name == "outTradeNo" || name == "orderNumber"
			})
		}
		lists = append(lists, found{name, all})
		if namesOrder {
			naming = append(naming, found{name, all})
		}
	})
	switch {
	case err != nil:
		return "", nil, err
	case len(naming) == 1:
		return naming[0].name, naming[0].list, nil
	case len(naming) == 0 && len(lists) == 1:
		return lists[0].name, lists[0].list, nil
	}
	return "", nil, fmt.Errorf("the data of a lookup has %d arrays of rows", len(lists))
}

func readRow(element jsontext.Value) (r Row, err error) {
	err = readObject(element, func(name string, value jsontext.Value) {
		if name == "outTradeNo" {
			r.OutTradeNo, _ = stringText(value)
			if value.Kind() == '0' {
				r.OutTradeNo = string(value)
			}
		}
	})
	r.Purchase = readPurchase(element)
	return r, err
}

// counters is what an answer says about the number of all rows and pages.
type counters struct {
	rows, pages float64
	next        bool
}

// read notes a member of the reply or of its data if it is a counter, by a name that
// is usual for one.
func (c *counters) read(name string, value jsontext.Value) {
	switch strings.ToLower(name) {
	case "total", "totalcount", "totalnum", "totalnumber", "totalrow", "totalrows", "totalrecord", "totalrecords", "totalsize",
		"totalelements", "totalitems", "count", "rowcount", "recordcount", "records":
		c.rows = max(c.rows, number(value))
	case "pages", "totalpage", "totalpages", "pagecount", "pagetotal":
		c.pages = max(c.pages, number(value))
	case "hasnext", "hasnextpage", "hasmore":
		c.next = c.next || value.Kind() == 't'
	}
}

// more reports whether there are more rows than n.
func (c counters) more(n int) bool { return c.next || c.pages > 1 || c.rows > float64(n) }
