package worker

import (
	"errors"
	"testing"
	"time"

	"orderworker/dedupe"
	"orderworker/upstream"
)

func TestDecide(t *testing.T) {
	rules := Rules{MaxAttempts: 3}
	says := func(class upstream.Class) error { return &upstream.Error{Class: class, Code: "1"} }
	permanent := &upstream.Error{Class: upstream.Refused, Code: "41018", Permanent: true}
	for name, c := range map[string]struct {
		err      error
		inDoubt  bool
		refusals int
		counts   bool
		want     decision
	}{
		"success":                         {nil, false, 2, false, decision{StepSucceeded, "", 3}},
		"success in doubt":                {nil, true, 0, false, decision{StepSucceeded, "", 1}},
		"refused":                         {says(upstream.Refused), false, 0, true, decision{StepWaiting, "", 1}},
		"refused, one attempt left":       {says(upstream.Refused), false, 1, true, decision{StepWaiting, "", 2}},
		"refused, no attempt left":        {says(upstream.Refused), false, 2, true, decision{StepFailed, AttemptsExhausted, 3}},
		"refused by a permanent code":     {permanent, false, 0, true, decision{StepFailed, PermanentCode, 1}},
		"refused while in doubt":          {says(upstream.Refused), true, 2, true, decision{StepInDoubt, "", 3}},
		"permanent code while in doubt":   {permanent, true, 0, true, decision{StepInDoubt, "", 1}},
		"the account's refusal":           {says(upstream.Refused), false, 2, false, decision{StepWaiting, "", 2}},
		"the account's refusal, in doubt": {says(upstream.Refused), true, 2, false, decision{StepInDoubt, "", 2}},
		"an account code":                 {says(upstream.Account), false, 2, false, decision{StepWaiting, "", 2}},
		"an account code is no attempt":   {says(upstream.Account), false, 2, true, decision{StepWaiting, "", 2}},
		"an account code while in doubt":  {says(upstream.Account), true, 2, false, decision{StepInDoubt, "", 2}},
		"it exists":                       {&upstream.Error{Class: upstream.Ambiguous, Exists: true}, false, 2, true, decision{StepInDoubt, "", 2}},
		"throttled":                       {says(upstream.Throttled), false, 2, true, decision{StepWaiting, "", 2}},
		"throttled while in doubt":        {says(upstream.Throttled), true, 2, false, decision{StepInDoubt, "", 2}},
		"unreachable":                     {says(upstream.Unreachable), false, 2, true, decision{StepWaiting, "", 2}},
		"unreachable while in doubt":      {says(upstream.Unreachable), true, 0, false, decision{StepInDoubt, "", 0}},
		"ambiguous":                       {says(upstream.Ambiguous), false, 2, true, decision{StepInDoubt, "", 2}},
		"an unclassified error":           {errors.New("?"), false, 2, true, decision{StepInDoubt, "", 2}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rules.decide(c.err, c.inDoubt, c.refusals, c.counts); got != c.want {
				t.Errorf("decide(%v, in doubt %v, %d refusals, counts %v) = %+v, want %+v", c.err, c.inDoubt, c.refusals, c.counts, got, c.want)
			}
		})
	}
}

func TestResends(t *testing.T) {
	for doubt, want := range map[dedupe.Doubt]bool{{}: true, {Bought: true}: false, {Exists: true}: false} {
		if got := (Rules{Reconcile: Resend}).resends(doubt); got != want {
			t.Errorf("resends(%+v) = %v, want %v", doubt, got, want)
		}
		if (Rules{Reconcile: Lookup}).resends(doubt) {
			t.Errorf("%+v is sent again although the policy is lookup", doubt)
		}
	}
}

func TestBackoffDelay(t *testing.T) {
	plain := Backoff{Initial: time.Second, Multiplier: 2, Max: time.Minute}
	jittered := Backoff{Initial: time.Second, Multiplier: 3, Max: time.Minute, Jitter: 0.5}
	const almostOne = 1 - 1e-9
	for name, c := range map[string]struct {
		b      Backoff
		waits  int
		random float64
		want   time.Duration
	}{
		"first":                    {plain, 0, 0, time.Second},
		"no jitter, whatever":      {plain, 1, 0.9, 2 * time.Second},
		"grows":                    {plain, 5, 0, 32 * time.Second},
		"at most Max":              {plain, 6, 0, time.Minute},
		"after very many waits":    {plain, 1 << 40, 0, time.Minute},
		"does not grow":            {Backoff{Initial: time.Second, Multiplier: 1, Max: time.Minute}, 1 << 40, 0, time.Second},
		"shortest":                 {jittered, 1, 0, 1500 * time.Millisecond},
		"middle":                   {jittered, 1, 0.5, 3 * time.Second},
		"longest":                  {jittered, 1, almostOne, 4500 * time.Millisecond},
		"jitter goes beyond Max":   {jittered, 9, almostOne, 90 * time.Second},
		"jitter 1, none at all":    {Backoff{Initial: time.Second, Multiplier: 2, Max: time.Minute, Jitter: 1}, 0, 0, 0},
		"jitter 1, twice the wait": {Backoff{Initial: time.Second, Multiplier: 2, Max: time.Minute, Jitter: 1}, 0, almostOne, 2 * time.Second},
	} {
		if got := c.b.Delay(c.waits, c.random); (got - c.want).Abs() > time.Microsecond {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
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
	if got := long.provable(dedupe.Doubt{SendBy: sendBy}).Sub(sendBy); got != 10*time.Minute+10*time.Second {
		t.Errorf("a \"not found\" proves after %v, want RECONCILE_DELAY + UPSTREAM_TIMEOUT", got)
	}
	if got := short.provable(dedupe.Doubt{SendBy: sendBy, Over: sendBy.Add(time.Minute)}).Sub(sendBy); got != time.Minute+2*time.Second {
		t.Errorf("with the longer timeout of the process that sent the request, a \"not found\" proves after %v", got)
	}
	for asked, want := range []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 3 * time.Minute, 3 * time.Minute} {
		d := dedupe.Doubt{SendBy: sendBy, Asked: asked}
		if got := long.lookupDelay(d, sendBy); got != want {
			t.Errorf("lookup %d after %v, want %v", asked, got, want)
		}
		if got := short.lookupDelay(d, sendBy); got != min(want/10, 3*time.Second+time.Millisecond) {
			t.Errorf("with a short RECONCILE_DELAY lookup %d after %v, want %v", asked, got, want/10)
		}
	}
	late := dedupe.Doubt{SendBy: sendBy, Asked: 9}
	proof := long.provable(late)
	if got := long.lookupDelay(late, proof.Add(-time.Second)); got != time.Second+time.Millisecond {
		t.Errorf("a second before the proof the next lookup is after %v, want a second", got)
	}
	if got := long.lookupDelay(late, proof.Add(time.Second)); got != 3*time.Minute {
		t.Errorf("after the provable time, before a first \"not found\": %v, want the schedule's 3m", got)
	}
	late.Missing = true
	if got := long.lookupDelay(late, proof.Add(time.Second)); got != time.Minute {
		t.Errorf("the second \"not found\" is asked for after %v, want a tenth of RECONCILE_DELAY", got)
	}
}
