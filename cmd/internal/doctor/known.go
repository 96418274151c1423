package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"orderworker/upstream"
)

// form is one way to ask the vendor's lookup for an order.
type form struct {
	state   *int64
	unpaged bool
}

func (f form) String() string {
	if f.state == nil {
		return "without state"
	}
	return fmt.Sprintf("state %d", *f.state)
}

// prefix begins a detail with what the name of the check does not say.
func (f form) prefix() string {
	if f.unpaged {
		return f.String() + ": "
	}
	return ""
}

// shown is what a form showed of an order that was bought.
type shown struct {
	form
	answered bool // with code 200
	rows     int
	named    bool // each row has the outTradeNo
	numbers  int  // different orderNumbers
}

// documented are the values of state that are. Source: upstream/VENDOR.md, "Package states".
var documented = []int64{0, 1, 2}

// knownChecks returns the checks that ask for an order that was bought in every form, and
// the one that concludes from them.
func (v *vendorVisit) knownChecks() []check {
	if v.Known == "" {
		return nil
	}
	states := slices.Clone(documented)
	for _, s := range v.States {
		if !slices.Contains(states, s) {
			states = append(states, s)
		}
	}
	var checks []check
	add := func(name string, f func() form) {
		checks = append(checks, check{"known: " + name, false, "ask again later", func(ctx context.Context) Finding { return v.try(ctx, f()) }})
	}
	for _, s := range states {
		f := form{state: &s}
		add(f.String(), func() form { return f })
	}
	add(form{}.String(), func() form { return form{} })
	add("without page", v.unpaged)
	return append(checks, check{"known: result", false, "ask the vendor how orders are looked up", v.conclude})
}

// unpaged is the form without page whose other half is known to work, if any is.
func (v *vendorVisit) unpaged() form {
	for _, s := range v.shows {
		if s.rows > 0 {
			return form{s.state, true}
		}
	}
	return form{unpaged: true}
}

// try asks in one form. It measures, so every answer of the vendor is a good result.
func (v *vendorVisit) try(ctx context.Context, f form) Finding {
	page, spent, err := v.ask(ctx, v.Connect, upstream.Question{Numbers: []string{v.Known}, State: f.state, Unpaged: f.unpaged})
	if err != nil {
		v.shows = append(v.shows, shown{form: f})
		e, answered := errors.AsType[*upstream.Error](err)
		switch {
		case !answered:
			return because(ctx, err).but("give a longer --timeout")
		case e.Class == upstream.Refused:
			return fine("%s%s", f.prefix(), v.saidNo(e))
		case e.Class == upstream.Throttled:
			return warning("%s%s", f.prefix(), v.saidNo(e))
		}
		return failed("%s%s", f.prefix(), v.saidNo(e))
	}
	s := v.read(f, page)
	v.shows = append(v.shows, s)
	if s.rows == 0 {
		strangers := ""
		if len(page.Rows) > 0 {
			strangers = fmt.Sprintf("; it shows %d rows of others", len(page.Rows))
		}
		return fine("%sdoes not show it%s (%v)", f.prefix(), strangers, took(spent))
	}
	name := "each with its outTradeNo"
	if !s.named {
		name = "without outTradeNo"
	}
	return fine("%sshows it: rows %d, %s, orderNumbers %d (%v)", f.prefix(), s.rows, name, s.numbers, took(spent))
}

// read counts the rows that may be the order's.
func (v *vendorVisit) read(f form, page upstream.Page) shown {
	s := shown{form: f, answered: true, named: true}
	numbers := map[string]bool{}
	for _, row := range page.Rows {
		if row.OutTradeNo != "" && row.OutTradeNo != v.Known {
			continue
		}
		s.rows++
		s.named = s.named && row.OutTradeNo != ""
		if row.OrderNumber != "" {
			numbers[row.OrderNumber] = true
		}
	}
	s.numbers = len(numbers)
	return s
}

