package sandbox

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Endpoint is one of the vendor's two calls; in a rule it may also be EndpointAny.
type Endpoint string

// The endpoints. The book uses these names, rules have short ones in their text.
const (
	EndpointOrder  Endpoint = "orderPackage"
	EndpointLookup Endpoint = "getOrderPackageDetails"
	EndpointAny    Endpoint = "any" // rules only: both
)

// Rule is a fault on request. It applies to a call that passed every check and
// that all its conditions fit; the zero value of a condition fits everything.
type Rule struct {
	Endpoint    Endpoint      // default EndpointOrder
	PackageCode string        // a pattern as in path.Match, where "*" also spans "/"; orders only
	OutTradeNo  string        // the same; a lookup fits when one of the outTradeNos it asks for does
	State       string        // the state that a lookup asks for, "0", "1" or "2"; lookups only
	Probability float64       // over 0 and at most 1; 0 stands for 1. Decided by Config.Seed, the outTradeNo and how often it came
	First       int           // only the first so many fitting calls of each outTradeNo; 0 = all
	After       time.Duration // not before this long after the rules were set
	For         time.Duration // not later than this long after After; 0 = without end
	Buy         bool          // enter the purchase in the book first, then act; orders only
	BuyState    string        // with Buy: the state of the purchase, "0", "1" or "2"; default "1"
	Action      Action
}

// Validate reports every fault of r in one error that names field and value, or nil.
func (r Rule) Validate() error {
	var found faults
	orders := r.endpoint() == EndpointOrder
	_, known := endpointWords[r.endpoint()]
	found.add(!known, "endpoint=%s: must be order, lookup or any", r.Endpoint)
	found.add(!orders && r.PackageCode != "", "packageCode=%s: a lookup has no packageCode, so endpoint must be order", r.PackageCode)
	found.add(!orders && r.Buy, "buy: nothing is bought by a lookup, so endpoint must be order")
	found.add(r.endpoint() != EndpointLookup && r.State != "", "state=%s: only a lookup asks for a state, so endpoint must be lookup", r.State)
	found.state("state", r.State)
	found.add(!r.Buy && r.BuyState != "", "BuyState (%s): only with Buy", r.BuyState)
	found.state("buy", r.BuyState)
	found.add(r.endpoint() != EndpointLookup && r.Action.Kind == Rows, "rows: only a lookup has rows, so endpoint must be lookup")
	found.add(!r.Buy && r.Action.Data, "data: only with buy, so that its orderNumber is true")
	found.add(badPattern(r.PackageCode), "packageCode=%s: not a pattern", r.PackageCode)
	found.add(badPattern(r.OutTradeNo), "outTradeNo=%s: not a pattern", r.OutTradeNo)
	found.add(!(r.Probability >= 0 && r.Probability <= 1), "p=%v: must be over 0 and at most 1", r.Probability)
	found.add(r.First < 0, "first=%d: must be at least 1", r.First)
	found.add(r.After < 0, "after=%v: must be over 0", r.After)
	found.add(r.For < 0, "for=%v: must be over 0", r.For)
	return errors.Join(append(found, r.Action.validate()...)...)
}

// faults collects what is wrong with a setting.
type faults []error

func (f *faults) add(bad bool, format string, args ...any) {
	if bad {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// state adds a fault where text, which may be empty, is no state.
func (f *faults) state(name, text string) {
	_, err := stateOf(text)
	f.add(text != "" && err != nil, "%s=%s: must be 0 (waiting), 1 (in use) or 2 (finished)", name, text)
}

// bought is the state of what is bought under r, or under no rule.
func (r Rule) bought() State {
	if state, err := stateOf(r.BuyState); err == nil {
		return state
	}
	return InUse
}

// endpoint is r.Endpoint with its default.
func (r Rule) endpoint() Endpoint {
	if r.Endpoint == "" {
		return EndpointOrder
	}
	return r.Endpoint
}

// validateRules reports every faulty rule, by its place and text.
func validateRules(rules []Rule) error {
	var errs []error
	for i, r := range rules {
		if err := r.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("rule %d (%s): %w", i+1, r, err))
		}
	}
	return errors.Join(errs...)
}

