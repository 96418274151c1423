package upstream

import (
	"fmt"
	"strings"
	"unicode"
)

// List is the name of a list of body codes that mean the same.
type List string

// The lists. A code is in at most one of them. A code in none is an ordinary refusal.
const (
	AmbiguousCodes List = "ambiguous" // the order may have been bought
	DuplicateCodes List = "duplicate" // this outTradeNo exists: the lookup says whether it was bought
	AccountCodes   List = "account"   // about the account, not the order
	ThrottleCodes  List = "throttle"  // too fast
	PermanentCodes List = "permanent" // final at once: the same request is refused for ever
)

// KnownCode is a code whose meaning is known.
type KnownCode struct {
	Code    string
	List    List
	Meaning string
	Source  string
}

// KnownCodes are the codes that are in a list by default, with the reason. They are
// codes of the body: the meaning of an HTTP status is fixed (see meaning). A worker
// gets its lists from its settings, whose defaults a test holds equal to these
// (cmd/internal/config/settings.go).
var KnownCodes = []KnownCode{
	{"500", AmbiguousCodes, "operation failed, try again later: it does not say that nothing was bought", "error table, 2084441m0.md"},
	{"10000", AmbiguousCodes, "the same, of the platform's gateway", "contract, section 5"},
	{"503016", DuplicateCodes, "duplicate order number", "sister call esim/purchase, 261353809e0.md"},
	{"403", AccountCodes, "no permission", "error table, 2084441m0.md"},
	{"502", AccountCodes, "address not on the whitelist", "error table, 2084441m0.md"},
	{"45112", AccountCodes, "balance too low", "sister call esim/purchase, 261353809e0.md"},
	{"429", ThrottleCodes, "too many requests", "RFC 6585, as a body code"},
	{"501", ThrottleCodes, "too many requests", "error table, 2084441m0.md"},
	{"41002", PermanentCodes, "iccid empty", "error table, 2084441m0.md"},
	{"41003", PermanentCodes, "iccid of a wrong format", "error table, 2084441m0.md"},
	{"41008", PermanentCodes, "card and operator do not match", "error table, 2084441m0.md"},
	{"41018", PermanentCodes, "wrong package code", "error table, 2084441m0.md"},
	{"41028", PermanentCodes, "the card has no such package", "error table, 2084441m0.md"},
	{"41050", PermanentCodes, "the package's product does not match the card", "error table, 2084441m0.md"},
}

// Codes maps a body code to its list. A code that is missing is in no list.
type Codes map[string]List

// DefaultCodes returns KnownCodes as Codes.
func DefaultCodes() Codes {
	codes := make(Codes, len(KnownCodes))
	for _, k := range KnownCodes {
		codes[k.Code] = k.List
	}
	return codes
}

// CodeError is a code that cannot be in its list, and the rule that says so.
type CodeError struct {
	List List
	Code string
	Rule string
}

func (e CodeError) Error() string { return fmt.Sprintf("%s codes: %q %s", e.List, e.Code, e.Rule) }

// NewCodes returns the codes of lists, and an error for every code that cannot be in
// its list: an empty code, one with a space in it, "200" (no purchase would be seen
// as one), or a code that is in two lists.
func NewCodes(lists map[List][]string) (Codes, []CodeError) {
	codes := make(Codes)
	var faults []CodeError
	for _, list := range []List{AmbiguousCodes, DuplicateCodes, AccountCodes, ThrottleCodes, PermanentCodes} {
		for _, code := range lists[list] {
			other, taken := codes[code]
			rule := ""
			switch {
			case code == "":
				rule = "is empty"
			case strings.ContainsFunc(code, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
				rule = "has a space or a control character in it"
			case code == codeOK:
				rule = "means success"
			case taken && other != list:
				rule = fmt.Sprintf("is among the %s codes too: a code can mean only one thing", other)
			}
			if rule != "" {
				faults = append(faults, CodeError{list, code, rule})
			}
			codes[code] = list
		}
	}
	return codes, faults
}