// shownIn says in which forms of the lookup the known order was shown.
type shownIn struct {
	showing, silent []string // states that show it, and states that were answered without it
	stateless       bool     // the lookup without a state shows it
	configured      bool     // the lookup as it is set shows it
	facts           []string // about forms that no setting has
}

func (v *vendorVisit) shownIn() (in shownIn) {
	for _, s := range v.shows {
		switch {
		case s.unpaged:
			in.facts = append(in.facts, "without page "+shows(s))
			continue
		case s.state == nil:
			in.stateless = s.rows > 0
			in.facts = append(in.facts, "without state "+shows(s))
		case s.rows > 0:
			in.showing = append(in.showing, strconv.FormatInt(*s.state, 10))
		case s.answered:
			in.silent = append(in.silent, strconv.FormatInt(*s.state, 10))
		}
		used := s.state == nil && len(v.States) == 0 || s.state != nil && slices.Contains(v.States, *s.state)
		in.configured = in.configured || used && s.rows > 0
	}
	return in
}

// conclude recommends UPSTREAM_LOOKUP_STATES. It keeps every state that the vendor
// answered, because other orders may be in other states.
func (v *vendorVisit) conclude(context.Context) Finding {
	in := v.shownIn()
	value, facts := strings.Join(slices.Concat(in.showing, in.silent), ","), in.facts
	switch {
	case len(in.showing) == 0 && !in.stateless:
		return failed("no form of the lookup shows %s", v.Known).
			but("make sure that %s was bought with this account; if it was, do not trust the lookup: set UPSTREAM_RECONCILE=hold", v.Known)
	case len(in.showing) == 0:
		value = ""
		facts = append(facts, "no state shows it")
	default:
		facts = append([]string{"shown in state " + strings.Join(in.showing, ", ")}, facts...)
	}
	if len(in.showing) > 1 && len(in.silent) == 0 {
		facts = append(facts, "the vendor seems not to filter by state")
	}
	rows, double := v.rowFacts()
	text := strings.Join(append(facts, rows...), "; ") + "; UPSTREAM_LOOKUP_STATES=" + value
	missing := v.unasked(in.showing, in.silent)
	switch {
	case !in.configured:
		return failed("%s; as it is set, the lookup does not show an order that was bought", text).but("set UPSTREAM_LOOKUP_STATES=%s", value)
	case len(missing) > 0:
		return warning("%s; state %s is not asked, where other orders may be", text, strings.Join(missing, ", ")).but("set UPSTREAM_LOOKUP_STATES=%s", value)
	case double:
		return warning("%s", text).but("ask the vendor to refund one of the purchases: within 24 hours that is free")
	}
	return fine("%s", text)
}

func shows(s shown) string {
	switch {
	case s.rows > 0:
		return "shows it"
	case s.answered:
		return "does not show it"
	}
	return "got no list"
}

// unasked returns the states that the vendor answered and the settings leave out.
func (v *vendorVisit) unasked(lists ...[]string) (missing []string) {
	for _, text := range slices.Concat(lists...) {
		if n, _ := strconv.ParseInt(text, 10, 64); !slices.Contains(v.States, n) {
			missing = append(missing, text)
		}
	}
	return missing
}

// rowFacts describes the rows; double reports that they are of several purchases.
func (v *vendorVisit) rowFacts() (facts []string, double bool) {
	unnamed, several := false, false
	for _, s := range v.shows {
		if s.rows > 0 {
			unnamed = unnamed || !s.named
			several = several || s.rows > 1 && s.numbers == 1
			double = double || s.numbers > 1
		}
	}
	if unnamed {
		facts = append(facts, "rows carry no outTradeNo")
	} else {
		facts = append(facts, "rows carry outTradeNo")
	}
	if several {
		facts = append(facts, "rows come per package")
	}
	if double {
		facts = append(facts, "different orderNumbers: it was bought more than once")
	}
	return facts, double
}
