package sandbox

import (
	"encoding/json"
	"fmt"
	"strings"
)

// row is one package in the answer to a lookup.
type row struct {
	OutTradeNo  string `json:"outTradeNo,omitempty"`
	OrderNumber string `json:"orderNumber,omitempty"`
	OrderID     int64  `json:"orderId,omitempty"`
	ICCID       string `json:"iccid,omitempty"`
	PackageCode string `json:"packageCode,omitempty"`
	State       *State `json:"state,omitempty"`
}

// rowList is the data of an answer whose data is an object.
type rowList struct {
	Total int    // the number of rows on all pages
	Name  string // the name of the list
	List  []row
}

// Names of the fields of a rowList.
const (
	totalField = "total"
	listField  = "list"
)

// MarshalJSON writes {"total": n, "list": [row, ...]}.
func (l rowList) MarshalJSON() ([]byte, error) {
	name, nameErr := json.Marshal(l.Name)
	list, listErr := json.Marshal(l.List)
	if nameErr != nil || listErr != nil {
		return nil, fmt.Errorf("list of rows: %w, %w", nameErr, listErr)
	}
	return fmt.Appendf(nil, `{"%s":%d,%s:%s}`, totalField, l.Total, name, list), nil
}

// lookup answers a lookup. It returns the rows of the purchases that are older than
// Config.LookupLag and in the state that was asked for, in the order of the numbers,
// with the changes of mode. The caller must hold v.mu.
//
// Source: upstream/VENDOR.md, "Batch lookup"; the shapes are its assumption.
func (v *Vendor) lookup(req request, mode LookupMode) reply {
	rows := v.rows(req, mode)
	total := len(rows)
	from := min(int64(total), (req.page-1)*req.pageSize)
	to := min(int64(total), from+req.pageSize)
	rows = rows[from:to]
	for range mode.Strangers {
		rows = append(rows, stranger(len(rows)))
		total++
	}
	if mode.Full {
		for int64(len(rows)) < req.pageSize {
			rows = append(rows, fill(rows))
		}
		total = max(total, int(req.page*req.pageSize)+1)
	}
	rows = omit(rows, mode.Omit)

	if v.cfg.LookupShape == ShapeArray && mode.List == "" && mode.Miscount == 0 {
		return success(rows)
	}
	name := listField
	if mode.List != "" {
		name = mode.List
	}
	return success(rowList{Total: total + mode.Miscount, Name: name, List: rows})
}

// rows returns the rows that a lookup shows, on all pages.
func (v *Vendor) rows(req request, mode LookupMode) []row {
	rows := []row{} // not nil: JSON has [] then
	now := v.now()
	for _, p := range v.book.asked(req) {
		hidden := mode.Hide != "" && matches(mode.Hide, p.OutTradeNo)
		if hidden || now.Sub(p.At) < v.cfg.LookupLag || req.state != nil && *req.state != int64(p.State) {
			continue
		}
		for range max(mode.Packages, 1) {
			rows = append(rows, row{p.OutTradeNo, p.OrderNumber, p.OrderID, p.ICCID, p.PackageCode, &p.State})
		}
	}
	return rows
}

// stranger returns row n of an order that was never placed.
func stranger(n int) row {
	state := InUse
	return row{fmt.Sprintf("STRANGER-%d", n), fmt.Sprintf("%032x", n+1), int64(n + 1), "8988308650100520000", "STRANGER", &state}
}

// fill returns one more row for a page: the first row again, so that a full page has
// no row of an order that was not asked for.
func fill(rows []row) row {
	if len(rows) == 0 {
		return stranger(0)
	}
	return rows[0]
}

// omit removes fields from every row. Names is their comma-separated list.
func omit(rows []row, names string) []row {
	for name := range strings.SplitSeq(names, ",") {
		for i := range rows {
			r := &rows[i]
			switch name {
			case "outTradeNo":
				r.OutTradeNo = ""
			case "orderNumber":
				r.OrderNumber = ""
			case "orderId":
				r.OrderID = 0
			case "iccid":
				r.ICCID = ""
			case "packageCode":
				r.PackageCode = ""
			case "state":
				r.State = nil
			}
		}
	}
	return rows
}

// withNumber returns the data of a success with number as every orderNumber. An empty
// number is omitted.
func withNumber(data any, number string) any {
	in := func(rows []row) []row {
		for i := range rows {
			rows[i].OrderNumber = number
		}
		return rows
	}
	switch data := data.(type) {
	case orderData:
		return orderData{OrderNumber: number, OrderID: data.OrderID}
	case []row:
		return in(data)
	case rowList:
		data.List = in(data.List)
		return data
	}
	return data
}
