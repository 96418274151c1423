package pause

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"orderworker/upstream"
)

// The errors that calls end with.
var (
	errForbidden = &upstream.Error{Class: upstream.Account, Code: "502", Message: "ip"}
	errUnlisted  = &upstream.Error{Class: upstream.Refused, Code: "77", Message: "no"}
	errPermanent = &upstream.Error{Class: upstream.Refused, Code: "41018", Permanent: true}
	errExists    = &upstream.Error{Class: upstream.Ambiguous, Code: "503016", Exists: true}
	errBought    = &upstream.Error{Class: upstream.Ambiguous, Code: "200", Bought: true}
	errFailed    = &upstream.Error{Class: upstream.Ambiguous, Code: "500"}
	errTimeout   = &upstream.Error{Class: upstream.Ambiguous, Err: errors.New("time-out")}
	errDown      = &upstream.Error{Class: upstream.Unreachable, Err: errors.New("refused")}
	errTooFast   = &upstream.Error{Class: upstream.Throttled, Code: "501"}
)

// play plays a script on an account, and returns the result of each word. The words
// are:
//
//	sold, forbidden, unlisted, ...  the end of a call for an order
//	probe:END                       the end of a call that is the probe
//	lookup:ok, lookup:no, lookup:-  a lookup that works, is refused, fails
//	+1m                             time passes
func play(a *account, script string) string {
	ends := map[string]error{"sold": nil, "forbidden": errForbidden, "unlisted": errUnlisted, "permanent": errPermanent,
		"exists": errExists, "bought": errBought, "failed": errFailed, "timeout": errTimeout, "down": errDown, "toofast": errTooFast}
	lookups := map[string]error{"ok": nil, "no": errUnlisted, "-": errTimeout}
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	var got []string
	ended := func(end string, probe bool) {
		v := a.ended(ends[end], probe, now)
		got = append(got, map[ruling]string{counts: "counts", doesNotCount: "-", needsLookup: "ask"}[v])
	}
	for _, word := range strings.Fields(script) {
		kind, arg, _ := strings.Cut(word, ":")
		switch {
		case word[0] == '+':
			d, err := time.ParseDuration(word[1:])
			if err != nil {
				panic(err)
			}
			now = now.Add(d)
		case kind == "lookup":
			a.lookedUp(lookups[arg], now)
		case kind == "judged":
			got = append(got, map[ruling]string{counts: "counts", doesNotCount: "-"}[a.ruleByLookup(errUnlisted, lookups[arg], now)])
		case kind == "due":
			got = append(got, fmt.Sprint(a.probeLookup(now)))
		case kind == "probe":
			if ok, probe, _ := a.admit(now); !ok || !probe {
				got = append(got, "no probe")
				continue
			}
			ended(arg, true)
		case kind == "order":
			ok, probe, back := a.admit(now)
			switch {
			case ok && !probe:
				got = append(got, "goes")
				a.giveBack(false)
			case ok:
				got = append(got, "is the probe")
				a.giveBack(true)
			default:
				got = append(got, fmt.Sprintf("back in %v", back.Round(time.Second)))
			}
		default:
			a.admit(now)
			ended(word, false)
		}
	}
	got = append(got, string(a.cause))
	return strings.TrimSpace(strings.Join(got, " "))
}

