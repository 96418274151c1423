package upstream

import (
	"slices"
	"strings"
	"testing"
)

func TestDefaultCodesAreThoseOfTheContract(t *testing.T) {
	want := map[List]string{
		PermanentCodes: "41002,41003,41008,41018,41028,41050", AccountCodes: "403,502,45112", ThrottleCodes: "429,501",
		AmbiguousCodes: "500,10000", DuplicateCodes: "503016",
	}
	got := map[List][]string{}
	for _, k := range KnownCodes {
		got[k.List] = append(got[k.List], k.Code)
		if k.Meaning == "" || k.Source == "" {
			t.Errorf("code %s has no meaning or no source", k.Code)
		}
	}
	for list, codes := range want {
		if text := strings.Join(got[list], ","); text != codes {
			t.Errorf("%s codes: %s, want %s", list, text, codes)
		}
	}
	codes, faults := NewCodes(got)
	if len(faults) > 0 || len(codes) != len(KnownCodes) {
		t.Errorf("the defaults do not stand together: %v", faults)
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
