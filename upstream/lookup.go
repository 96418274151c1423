package upstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxNumbers is the most numbers that one lookup may ask for, the control number
// included, and the most rows that it is asked to return.
//
// Source: upstream/VENDOR.md, "Batch lookup".
const MaxNumbers = 50

// Question is what one lookup asks: which orders of Numbers the vendor has sold
// whose packages are in State.
type Question struct {
	Numbers []string // outTradeNos, 1 to MaxNumbers
	State   *int64   // nil: the parameter is left out, and what that means is not documented
	Unpaged bool     // page and pageSize are left out; only the doctor asks so, to learn what that means
}

// Page is the vendor's answer to a Question. It proves nothing by itself: see
// Round.
type Page struct {
	Rows    []Row
	List    string // the name of the field that the rows are in; "" for a bare list, or no data
	More    bool   // something says that there are more rows: a full page, or a counter
	Message string // the vendor's words
}

// Row is one package that was sold.
type Row struct {
	OutTradeNo string // "" where the row has none
	Purchase          // OrderNumber is "" where the row has none, or none that is valid
}

// Lookup asks q once. No byte of the question leaves after sendBy, by the wall
// clock. The line ends with it. The error is always an *Error, and whatever its
// class, it proves nothing about any of the numbers.
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

// readPage reads a lookup's reply with code "200": its data is an array of
// objects, or an object that has one. No data means no rows.
func readPage(r reply) (Page, error) {
	var p Page
	list, isArray := elements(r.data)
	most := r.counters
	switch kind := r.data.Kind(); {
	case len(r.data) == 0, kind == 'n', isArray:
	case kind == '{':
		var err error
		if p.List, list, err = listIn(r.data, &most); err != nil {
			return Page{}, err
		}
	default:
		return Page{}, errors.New("a lookup whose data is neither a list nor an object")
	}
	for _, element := range list {
		if element.Kind() != '{' {
			return Page{}, errors.New("a lookup with a row that is not an object")
		}
		row, err := readRow(element)
		if err != nil {
			return Page{}, fmt.Errorf("a lookup with an unreadable row: %w", err)
		}
		p.Rows = append(p.Rows, row)
	}
	p.More = len(p.Rows) >= MaxNumbers || most.more(len(p.Rows))
	return p, nil
}

// listIn finds the one array of objects in a lookup's data, and its counters. Of
// several arrays it must be the only one that speaks of an order.
func listIn(data jsontext.Value, counted *counters) (name string, list []jsontext.Value, err error) {
	type found struct {
		name string
		list []jsontext.Value
	}
	var lists, telling []found
	err = readObject(data, func(name string, value jsontext.Value) {
		counted.read(name, value)
		all, ok := elements(value)
		if !ok {
			return
		}
		tells := false
		for _, element := range all {
			if element.Kind() != '{' {
				return
			}
			_ = readObject(element, func(name string, _ jsontext.Value) {
				tells = tells || name == "outTradeNo" || name == "orderNumber"
			})
		}
		lists = append(lists, found{name, all})
		if tells {
			telling = append(telling, found{name, all})
		}
	})
	switch {
	case err != nil:
		return "", nil, err
	case len(telling) == 1:
		return telling[0].name, telling[0].list, nil
	case len(telling) == 0 && len(lists) == 1:
		return lists[0].name, lists[0].list, nil
	}
	return "", nil, fmt.Errorf("a lookup with %d lists in its data", len(lists))
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

// counters is what an answer says of how many rows and pages there are.
type counters struct {
	rows, pages float64
	next        bool
}

// read takes a member of the reply or of its data, if it is a counter by one of
// the names that such interfaces use.
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

// more says whether there are more rows than the n that came.
func (c counters) more(n int) bool { return c.next || c.pages > 1 || c.rows > float64(n) }
