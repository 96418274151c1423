package sandbox

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// State is the state of a package. Source: upstream/VENDOR.md, "Package states".
type State int64

// The states.
const (
	Waiting  State = 0 // takes effect later
	InUse    State = 1 // a main package, from its purchase on
	Finished State = 2 // used up, refunded and so on
)

// stateOf parses a state: 0, 1 or 2.
func stateOf(text string) (State, error) {
	n, err := strconv.Atoi(text)
	if state := State(n); err == nil && state >= Waiting && state <= Finished && text == strconv.Itoa(n) {
		return state, nil
	}
	return 0, fmt.Errorf("state %q: must be 0 (waiting), 1 (in use) or 2 (finished)", text)
}

// Purchase is one entry of the book.
type Purchase struct {
	OutTradeNo  string    `json:"outTradeNo"`
	ICCID       string    `json:"iccid"`
	PackageCode string    `json:"packageCode"`
	Renew       *int64    `json:"renew,omitempty"` // nil if the call had none
	OrderNumber string    `json:"orderNumber"`     // 32 hex digits, unique
	OrderID     int64     `json:"orderId"`         // unique
	State       State     `json:"state"`
	At          time.Time `json:"at"`
	Call        int       `json:"call"` // the number of the call that bought it, from 1, over both endpoints
}

// Totals are the counters since the vendor was made or reset.
type Totals struct {
	Bought            int              `json:"bought"`            // purchases
	Calls             map[Endpoint]int `json:"calls"`             // calls that arrived, per endpoint
	PeakPerSecond     int              `json:"peakPerSecond"`     // the largest number of arrivals in any sliding second
	Throttled         int              `json:"throttled"`         // calls over Config.Rate
	Refused           map[string]int   `json:"refused"`           // failed checks and refused repeats, by code
	RefusedSignatures int              `json:"refusedSignatures"` // those of Refused with CodeSign
	Faults            map[string]int   `json:"faults"`            // faults made, by kind of action, and "down"
	Rules             []RuleHits       `json:"rules"`             // in the order of the rules; since the rules were set
	Waiting           int              `json:"waiting"`           // calls that are now hanging or delayed
	Down              bool             `json:"down"`              // see Vendor.SetDown
}

// RuleHits is a rule, and how many calls it decided.
type RuleHits struct {
	Rule string `json:"rule"` // in its text form
	Hits int    `json:"hits"`
}

// Book is a copy of everything that the vendor knows at one moment.
type Book struct {
	Totals
	Purchases     []Purchase     `json:"purchases"`     // oldest first
	PerOutTradeNo map[string]int `json:"perOutTradeNo"` // the number of purchases of each
	Doubles       []string       `json:"doubles"`       // every outTradeNo that was bought more than once, sorted
}

// Book returns a copy of the whole book. Its cost grows with the number of purchases;
// Totals is cheaper.
func (v *Vendor) Book() Book {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := Book{
		Totals:        v.totals(),
		Purchases:     append([]Purchase{}, v.book.purchases...), // not nil: JSON has [] then
		PerOutTradeNo: make(map[string]int, len(v.book.byOutTradeNo)),
		Doubles:       []string{},
	}
	for no, at := range v.book.byOutTradeNo {
		b.PerOutTradeNo[no] = len(at)
		if len(at) > 1 {
			b.Doubles = append(b.Doubles, no)
		}
	}
	slices.Sort(b.Doubles)
	return b
}

// Totals returns only the counters.
func (v *Vendor) Totals() Totals {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.totals()
}

// Purchases returns what was bought under outTradeNo, oldest first.
func (v *Vendor) Purchases(outTradeNo string) []Purchase {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []Purchase
	for _, at := range v.book.byOutTradeNo[outTradeNo] {
		found = append(found, v.book.purchases[at])
	}
	return found
}

// SetState sets the state of every purchase under outTradeNo, as the vendor does when
// a package takes effect, is used up or is refunded. It returns their number.
func (v *Vendor) SetState(outTradeNo string, state State) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.book.byOutTradeNo[outTradeNo]
	for _, i := range at {
		v.book.purchases[i].State = state
	}
	return len(at)
}

// Reset deletes all purchases and counters, and starts the rules again; the lookup's
// mode stays. Calls in progress are entered in the new book.
func (v *Vendor) Reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	waiting := v.book.waiting
	v.book = newBook()
	v.book.waiting = waiting
	v.arrived, v.granted = window{}, window{}
	v.rules = newRuleSet(v.rules.rules, v.cfg.Seed, v.now())
}

func (v *Vendor) totals() Totals {
	return Totals{
		Bought: len(v.book.purchases), Calls: maps.Clone(v.book.calls), PeakPerSecond: v.book.peak,
		Throttled: v.book.throttled, Refused: maps.Clone(v.book.refused), RefusedSignatures: v.book.refused[CodeSign],
		Faults: maps.Clone(v.book.faults), Rules: v.rules.hitsPerRule(), Waiting: v.book.waiting, Down: v.down,
	}
}

// book is what the vendor remembers. Vendor.mu guards it.
type book struct {
	purchases     []Purchase
	byOutTradeNo  map[string][]int // indexes into purchases
	byOrderNumber map[string]int

	calls                          map[Endpoint]int
	call, peak, throttled, waiting int
	refused, faults                map[string]int
}

func newBook() book {
	return book{
		byOutTradeNo: map[string][]int{}, byOrderNumber: map[string]int{},
		calls:   map[Endpoint]int{EndpointOrder: 0, EndpointLookup: 0},
		refused: map[string]int{}, faults: map[string]int{},
	}
}

// arrive enters a call, and returns its number. inLastSecond is how many calls arrived
// in the second that ends with it.
func (b *book) arrive(endpoint Endpoint, inLastSecond int) int {
	b.calls[endpoint]++
	b.call++
	b.peak = max(b.peak, inLastSecond)
	return b.call
}

// firstOrderID is the orderId of the reference's example.
const firstOrderID = 101106255

// buy enters a purchase. Its orderNumber looks like the one in the reference's
// example: Unix milliseconds, then hex digits. The first eight of these digits count
// the purchases, so that every orderNumber is unique.
func (b *book) buy(req request, state State, call int, now time.Time) Purchase {
	n := len(b.purchases)
	p := Purchase{
		OutTradeNo: req.outTradeNo, ICCID: req.iccid, PackageCode: req.packageCode, Renew: req.renew,
		OrderNumber: fmt.Sprintf("%013d%08x%011x", now.UnixMilli(), n, rand.Uint64N(1<<44)),
		OrderID:     firstOrderID + int64(n), State: state, At: now, Call: call,
	}
	b.purchases = append(b.purchases, p)
	b.byOutTradeNo[p.OutTradeNo] = append(b.byOutTradeNo[p.OutTradeNo], n)
	b.byOrderNumber[p.OrderNumber] = n
	return p
}

// asked returns the purchases that a lookup asks for, in the order of its numbers.
func (b *book) asked(req request) (found []Purchase) {
	for _, no := range req.outTradeNos {
		for _, at := range b.byOutTradeNo[no] {
			found = append(found, b.purchases[at])
		}
	}
	for _, number := range req.orderNumbers {
		if at, ok := b.byOrderNumber[number]; ok {
			found = append(found, b.purchases[at])
		}
	}
	return found
}
