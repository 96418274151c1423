package upstream

// Order is what one orderPackage call buys: a data package for a SIM card.
type Order struct {
	OutTradeNo  string // the caller's unique order number, at most 32 characters
	ICCID       string // the SIM card
	PackageCode string
	Renew       *int64 // sent unless nil; the vendor does not document it
}

// Purchase is what the vendor says that it sold.
type Purchase struct {
	OrderNumber string
	OrderID     int64  // 0 if the vendor gave none
	Code        string // "200"
	Message     string // the vendor's message, cut to 1,024 bytes
}
