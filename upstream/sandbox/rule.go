package sandbox

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Endpoint is one of the vendor's two calls; in a rule it may also be EndpointAny.
type Endpoint string

// The endpoints. The book uses these names; the text of a rule has short ones.
const (
	EndpointOrder  Endpoint = "orderPackage"
	EndpointLookup Endpoint = "getOrderPackageDetails"
	EndpointAny    Endpoint = "any" // rules only: both
)

// Rule is a fault that the sandbox is told to make. It applies to a call that passed
// every check, if all its conditions match; the zero value of a condition always does.
type Rule struct {
	Endpoint    Endpoint      // default EndpointOrder
	PackageCode string        // a pattern as in path.Match, where "*" also spans "/"; orders only
	OutTradeNo  string        // the same; a lookup matches if one of its outTradeNos does
	State       string        // the state that a lookup asks for, "0", "1" or "2"; lookups only
	Probability float64       // over 0 and at most 1; 0 means 1. Whether it applies depends on Config.Seed, the outTradeNo and its number of calls
	First       int           // only to the first so many matching calls of each outTradeNo; 0 = all
	After       time.Duration // only from this long after the rules were set
	For         time.Duration // only for this long from then on; 0 = without end
	Buy         bool          // enter the purchase in the book before the action; orders only
	BuyState    string        // with Buy: the state of the purchase, "0", "1" or "2"; default "1"
	Action      Action
}

// Validate returns one error with every fault of r, or nil. Each names field and value.
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

// faults collects the faults of a configuration.
type faults []error

func (f *faults) add(bad bool, format string, args ...any) {
	if bad {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// state adds a fault if text is neither empty nor a state.
func (f *faults) state(name, text string) {
	_, err := stateOf(text)
	f.add(text != "" && err != nil, "%s=%s: must be 0 (waiting), 1 (in use) or 2 (finished)", name, text)
}

// bought returns the state of a purchase under r; the zero Rule means no rule.
func (r Rule) bought() State {
	if state, err := stateOf(r.BuyState); err == nil {
		return state
	}
	return InUse
}

// endpoint returns r.Endpoint, or its default.
func (r Rule) endpoint() Endpoint {
	if r.Endpoint == "" {
		return EndpointOrder
	}
	return r.Endpoint
}

// validateRules returns the faults of all rules, each with its position and text.
func validateRules(rules []Rule) error {
	var errs []error
	for i, r := range rules {
		if err := r.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("rule %d (%s): %w", i+1, r, err))
		}
	}
	return errors.Join(errs...)
}

// ruleSet has the rules, and their counters since they were set. Vendor.mu guards it.
type ruleSet struct {
	rules []Rule
	seed  uint64
	setAt time.Time
	hits  []int            // per rule
	seen  []map[string]int // per rule with p or first: matching calls per outTradeNo
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

// applies reports whether rule i applies to req now. For first and p it counts the call
// under each number that the rule matches.
func (s *ruleSet) applies(i int, r Rule, req request, now time.Time) bool {
	matching := r.numbersOf(req)
	if len(matching) == 0 || !r.active(now.Sub(s.setAt)) || !r.matchesCall(req) {
		return false
	}
	if r.First == 0 && r.Probability == 0 {
		return true
	}
	fewest, turn := s.seen[i][matching[0]], s.seen[i][matching[0]]
	for _, no := range matching {
		fewest = min(fewest, s.seen[i][no])
		s.seen[i][no]++
	}
	if r.First > 0 && fewest >= r.First {
		return false
	}
	return r.Probability == 0 || s.chance(i, matching[0], turn) < r.Probability
}

// active reports whether r applies to calls so long after the rules were set.
func (r Rule) active(age time.Duration) bool {
	return age >= r.After && (r.For == 0 || age < r.After+r.For)
}

// matchesCall reports whether the conditions of r match that are not about time or
// numbers.
func (r Rule) matchesCall(req request) bool {
	state := r.State == "" || req.state != nil && r.State == strconv.FormatInt(*req.state, 10)
	endpoint := r.endpoint() == EndpointAny || r.endpoint() == req.endpoint
	return state && endpoint && matches(r.PackageCode, req.packageCode)
}

// numbersOf returns the numbers of req that r matches. A rule with an outTradeNo matches
// no lookup by orderNumber.
func (r Rule) numbersOf(req request) (matching []string) {
	for _, no := range req.numbers() {
		if r.OutTradeNo == "" || len(req.orderNumbers) == 0 && matches(r.OutTradeNo, no) {
			matching = append(matching, no)
		}
	}
	return matching
}

// chance returns a number in [0, 1) that depends only on the seed, the position of the
// rule, the outTradeNo and its turn, and not on the order in which calls arrive.
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

// numbers returns the outTradeNo of an order, or the numbers that a lookup asks for.
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

// matches is path.Match, but an empty pattern matches everything, and "*" also
// matches "/".
func matches(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	ok, _ := path.Match(noSlash(pattern), noSlash(s)) // the pattern was validated
	return ok
}

func badPattern(pattern string) bool {
	_, err := path.Match(noSlash(pattern), "")
	return err != nil
}

// noSlash replaces "/" by a character that is in no number.
func noSlash(s string) string { return strings.ReplaceAll(s, "/", "\x00") }

// endpointWords has the short names of endpoints.
var endpointWords = map[Endpoint]string{EndpointOrder: "order", EndpointLookup: "lookup", EndpointAny: "any"}

// endpointOf returns the endpoint with a short name.
func endpointOf(word string) (Endpoint, bool) {
	for endpoint, short := range endpointWords {
		if short == word {
			return endpoint, true
		}
	}
	return "", false
}