func TestAccount(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"sold":                       {"sold", "-"},
		"an account code":            {"forbidden", "- account"},
		"throttled":                  {"toofast toofast toofast toofast toofast toofast", "- - - - - -"},
		"a permanent code":           {"permanent", "counts"},
		"exists":                     {"exists", "counts"},
		"unlisted, nothing is known": {"unlisted", "ask"},
		"unlisted after a sale":      {"sold +59s unlisted", "- counts"},
		"unlisted after a while":     {"sold +61s unlisted", "- ask"},
		"unlisted after a lookup":    {"lookup:ok unlisted", "counts"},
		"a permanent code shows nothing of the account": {"permanent unlisted", "counts ask"},
		"the lookup works":      {"unlisted judged:ok unlisted", "ask counts counts"},
		"the lookup is refused": {"unlisted judged:no", "ask - refused"},
		"the lookup fails":      {"unlisted judged:- unlisted", "ask - ask"},
		"failing lookups alone": {"lookup:- lookup:no lookup:- lookup:- lookup:- lookup:-", ""},

		"silence":                     {"timeout down failed timeout timeout", "- - - - - no_answer"},
		"four are not enough":         {"timeout down failed timeout", "- - - -"},
		"an answer between":           {"timeout timeout timeout timeout permanent timeout", "- - - - counts -"},
		"a lookup is no answer":       {"timeout timeout timeout timeout lookup:ok timeout", "- - - - - no_answer"},
		"bought is an answer":         {"timeout timeout timeout timeout bought timeout", "- - - - - -"},
		"silence ends with an answer": {"down down down down down +2s due +3s probe:unlisted", "- - - - - true -"},
		"silence, then forbidden":     {"down down down down down +2s due +5s probe:forbidden", "- - - - - true - account"},

		"orders wait in a pause":                      {"forbidden order", "- back in 1s account"},
		"never longer than 5 s":                       {"forbidden +2s due +9s probe:forbidden +9s due +20s probe:forbidden order", "- true - true - back in 5s account"},
		"a lookup first, then an order":               {"forbidden order +2s order due order +5s order", "- back in 1s back in 0s true back in 2s is the probe account"},
		"in turn":                                     {"forbidden +2s due +5s probe:forbidden +9s due", "- true - true account"},
		"by orders alone where lookups work":          {"forbidden +2s due lookup:ok probe:forbidden +9s due probe:forbidden +99s due", "- true - false - false account"},
		"a sale ends it":                              {"forbidden +2s due +5s probe:sold order", "- true - goes"},
		"a late sale ends it":                         {"forbidden sold", "- -"},
		"a permanent code ends it":                    {"forbidden +2s due +5s probe:permanent order", "- true counts goes"},
		"a refused probe does not count":              {"unlisted judged:no +2s due +5s probe:unlisted", "ask - true - refused"},
		"an unlisted code ends it where lookups work": {"forbidden +2s due lookup:ok probe:unlisted order", "- true - goes"},
		"a lookup ends what a lookup began":           {"unlisted judged:no +2s due lookup:ok order", "ask - true goes"},
		"a lookup does not end an account code":       {"forbidden lookup:ok order", "- is the probe account"},
		"late refusals do not count":                  {"sold forbidden unlisted", "- - - account"},
		"throttled does not end it":                   {"forbidden +2s due +5s probe:toofast", "- true - account"},
	} {
		if got := play(newAccount(), c.script); got != c.want {
			t.Errorf("%s: %s\n got %q\nwant %q", name, c.script, got, c.want)
		}
	}
}

// The interval of probes grows from a second to a minute. The next pause begins with a
// second again.
func TestProbesGrow(t *testing.T) {
	a, now := newAccount(), time.Now()
	a.ended(errForbidden, false, now)
	var waits []time.Duration
	for range 12 {
		waits = append(waits, a.due.Sub(now))
		now = a.due
		if !a.probeLookup(now) {
			if ok, probe, _ := a.admit(now); !ok || !probe {
				t.Fatal("neither a lookup nor an order is the probe")
			}
			a.ended(errForbidden, true, now)
		}
	}
	if first, last := waits[0], waits[11]; first < 800*time.Millisecond || first > 1200*time.Millisecond || last < 48*time.Second || last > 72*time.Second {
		t.Errorf("waits %v, want 1 s growing to 60 s, a fifth more or less", waits)
	}
	a.ended(nil, true, now)
	a.ended(errForbidden, false, now)
	if wait := a.due.Sub(now); wait > 1200*time.Millisecond {
		t.Errorf("the next pause is first probed after %v", wait)
	}
}

// After a vendor has fallen silent, few more calls are made.
func TestUnansweredCallsAreLimited(t *testing.T) {
	a, now := newAccount(), time.Now()
	for range maxUnanswered {
		if ok, _, _ := a.admit(now); !ok {
			t.Fatal("a call was not let through")
		}
	}
	if ok, _, handBack := a.admit(now); ok || handBack != 0 {
		t.Errorf("one call more than %d went through", maxUnanswered)
	}
	a.giveBack(false)
	if ok, _, _ := a.admit(now); !ok {
		t.Error("a permit that was given back is not given again")
	}
	a.ended(errUnlisted, false, now)
	if ok, _, _ := a.admit(now); !ok {
		t.Error("an answer did not let others go on")
	}
}

// Orders that get no clear answer are told of before there is a pause. A lookup that is
// answered ends that, unless two orders in a row had no answer.
func TestUnclear(t *testing.T) {
	for script, want := range map[string]string{
		"":                            "",
		"sold":                        "",
		"failed":                      "0s 0s code 500",
		"failed +1m timeout +1m down": "0s 2m0s refused",
		"failed forbidden":            "",
		"failed toofast":              "",
		"failed bought":               "",
		"failed +1m failed sold":      "",
		"failed lookup:ok":            "",
		"failed +1m failed lookup:ok": "0s 1m0s code 500",
		"failed lookup:ok +1m failed": "1m0s 1m0s code 500",
		"sold failed lookup:-":        "0s 0s code 500",
		"lookup:-":                    "",
		"failed failed failed +1m failed timeout +2s due +5s probe:timeout": "0s 1m7s time-out",
	} {
		a := newAccount()
		start := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
		play(a, script)
		got := ""
		if s := a.answers; !s.Since.IsZero() {
			got = fmt.Sprint(s.Since.Sub(start), " ", s.Last.Sub(start), " ", s.What)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", script, got, want)
		}
	}
}
