package worker

import (
	"errors"
	"testing"
	"time"

	"orderworker/upstream"
)

func TestDecide(t *testing.T) {
	rules := Rules{MaxAttempts: 3, PermanentCodes: []string{"P"}, DuplicateCodes: []string{"D"}}
	says := func(class upstream.Class, code string) error { return &upstream.Error{Class: class, Code: code} }
	for name, c := range map[string]struct {
		err      error
		open     bool
		attempts int
		want     verdict
	}{
		"success":                         {nil, false, 2, verdict{succeed, "", 3}},
		"success in doubt":                {nil, true, 0, verdict{succeed, "", 1}},
		"refused":                         {says(upstream.Refused, "1"), false, 0, verdict{wait, "", 1}},
		"refused, one attempt left":       {says(upstream.Refused, "1"), false, 1, verdict{wait, "", 2}},
		"refused, budget gone":            {says(upstream.Refused, "1"), false, 2, verdict{fail, AttemptsExhausted, 3}},
		"refused for good":                {says(upstream.Refused, "P"), false, 0, verdict{fail, PermanentCode, 1}},
		"refused while in doubt":          {says(upstream.Refused, "1"), true, 2, verdict{settle, "", 3}},
		"refused for good, in doubt":      {says(upstream.Refused, "P"), true, 0, verdict{settle, "", 1}},
		"it exists":                       {says(upstream.Refused, "D"), false, 2, verdict{settle, "", 2}},
		"throttled":                       {says(upstream.Throttled, "429"), false, 2, verdict{wait, "", 2}},
		"throttled by a permanent code":   {says(upstream.Throttled, "P"), false, 2, verdict{wait, "", 2}},
		"throttled while in doubt":        {says(upstream.Throttled, "429"), true, 2, verdict{settle, "", 2}},
		"unreachable":                     {says(upstream.Unreachable, ""), false, 2, verdict{wait, "", 2}},
		"unreachable while in doubt":      {says(upstream.Unreachable, ""), true, 0, verdict{settle, "", 0}},
		"ambiguous":                       {says(upstream.Ambiguous, ""), false, 2, verdict{settle, "", 2}},
		"ambiguous with a final code":     {says(upstream.Ambiguous, "P"), false, 2, verdict{settle, "", 2}},
		"an error that nobody classified": {errors.New("?"), false, 2, verdict{settle, "", 2}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rules.decide(c.err, c.open, c.attempts, false); got != c.want {
				t.Errorf("decide(%v, open %v, %d attempts) = %+v, want %+v", c.err, c.open, c.attempts, got, c.want)
			}
		})
	}
}

func TestRefusalOfEverybodyIsNoAttempt(t *testing.T) {
	rules := Rules{MaxAttempts: 1}
	err := &upstream.Error{Class: upstream.Refused, Code: "1"}
	if got, want := rules.decide(err, false, 0, true), (verdict{wait, "", 0}); got != want {
		t.Errorf("decide = %+v, want %+v", got, want)
	}
	if got, want := rules.decide(err, true, 0, true), (verdict{settle, "", 0}); got != want {
		t.Errorf("decide while in doubt = %+v, want %+v", got, want)
	}
}

func TestBackoffGrowsToItsMaximum(t *testing.T) {
	b := Backoff{Initial: time.Second, Multiplier: 2, Max: time.Minute}
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		if got := b.Delay(n); got != want*time.Second {
			t.Errorf("delay %d is %v, want %v", n, got, want*time.Second)
		}
	}
	if got := b.Delay(1 << 40); got != time.Minute {
		t.Errorf("delay after very many waits is %v, want %v", got, time.Minute)
	}
}

func TestBackoffJitterStaysInItsRange(t *testing.T) {
	b := Backoff{Initial: time.Second, Multiplier: 3, Max: time.Minute, Jitter: 0.5}
	least, most := time.Hour, time.Duration(0)
	for range 2000 {
		d := b.Delay(1)
		least, most = min(least, d), max(most, d)
	}
	if least < 1500*time.Millisecond || most > 4500*time.Millisecond+1 {
		t.Errorf("delays from %v to %v, want within 3s ± 50%%", least, most)
	}
	if most-least < 2*time.Second {
		t.Errorf("delays from %v to %v: hardly any jitter", least, most)
	}
}

func TestTimesOfDoubt(t *testing.T) {
	sendBy := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	long := Rules{ReconcileDelay: 10 * time.Minute, UpstreamTimeout: 10 * time.Second}
	short := Rules{ReconcileDelay: 2 * time.Second, UpstreamTimeout: time.Second}
	if got := long.sendWindow(); got != 3*time.Second {
		t.Errorf("send window is %v, want 3s", got)
	}
	if got := short.sendWindow(); got != time.Second {
		t.Errorf("send window is %v, want half of RECONCILE_DELAY, 1s", got)
	}
	if got := long.provable(sendBy).Sub(sendBy); got != 10*time.Minute+10*time.Second {
		t.Errorf("a \"not found\" proves after %v, want RECONCILE_DELAY + UPSTREAM_TIMEOUT", got)
	}
	for asked, want := range []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 3 * time.Minute, 3 * time.Minute} {
		if got := long.nextAsk(asked); got != want {
			t.Errorf("lookup %d after %v, want %v", asked, got, want)
		}
		if got := short.nextAsk(asked); got != want/10 {
			t.Errorf("with a short RECONCILE_DELAY lookup %d after %v, want %v", asked, got, want/10)
		}
	}
}
