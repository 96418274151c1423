package sandbox

// row is one purchase in the lookup's answer.
type row struct {
	OutTradeNo  string `json:"outTradeNo"`
	OrderNumber string `json:"orderNumber,omitempty"`
	OrderID     int64  `json:"orderId"`
	ICCID       string `json:"iccid"`
	PackageCode string `json:"packageCode"`
	State       int64  `json:"state"` // always stateWaiting: nothing here uses a package up
}

// stateWaiting is the vendor's state of a package that is not yet in use.
const stateWaiting = 0

// rowList is the lookup's data in ShapeObject.
type rowList struct {
	Total int   `json:"total"` // rows on all pages
	List  []row `json:"list"`
}

// lookup answers a lookup: the rows in the order of the numbers asked for, each
// number once, a purchase only when it is older than Config.LookupLag. The caller
// holds v.mu.
//
// Source: FACTS, batch lookup; the shapes are its assumption.
func (v *Vendor) lookup(req request) reply {
	var found []int
	for _, no := range req.outTradeNos {
		found = append(found, v.book.byOutTradeNo[no]...)
	}
	for _, number := range req.orderNumbers {
		if at, ok := v.book.byOrderNumber[number]; ok {
			found = append(found, at)
		}
	}

	rows := []row{} // not nil: JSON has [] then
	now := v.now()
	for _, at := range found {
		p := v.book.purchases[at]
		if now.Sub(p.At) < v.cfg.LookupLag || req.state != nil && *req.state != stateWaiting {
			continue
		}
		rows = append(rows, row{
			OutTradeNo: p.OutTradeNo, OrderNumber: p.OrderNumber, OrderID: p.OrderID,
			ICCID: p.ICCID, PackageCode: p.PackageCode, State: stateWaiting,
		})
	}

	total := len(rows)
	from := min(int64(total), (req.page-1)*req.pageSize)
	to := min(int64(total), from+req.pageSize)
	rows = rows[from:to]
	if v.cfg.LookupShape == ShapeObject {
		return success(rowList{Total: total, List: rows})
	}
	return success(rows)
}

// withoutNumbers returns the data of a success with every orderNumber left out.
func withoutNumbers(data any) any {
	strip := func(rows []row) []row {
		for i := range rows {
			rows[i].OrderNumber = ""
		}
		return rows
	}
	switch data := data.(type) {
	case orderData:
		return orderData{OrderID: data.OrderID}
	case []row:
		return strip(data)
	case rowList:
		return rowList{Total: data.Total, List: strip(data.List)}
	}
	return data
}
