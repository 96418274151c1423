package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"orderworker/dedupe/storetest"
	"orderworker/upstream"
	"orderworker/upstream/sandbox"
)

// The vendor's account, and the codes of its refusals.
const (
	vendorKey    = "blackbox"
	vendorSecret = "blackbox-secret"
	codeNotNow   = "3001"
	codeNever    = "3002"
)

// account is one at which orders are bought, with a vendor of its own.
type account struct {
	key    string
	url    string // as the workers reach it
	direct string
}

func (a account) id() string { return upstream.AccountID(a.key, a.url) }

// env are a worker's settings for the account.
func (a account) env() []string {
	return []string{"UPSTREAM_APPKEY=" + a.key, "UPSTREAM_URL=" + a.url}
}

// vendorRules produce every way in which a request can end, with and without a purchase.
// A purchase that is made late, or that the lookup shows late, comes well within
// RECONCILE_DELAY: assumption A2 of the design.
var vendorRules = []string{
	"packageCode=NEVER: refuse code=" + codeNever,
	"packageCode=NOTNOW: refuse code=" + codeNotNow,
	"p=0.03: refuse code=" + codeNotNow,
	"p=0.02 buy: hang=1s",
	"p=0.02: hang=1s",
	"p=0.02 buy: status=500",
	"p=0.02: status=503 html",
	"p=0.01 buy: reset",
	"p=0.01: close",
	"p=0.01 buy: cut",
	"p=0.01 buy: notjson",
	"p=0.01: nonumber",
	"p=0.02: delay=500ms",
	throttleRule,
	"endpoint=lookup p=0.02: status=503",
	"endpoint=lookup p=0.01: hang=1s",
	"endpoint=lookup p=0.01: cut",
}

const throttleRule = "p=0.01: throttle"

// rules returns the vendor's rules in this scenario. With a rate, the vendor never says
// "too fast" by a rule: the workers would slow down for minutes.
func (w *world) rules() []string {
	if w.rate == 0 {
		return vendorRules
	}
	return slices.DeleteFunc(slices.Clone(vendorRules), func(rule string) bool { return rule == throttleRule })
}

// startVendor starts one more vendor. The workers begin with the first.
func (w *world) startVendor(rules ...string) {
	w.t.Helper()
	addr, n := storetest.FreeAddr(w.t), ""
	if len(w.accounts) > 0 {
		n = strconv.Itoa(len(w.accounts) + 1)
	}
	a := account{key: w.side + vendorKey + n, url: "http://" + addr, direct: "http://" + addr}
	args := []string{"sandbox", "--addr", addr, "--appkey", a.key, "--secret", vendorSecret, "--rate", strconv.Itoa(w.rate),
		"--latency=5ms", "--jitter=20ms", "--lookup-lag=400ms", "--seed", strconv.FormatUint(w.random.Uint64()>>2, 10)}
	for _, rule := range rules {
		args = append(args, "--rule", rule)
	}
	newProcess(w.t, w.dir, w.side+"vendor"+n, w.programs.orderworker, nil, args...)
	w.accounts = append(w.accounts, a)
	w.vendorURL = w.accounts[0].url
	w.until("the vendor answers", func() bool { return listens(addr) })
}

// book asks every vendor what was bought.
func (w *world) book() books {
	w.t.Helper()
	var all books
	for _, a := range w.accounts {
		b := bookOf{account: a.id()}
		w.get(a.direct+"/book", &b.Book)
		all = append(all, b)
	}
	return all
}

// books are those of the accounts at which a deployment buys.
type books []bookOf

type bookOf struct {
	account string
	sandbox.Book
}

// calls counts the requests to an endpoint.
func (b books) calls(e sandbox.Endpoint) (n int) {
	for _, book := range b {
		n += book.Calls[e]
	}
	return n
}

// sale is the first purchase of an order, and how many there were.
type sale struct {
	account, number string
	times           int
}

// sales returns the purchases of all accounts, by outTradeNo: an order that was bought
// under both accounts was bought twice.
func (b books) sales() map[string]sale {
	all := map[string]sale{}
	for _, book := range b {
		for _, p := range book.Purchases {
			s, sold := all[p.OutTradeNo]
			if !sold {
				s = sale{account: book.account, number: p.OrderNumber}
			}
			s.times++
			all[p.OutTradeNo] = s
		}
	}
	return all
}

// get reads what url answers.
func (w *world) get(url string, into any) {
	w.t.Helper()
	response, err := http.Get(url)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		w.t.Fatal(err)
	}
}

// setRules replaces the rules of the vendor of a.
func (w *world) setRules(a account, rules []string) {
	w.t.Helper()
	response, err := http.Post(a.direct+"/rules", "text/plain", strings.NewReader(strings.Join(rules, "\n")))
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		w.t.Fatal(fmt.Errorf("rules: %s", response.Status))
	}
}
