package doctor

import (
	"strings"

	"orderworker/worker/natsio"
)

// allowance is a user's permissions in one direction, as NATS tells them.
type allowance struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}

// may reports whether everything that subject matches is allowed. None at all
// means no restriction.
func (a *allowance) may(subject string) bool {
	if a == nil {
		return true
	}
	allowed := len(a.Allow) == 0
	for _, has := range a.Allow {
		allowed = allowed || natsio.Covers(has, subject)
	}
	for _, denied := range a.Deny {
		allowed = allowed && !overlaps(denied, subject)
	}
	return allowed
}

// lacking lists the subjects that are not allowed.
func (a *allowance) lacking(subjects []string) (missing []string) {
	for _, s := range subjects {
		if !a.may(s) {
			missing = append(missing, s)
		}
	}
	return missing
}

// overlaps reports whether there is a subject that both match.
func overlaps(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		switch {
		case x[i] == ">" || y[i] == ">":
			return true
		case x[i] != "*" && y[i] != "*" && x[i] != y[i]:
			return false
		}
	}
	return len(x) == len(y)
}
