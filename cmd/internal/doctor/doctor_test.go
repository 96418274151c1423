package doctor

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orderworker/upstream"
)

func TestAllowance(t *testing.T) {
	for name, c := range map[string]struct {
		allow, deny []string
		subject     string
		want        bool
	}{
		"no restriction":       {nil, nil, "a.b", true},
		"itself":               {[]string{"a.b"}, nil, "a.b", true},
		"all below":            {[]string{"a.>"}, nil, "a.b.c", true},
		"all below, itself":    {[]string{"a.>"}, nil, "a", false},
		"one token":            {[]string{"a.*"}, nil, "a.b.c", false},
		"a pattern, too small": {[]string{"a.b"}, nil, "a.*", false},
		"a pattern of all":     {[]string{"a.*"}, nil, "a.>", false},
		"another":              {[]string{"b", "c"}, nil, "a", false},
		"denied":               {nil, []string{"a.*"}, "a.b", false},
		"part of it denied":    {[]string{"a.>"}, []string{"a.b.c"}, "a.*.c", false},
		"denied below":         {nil, []string{"a.>"}, "a.b.c", false},
		"something denied":     {nil, []string{"b.>"}, "a.b", true},
		"longer one denied":    {nil, []string{"a.b.c"}, "a.b", true},
	} {
		if got := (&allowance{c.allow, c.deny}).may(c.subject); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if !(*allowance)(nil).may("a") {
		t.Error("no permissions at all are a restriction")
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"a\x1b[31mb\nc\u202e": "a [31mb c ", "\xff": "?", "Größe": "Größe",
		strings.Repeat("ü", 600): strings.Repeat("ü", 500) + "...",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q gives %q, want %q", in, got, want)
		}
	}
}

func TestSkewed(t *testing.T) {
	now := time.Now()
	for apart, want := range map[time.Duration]Result{0: OK, 5900 * time.Millisecond: OK, -5900 * time.Millisecond: OK, 6100 * time.Millisecond: Failed, -6100 * time.Millisecond: Failed} {
		if got := skewed(now.Add(apart), now.Add(-time.Second), now.Add(time.Second)); got.Result != want {
			t.Errorf("%v: %+v", apart, got)
		}
	}
}

// asked is a line that notes when it was asked.
type asked struct{ at *[]time.Time }

func (asked) Ready() bool { return true }
func (asked) Release()    {}
func (l asked) Lookup(context.Context, upstream.Question, time.Time) (upstream.Page, error) {
	*l.at = append(*l.at, time.Now())
	return upstream.Page{}, nil
}

// Without the quota there are few lookups, a second apart: workers may call too.
func TestPaceWithoutQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		v := &vendorVisit{Vendor: &Vendor{
			Base: &url.URL{}, Rate: 10,
			Connect: func(context.Context) (Line, error) { return asked{&at}, nil },
		}, redis: newPromise()}
		v.redis.keep(false)
		var err error
		for range maxUnpaced + 3 {
			_, _, err = v.ask(t.Context(), v.Connect, upstream.Question{Numbers: []string{"A"}})
		}
		if !errors.Is(err, errUnpaced) || len(at) != maxUnpaced {
			t.Errorf("%d lookups, then %v", len(at), err)
		}
		for i := range at[1:] {
			if gap := at[i+1].Sub(at[i]); gap < time.Second {
				t.Errorf("lookup %d comes after %v", i+1, gap)
			}
		}
	})
}

// A check that others need takes them along; the others go on.
func TestAreaStops(t *testing.T) {
	bad := func(context.Context) Finding { return failed("no") }
	ended := false
	found := area{[]check{{"a", false, "cure a", bad}, {"b", true, "cure b", bad}, {"c", true, "cure c", bad}}, func() { ended = true }}.run(t.Context())
	want := []Finding{{"a", Failed, "no", "cure a"}, {"b", Failed, "no", "cure b"}, {"c", Failed, "not checked: b failed", "first mend b"}}
	if !slices.Equal(found, want) || !ended {
		t.Errorf("got %+v, ended %v", found, ended)
	}
}