// ruleSet is the rules since they were set; Vendor.mu guards it.
type ruleSet struct {
	rules []Rule
	seed  uint64
	setAt time.Time
	hits  []int            // per rule
	seen  []map[string]int // per rule with p or first: fitting calls per outTradeNo
}

func newRuleSet(rules []Rule, seed uint64, now time.Time) *ruleSet {
	s := &ruleSet{rules: slices.Clone(rules), seed: seed, setAt: now, hits: make([]int, len(rules)), seen: make([]map[string]int, len(rules))}
	for i := range s.seen {
		s.seen[i] = map[string]int{}
	}
	return s
}

// pick returns the first rule that applies to req now, and counts it.
func (s *ruleSet) pick(req request, now time.Time) (Rule, bool) {
	for i, r := range s.rules {
		if s.applies(i, r, req, now) {
			s.hits[i]++
			return r, true
		}
	}
	return Rule{}, false
}

func (s *ruleSet) applies(i int, r Rule, req request, now time.Time) bool {
	age := now.Sub(s.setAt)
	if age < r.After || r.For > 0 && age >= r.After+r.For {
		return false
	}
	if r.endpoint() != EndpointAny && r.endpoint() != req.endpoint || !matches(r.PackageCode, req.packageCode) {
		return false
	}
	if r.State != "" && (req.state == nil || r.State != strconv.FormatInt(*req.state, 10)) {
		return false
	}
	var fitting []string
	for _, no := range req.numbers() {
		if r.OutTradeNo == "" || len(req.orderNumbers) == 0 && matches(r.OutTradeNo, no) {
			fitting = append(fitting, no)
		}
	}
	if len(fitting) == 0 || r.First == 0 && r.Probability == 0 {
		return len(fitting) > 0
	}

	fewest, turn := s.seen[i][fitting[0]], s.seen[i][fitting[0]]
	for _, no := range fitting {
		fewest = min(fewest, s.seen[i][no])
		s.seen[i][no]++
	}
	if r.First > 0 && fewest >= r.First {
		return false
	}
	return r.Probability == 0 || s.chance(i, fitting[0], turn) < r.Probability
}

// chance is a number in [0, 1) that depends on nothing but the seed, the rule's
// place, the outTradeNo and its turn: not on the order in which calls arrive.
func (s *ruleSet) chance(i int, outTradeNo string, turn int) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %s", i, turn, outTradeNo)
	return rand.New(rand.NewPCG(s.seed, h.Sum64())).Float64()
}

func (s *ruleSet) hitsPerRule() []RuleHits {
	all := make([]RuleHits, len(s.rules))
	for i, r := range s.rules {
		all[i] = RuleHits{Rule: r.String(), Hits: s.hits[i]}
	}
	return all
}

// numbers are what req is about: its outTradeNo, or the numbers a lookup asks for.
func (req request) numbers() []string {
	switch {
	case req.endpoint == EndpointOrder:
		return []string{req.outTradeNo}
	case len(req.orderNumbers) > 0:
		return req.orderNumbers
	default:
		return req.outTradeNos
	}
}

// matches is path.Match with an empty pattern that fits everything, and no
// character that "*" stops at.
func matches(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	ok, _ := path.Match(noSlash(pattern), noSlash(s)) // patterns were validated
	return ok
}

func badPattern(pattern string) bool {
	_, err := path.Match(noSlash(pattern), "")
	return err != nil
}

// noSlash puts a character that no number holds in the place of "/".
func noSlash(s string) string { return strings.ReplaceAll(s, "/", "\x00") }

// endpointWords are the names of endpoints in the text of a rule.
var endpointWords = map[Endpoint]string{EndpointOrder: "order", EndpointLookup: "lookup", EndpointAny: "any"}

// endpointOf finds the endpoint for its name in the text of a rule.
func endpointOf(word string) (Endpoint, bool) {
	for endpoint := range maps.Keys(endpointWords) {
		if endpointWords[endpoint] == word {
			return endpoint, true
		}
	}
	return "", false
}
