package operator

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"orderworker/cmd/internal/vitals"
	"orderworker/dedupe"
	"orderworker/worker"
	"orderworker/worker/halt"
)

var (
	now     = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	errAway = errors.New("away")
)

// in is a moment so many minutes from now.
func in(minutes int) time.Time { return now.Add(time.Duration(minutes) * time.Minute) }

// asListed is what a list says of an order: its state and what happens to it next.
func asListed(row Row) string { return fmt.Sprintf("%s: %s", row.State, row.Next.text(now)) }

func doubtful(d dedupe.Doubt) dedupe.Known {
	d.Since, d.SendBy, d.Over = in(-9), in(-9), in(-8)
	return dedupe.Known{
		Journal: &dedupe.Record{State: dedupe.StateIntent, SendBy: d.SendBy, Over: d.Over, Since: d.Since, Bought: d.Bought, Exists: d.Exists},
		Cache:   &dedupe.Entry{State: dedupe.StateInDoubt, Left: 3 * time.Minute, Doubt: &d},
	}
}

// What happens next to an order in doubt is what UPSTREAM_RECONCILE says.
func TestNextOfADoubt(t *testing.T) {
	soon := in(1)
	paused := Buying{Operator: &halt.State{Paused: true}}
	redisAway := doubtful(dedupe.Doubt{})
	redisAway.Cache, redisAway.CacheErr = nil, errAway
	for name, c := range map[string]struct {
		policy  worker.Policy
		known   dedupe.Known
		expires *time.Time
		buying  Buying
		want    string
	}{
		"lookup":              {worker.Lookup, doubtful(dedupe.Doubt{}), nil, paused, "in_doubt: 12:03:00 ask"},
		"lookup, Redis away":  {worker.Lookup, redisAway, nil, Buying{}, "in_doubt: unknown (Redis is away)"},
		"hold":                {worker.Hold, doubtful(dedupe.Doubt{}), nil, Buying{}, "in_doubt: settle"},
		"hold, bought":        {worker.Hold, doubtful(dedupe.Doubt{Bought: true}), nil, Buying{}, "in_doubt: settle"},
		"hold, Redis away":    {worker.Hold, redisAway, nil, Buying{}, "in_doubt: settle"},
		"resend":              {worker.Resend, doubtful(dedupe.Doubt{}), nil, Buying{}, "in_doubt: 12:03:00 send"},
		"resend, paused":      {worker.Resend, doubtful(dedupe.Doubt{}), nil, paused, "in_doubt: resume"},
		"resend, bought":      {worker.Resend, doubtful(dedupe.Doubt{Bought: true}), nil, Buying{}, "in_doubt: 12:03:00 ask"},
		"resend, exists":      {worker.Resend, doubtful(dedupe.Doubt{Exists: true}), nil, Buying{}, "in_doubt: 12:03:00 ask"},
		"resend, expires":     {worker.Resend, doubtful(dedupe.Doubt{}), &soon, Buying{}, "in_doubt: 12:03:00 ask"},
		"resend, Redis away":  {worker.Resend, redisAway, nil, Buying{}, "in_doubt: unknown (Redis is away)"},
		"resend, not forgot.": {worker.Resend, dedupe.Known{Journal: doubtful(dedupe.Doubt{}).Journal}, nil, Buying{}, "in_doubt: send"},
	} {
		r := Request{}
		r.ExpiresAt = c.expires
		if got := asListed(knownRow(r, facts{known: c.known, policy: c.policy, buying: c.buying, now: now, delivered: true})); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A pause that has an end is told with it, an order that is due after the end of every pause
// is not held by it, and what nobody knows is not said.
func TestNextOfAnOrderThatIsNotBought(t *testing.T) {
	indefinite, short := &halt.State{Paused: true}, &halt.State{Paused: true, Until: in(5)}
	account := &vitals.Pause{NextProbe: in(10)}
	ready := func(left, refusals int) dedupe.Known {
		e := &dedupe.Entry{State: dedupe.StateReady, Left: time.Duration(left) * time.Minute, Progress: dedupe.Progress{Attempt: refusals, Refusals: refusals}}
		return dedupe.Known{Cache: e, Journal: &dedupe.Record{State: dedupe.StateReady, Progress: e.Progress}}
	}
	nothing, later, back, over := dedupe.Known{}, ready(120, 1), ready(0, 0), ready(0, 1)
	gone := over
	gone.Cache, gone.CacheErr = nil, errAway
	const unsure = "unknown (whether it buys is not known)"
	for name, c := range map[string]struct {
		known  dedupe.Known
		buying Buying
		fresh  bool // no worker was given it
		want   string
	}{
		"later":                          {known: later, want: "waiting: 14:00:00 send"},
		"later, indefinite pause":        {known: later, buying: Buying{Operator: indefinite}, want: "paused: resume"},
		"later, a pause that ends":       {known: later, buying: Buying{Operator: short}, want: "waiting: 14:00:00 send"},
		"later, the account's pause":     {known: later, buying: Buying{Account: account}, want: "waiting: 14:00:00 send"},
		"later, nobody knows":            {known: later, buying: Buying{Unknown: "?"}, want: "waiting: 14:00:00 send"},
		"due, a pause that ends":         {known: over, buying: Buying{Operator: short}, want: "paused: 12:05:00 resume"},
		"due, both":                      {known: over, buying: Buying{Operator: short, Account: account}, want: "paused: 12:05:00 resume"},
		"due between the two":            {known: ready(7, 1), buying: Buying{Operator: short, Account: account}, want: "paused: 12:10:00 probe"},
		"due, the probe is due":          {known: over, buying: Buying{Account: &vitals.Pause{NextProbe: in(-1)}}, want: "paused: probe"},
		"due, nobody knows":              {known: over, buying: Buying{Unknown: "?"}, want: "waiting: " + unsure},
		"due, nobody knows of another":   {known: over, buying: Buying{Operator: short, Unknown: "?"}, want: "paused: 12:05:00 resume"},
		"due":                            {known: over, want: "waiting: send"},
		"due, Redis away":                {known: gone, want: "waiting: unknown (Redis is away)"},
		"handed back":                    {known: back, want: "queued: send"},
		"handed back, nobody knows":      {known: back, buying: Buying{Unknown: "?"}, want: "queued: " + unsure},
		"handed back, indefinite pause":  {known: back, buying: Buying{Operator: indefinite}, want: "paused: resume"},
		"not taken":                      {known: nothing, fresh: true, want: "queued: worker"},
		"not taken, a pause that ends":   {known: nothing, fresh: true, buying: Buying{Operator: short}, want: "queued: 12:05:00 resume"},
		"not taken, nobody knows":        {known: nothing, fresh: true, buying: Buying{Unknown: "?"}, want: "queued: " + unsure},
		"given to a worker, a pause":     {known: nothing, buying: Buying{Operator: short}, want: "paused: 12:05:00 resume"},
		"given to one, nobody knows":     {known: nothing, buying: Buying{Unknown: "?"}, want: "queued: " + unsure},
		"claimed before, nobody knows":   {known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateClaimed}}, buying: Buying{Unknown: "?"}, want: "queued: " + unsure},
		"a worker has it, nobody knows?": {known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateClaimed, Owner: "a", Left: time.Minute}}, buying: Buying{Unknown: "?"}, want: "claimed: -"},
	} {
		r := Request{Received: now}
		if got := asListed(knownRow(r, facts{known: c.known, buying: c.buying, now: now, delivered: !c.fresh})); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Whether a result is published is said only where the events were read.
func TestNextOfAResult(t *testing.T) {
	final := func(owner, status string) dedupe.Known {
		return dedupe.Known{Journal: &dedupe.Record{State: dedupe.StateFinal, Owner: owner, Result: []byte(`{"status":"` + status + `"}`)}}
	}
	unread := func(k dedupe.Known) dedupe.Known { k.EventErr, k.CacheErr = errAway, errAway; return k }
	for name, c := range map[string]struct {
		known       dedupe.Known
		want, words string
	}{
		"bought":            {final("", "succeeded"), "succeeded: publish", "not published yet"},
		"settled":           {final("operator-1", "succeeded"), "succeeded: publish", "settled as bought, not published yet"},
		"cancelled":         {final("operator-1", "failed"), "failed: publish", "cancelled by an operator, not published yet"},
		"bought, unread":    {unread(final("", "succeeded")), "succeeded: unknown (the results are away)", "whether that is published is not known"},
		"cancelled, unread": {unread(final("operator-1", "failed")), "failed: unknown (the results are away)", "cancelled by an operator, whether that is published is not known"},
	} {
		row := knownRow(Request{}, facts{known: c.known, now: now, delivered: true})
		d := &Detail{Report: &Report{State: string(row.State), known: c.known}, Order: &row}
		line := d.headline(now, 8)
		if asListed(row) != c.want || !row.Open() || !strings.HasSuffix(line, "; "+c.words) {
			t.Errorf("%s: %s, open %v, want %s; %q has not %q", name, asListed(row), row.Open(), c.want, line, c.words)
		}
	}
}

// When the vendor was asked last comes first and is not cut off; what it said is shown
// harmlessly, and as it came in JSON.
func TestLastLookupIsShown(t *testing.T) {
	const said = "\x1b[2J\u202econtrol number 630000198311142676 is not shown, although it was bought"
	known := doubtful(dedupe.Doubt{Asked: 2, AskedAt: in(-1), Answer: said})
	row := knownRow(Request{}, facts{known: known, now: now, delivered: true})
	if row.Answer != said || !row.AskedAt.Equal(in(-1)) || strings.Contains(row.Last.Message, "11:59") {
		t.Errorf("%+v, %+v", row, row.Last)
	}
	if got, want := row.columns(now, 8)[6], `asked 11:59:00: \x1b[2J\u202econtrol number 6300`; !strings.HasPrefix(got, want) {
		t.Errorf("list: %q, want %q...", got, want)
	}
	d := &Detail{Report: &Report{State: string(row.State), known: known}, Order: &row}
	if got, want := d.headline(now, 8), `; last lookup at 11:59:00: \x1b[2J\u202econtrol number 630000198311142676 is not shown, although it was bought`; !strings.Contains(got, want) || strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("status: %q, want %q", got, want)
	}
}
