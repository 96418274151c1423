package upstream

import (
	"maps"
	"slices"
	"testing"
)

func TestKnownCodesStandTogether(t *testing.T) {
	lists := map[List][]string{}
	for _, k := range KnownCodes {
		lists[k.List] = append(lists[k.List], k.Code)
		if k.Meaning == "" || k.Source == "" {
			t.Errorf("code %s has no meaning or no source", k.Code)
		}
	}
	if codes, faults := NewCodes(lists); len(faults) > 0 || !maps.Equal(codes, DefaultCodes()) || len(codes) != len(KnownCodes) {
		t.Errorf("faults %v, %d of %d codes", faults, len(codes), len(KnownCodes))
	}
}

func TestNewCodesNamesEveryFault(t *testing.T) {
	_, faults := NewCodes(map[List][]string{
		AmbiguousCodes: {"500", "200"}, DuplicateCodes: {"500"}, AccountCodes: {"", "403", "403"}, ThrottleCodes: {"4 29"}, PermanentCodes: {"1\x00"},
	})
	var got []string
	for _, f := range faults {
		got = append(got, string(f.List)+" "+f.Code)
	}
	if want := []string{"ambiguous 200", "duplicate 500", "account ", "throttle 4 29", "permanent 1\x00"}; !slices.Equal(got, want) {
		t.Errorf("faults %q, want %q", got, want)
	}
}
