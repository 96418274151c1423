package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// lookupRows is the most numbers that one lookup may ask for, and the most rows
// that it is asked to return. Source: vendor/FACTS.md, "batch lookup".
const lookupRows = 50

// Lookup is what the vendor knows of the numbers that were asked for. A number
// that is neither Found nor Missing stays open: ask again.
type Lookup struct {
	Found   map[string]Purchase // by outTradeNo
	missing map[string]bool
}

// NewLookup returns a lookup's outcome.
func NewLookup(found map[string]Purchase, missing ...string) Lookup {
	l := Lookup{Found: found, missing: make(map[string]bool, len(missing))}
	for _, no := range missing {
		l.missing[no] = true
	}
	return l
}

// Missing is true only if outTradeNo was asked for and the whole answer says
// that there is no such order.
func (l Lookup) Missing(outTradeNo string) bool { return l.missing[outTradeNo] }

// Lookup asks the vendor once which of outTradeNos (1 to 50) it has sold. No
// byte of the question leaves after sendBy, by the wall clock. The line ends with it.
//
// The error is always an *Error, and whatever its class, it proves nothing
// about any of the numbers.
//
// Source: vendor/FACTS.md, "batch lookup"; what its answers prove: contract,
// section 7.
func (l *Line) Lookup(ctx context.Context, outTradeNos []string, sendBy time.Time) (Lookup, error) {
	if err := checkAsked(outTradeNos); err != nil {
		l.Release()
		return Lookup{}, &Error{Class: Unreachable, Err: err}
	}
	r, hide, fail := l.call(ctx, l.client.lookup, lookupParams(outTradeNos), sendBy)
	if fail != nil {
		return Lookup{}, fail
	}
	rows, complete, err := readRows(r.data)
	message := hide.text(r.message, maxMessageBytes)
	if err != nil {
		return Lookup{}, &Error{Class: Ambiguous, Code: codeOK, Message: message, Err: err}
	}
	return settle(outTradeNos, rows, complete, message), nil
}

func checkAsked(outTradeNos []string) error {
	if n := len(outTradeNos); n < 1 || n > lookupRows {
		return fmt.Errorf("lookup of %d numbers: must be 1 to %d", n, lookupRows)
	}
	for _, no := range outTradeNos {
		if no == "" || strings.Contains(no, ",") {
			return fmt.Errorf("lookup of %q: must be a number without a comma", no)
		}
	}
	return nil
}

// row is one order in a lookup's answer.
type row struct {
	outTradeNo string
	Purchase
}

// settle says what rows mean for the numbers that were asked. Complete is false
// where there may be more rows than were returned; and a row that nobody asked
// for says that what is not there proves nothing either. Of two purchases of one
// number the first counts: the second is money lost, but the order was bought.
func settle(asked []string, rows []row, complete bool, message string) Lookup {
	bought := make(map[string]Purchase)
	unclear := make(map[string]bool)
	for _, r := range rows {
		// A vendor that answers about another order has not understood the question.
		complete = complete && slices.Contains(asked, r.outTradeNo)
		if _, again := bought[r.outTradeNo]; again {
			continue
		}
		if r.OrderNumber == "" {
			unclear[r.outTradeNo] = true // there is such an order, but by which number
			continue
		}
		r.Code, r.Message = codeOK, message
		bought[r.outTradeNo] = r.Purchase
	}
	found := make(map[string]Purchase)
	var missing []string
	for _, no := range asked {
		if p, ok := bought[no]; ok {
			found[no] = p
		} else if complete && !unclear[no] {
			missing = append(missing, no)
		}
	}
	return NewLookup(found, missing...)
}

// readRows reads the data of a lookup's answer: an array of objects, or an
// object that has one. No data means no rows. Complete is false where there may
// be more rows: the page is full, or the object counts more.
func readRows(data jsontext.Value) (rows []row, complete bool, err error) {
	var counted float64
	list, isArray := elements(data)
	switch kind := data.Kind(); {
	case len(data) == 0, kind == 'n', isArray:
	case kind == '{':
		if list, counted, err = listIn(data); err != nil {
			return nil, false, err
		}
	default:
		return nil, false, errors.New("a lookup whose data is neither a list nor an object")
	}
	for _, element := range list {
		r, ok := readRow(element)
		if !ok {
			return nil, false, errors.New("a lookup with a row that has no outTradeNo")
		}
		rows = append(rows, r)
	}
	return rows, len(rows) < lookupRows && counted <= float64(len(rows)), nil
}

// listIn finds the one array of objects in a lookup's data, and what the object
// says how many rows there are. Of several arrays it must be the only one that
// speaks of an outTradeNo.
func listIn(data jsontext.Value) (list []jsontext.Value, counted float64, err error) {
	var lists, telling [][]jsontext.Value
	_ = readObject(data, func(name string, value jsontext.Value) {
		switch name {
		case "total", "totalCount", "count":
			counted = max(counted, number(value))
		}
		all, ok := elements(value)
		if !ok {
			return
		}
		tells := false
		for _, element := range all {
			if element.Kind() != '{' {
				return
			}
			_ = readObject(element, func(name string, _ jsontext.Value) { tells = tells || name == "outTradeNo" })
		}
		lists = append(lists, all)
		if tells {
			telling = append(telling, all)
		}
	})
	switch {
	case len(lists) == 1:
		return lists[0], counted, nil
	case len(telling) == 1:
		return telling[0], counted, nil
	}
	return nil, 0, fmt.Errorf("a lookup with %d lists in its data", len(lists))
}

func readRow(element jsontext.Value) (r row, ok bool) {
	if element.Kind() != '{' {
		return row{}, false
	}
	_ = readObject(element, func(name string, value jsontext.Value) {
		if name == "outTradeNo" {
			r.outTradeNo, _ = stringText(value)
		}
	})
	r.Purchase = readPurchase(element)
	return r, r.outTradeNo != ""
}
