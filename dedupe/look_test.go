package dedupe_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"orderworker/dedupe"
)

// settle settles the order in its current state.
func (b testEnv) settle(outTradeNo string, result []byte) error {
	b.t.Helper()
	k, _ := b.Look(b.ctx(), outTradeNo) // Settle looks again, and fails as this does
	return b.Settle(b.ctx(), outTradeNo, dedupe.Ruling{Seen: k.JournalRev, Result: result})
}

func TestKnownSettleable(t *testing.T) {
	now := time.Now()
	intent := func(sendBy time.Time) *dedupe.Record {
		return &dedupe.Record{State: dedupe.StateIntent, Fingerprint: "f1", Seq: 7, Progress: dedupe.Progress{Attempt: 2, Refusals: 1}, SendBy: sendBy}
	}
	old := now.Add(-time.Minute)
	over := func(sendBy, over time.Time) *dedupe.Record {
		r := intent(sendBy)
		r.Over = over
		return r
	}
	bought := intent(old)
	bought.Bought = true
	for name, c := range map[string]struct {
		known     dedupe.Known
		notBought bool   // what the operator says
		refused   string // empty: it is open
		attempts  int
	}{
		"nothing":                 {refused: "nothing is known of it"},
		"claimed":                 {known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateClaimed}}, refused: "never sent"},
		"history without journal": {known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateClaimed, Rev: 5}}, refused: "no attempt of it is known to be open"},
		"refusals, no journal":    {known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateReady, Progress: dedupe.Progress{Attempt: 1, Refusals: 1}}}, refused: "no attempt of it is known to be open"},
		"ready":                   {known: dedupe.Known{Journal: &dedupe.Record{State: dedupe.StateReady}}, refused: "waits for its next attempt"},
		"ready, doubt in Redis":   {known: dedupe.Known{Journal: &dedupe.Record{State: dedupe.StateReady}, Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{SendBy: old}}}, refused: "waits"},
		"final":                   {known: dedupe.Known{Journal: &dedupe.Record{State: dedupe.StateFinal}}, refused: "final result"},
		"final in Redis alone":    {known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateFinal}}, refused: "final result"},
		"final, old intent":       {known: dedupe.Known{Journal: intent(old), Cache: &dedupe.Entry{State: dedupe.StateFinal}}, refused: "final result"},
		"final, ready in Redis":   {known: dedupe.Known{Journal: &dedupe.Record{State: dedupe.StateFinal}, Cache: &dedupe.Entry{State: dedupe.StateReady}}, refused: "final result"},
		"intent, ready in Redis":  {known: dedupe.Known{Journal: intent(old), Cache: &dedupe.Entry{State: dedupe.StateReady}}, attempts: 1},
		"may leave":               {known: dedupe.Known{Journal: intent(now.Add(time.Second))}, refused: "may leave until"},
		"may be under way":        {known: dedupe.Known{Journal: intent(now.Add(-time.Second))}, refused: "may be under way until"},
		"another's time-out":      {known: dedupe.Known{Journal: over(old, now.Add(time.Second))}, refused: "under way until"},
		"a shorter time-out":      {known: dedupe.Known{Journal: over(now.Add(-2*time.Second), now.Add(-time.Second))}, attempts: 1},
		"under way, in Redis":     {known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{SendBy: old, Over: now.Add(time.Second)}}}, refused: "under way until"},
		"a worker has it":         {known: dedupe.Known{Journal: intent(old), Cache: &dedupe.Entry{State: dedupe.StateReady, Owner: "a", Left: time.Second}}, refused: "a worker has it"},
		"its lease is over":       {known: dedupe.Known{Journal: intent(old), Cache: &dedupe.Entry{State: dedupe.StateReady, Owner: "a"}}, attempts: 1},
		"a worker asks about it":  {known: dedupe.Known{Journal: intent(old), Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{}, Owner: "a", Left: time.Second}}, attempts: 1},
		"intent":                  {known: dedupe.Known{Journal: intent(old)}, attempts: 1},
		"refused since":           {known: dedupe.Known{Journal: intent(old), Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{}, Fingerprint: "f1", Progress: dedupe.Progress{Refusals: 3}}}, attempts: 3},
		"another in Redis":        {known: dedupe.Known{Journal: intent(old), Cache: &dedupe.Entry{State: dedupe.StateReady, Fingerprint: "f2", Progress: dedupe.Progress{Refusals: 3}}}, attempts: 1},
		"doubt in Redis alone":    {known: dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{SendBy: old}, Progress: dedupe.Progress{Refusals: 2}}}, attempts: 2},
		"bought":                  {known: dedupe.Known{Journal: bought}, attempts: 1},
		"bought, they say not":    {known: dedupe.Known{Journal: bought}, notBought: true, refused: "the vendor has said that it was bought"},
		"bought, Redis knows":     {known: dedupe.Known{Journal: intent(old), Cache: &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{Bought: true}}}, notBought: true, refused: "the vendor has said"},
	} {
		r, err := c.known.Settleable(now, 10*time.Second, !c.notBought)
		switch {
		case c.refused == "" && (err != nil || r.Refusals != c.attempts):
			t.Errorf("%s: %d refusals, %v, want %d", name, r.Refusals, err, c.attempts)
		case c.refused != "" && (!errors.Is(err, dedupe.ErrNotInDoubt) || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s: %v, want %q", name, err, c.refused)
		}
	}
}

// TestKnownVerdict: an operator is told that nothing was sent only where every store was
// read, and none can have forgotten that it was.
func TestKnownVerdict(t *testing.T) {
	now, away := time.Now(), errors.New("away")
	minute := now.Add(-time.Minute)
	claimed := &dedupe.Entry{State: dedupe.StateClaimed, Owner: "a"}
	parked := &dedupe.Entry{State: dedupe.StateReady}
	inDoubt := &dedupe.Entry{State: dedupe.StateInDoubt, Doubt: &dedupe.Doubt{SendBy: minute}}
	intent := &dedupe.Record{State: dedupe.StateIntent, SendBy: minute}
	ready := &dedupe.Record{State: dedupe.StateReady}
	event := &dedupe.FinalEvent{}
	for name, c := range map[string]struct {
		known dedupe.Known
		want  dedupe.Verdict
	}{
		"nothing":                          {dedupe.Known{Stored: minute}, dedupe.Fresh},
		"nothing, no journal":              {dedupe.Known{Stored: minute, JournalErr: away}, dedupe.Unknown},
		"nothing, no results":              {dedupe.Known{Stored: minute, EventErr: away}, dedupe.Unknown},
		"nothing, no Redis":                {dedupe.Known{Stored: minute, CacheErr: away}, dedupe.Unknown},
		"nothing, a journal of what age":   {dedupe.Known{Stored: minute, CreatedErr: away}, dedupe.Unknown},
		"nothing, older than the journal":  {dedupe.Known{Stored: now.Add(-time.Hour), JournalTTL: time.Hour}, dedupe.InDoubt},
		"nothing, a journal made anew":     {dedupe.Known{Stored: minute, JournalCreated: now}, dedupe.InDoubt},
		"claimed":                          {dedupe.Known{Stored: minute, Cache: claimed}, dedupe.Fresh},
		"claimed, no journal":              {dedupe.Known{Stored: minute, Cache: claimed, JournalErr: away}, dedupe.Unknown},
		"claimed, no results":              {dedupe.Known{Stored: minute, Cache: claimed, EventErr: away}, dedupe.Unknown},
		"claimed, a journal made anew":     {dedupe.Known{Stored: minute, Cache: claimed, JournalCreated: now}, dedupe.InDoubt},
		"claimed, an older journal":        {dedupe.Known{Stored: minute, Cache: claimed, JournalCreated: minute.Add(-time.Second)}, dedupe.Fresh},
		"claimed, journalled once":         {dedupe.Known{Stored: minute, Cache: &dedupe.Entry{State: dedupe.StateClaimed, Rev: 5}}, dedupe.InDoubt},
		"parked unsent":                    {dedupe.Known{Stored: now.Add(-time.Hour), JournalTTL: time.Hour, Cache: parked}, dedupe.Ready},
		"parked unsent, no journal":        {dedupe.Known{Stored: minute, Cache: parked, JournalErr: away}, dedupe.Unknown},
		"parked unsent, no results":        {dedupe.Known{Stored: minute, Cache: parked, EventErr: away}, dedupe.Unknown},
		"parked ready, its record is gone": {dedupe.Known{Stored: minute, Cache: &dedupe.Entry{State: dedupe.StateReady, Rev: 5}}, dedupe.InDoubt},
		"ready":                            {dedupe.Known{Journal: ready}, dedupe.Ready},
		"ready, no Redis":                  {dedupe.Known{Journal: ready, CacheErr: away}, dedupe.Ready},
		"ready, no results":                {dedupe.Known{Journal: ready, EventErr: away}, dedupe.Unknown},
		"intent, no results":               {dedupe.Known{Journal: intent, EventErr: away}, dedupe.InDoubt},
		"in doubt, says Redis alone":       {dedupe.Known{Cache: inDoubt, JournalErr: away, EventErr: away}, dedupe.InDoubt},
		"an event, and nothing else":       {dedupe.Known{Event: event, JournalErr: away, CacheErr: away}, dedupe.Done},
		"final in Redis, nothing else":     {dedupe.Known{Cache: &dedupe.Entry{State: dedupe.StateFinal}, JournalErr: away, EventErr: away}, dedupe.Done},
	} {
		if got := c.known.Verdict(now); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A ruling is refused if the journal is not as the operator saw it.
func TestStoreSettleWhatWasSeen(t *testing.T) {
	eachStore(t, func(b testEnv) {
		no := testOrder.OutTradeNo
		c := b.must(testOrder, false, dedupe.Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Time{}))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		seen, err := b.Look(b.ctx(), no)
		b.ok(err)
		c = b.must(testOrder, true, dedupe.InDoubt)
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Time{})) // sent again
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		b.lost(b.Settle(b.ctx(), no, dedupe.Ruling{Seen: seen.JournalRev}))
		if err := b.Settle(b.ctx(), no, dedupe.Ruling{Seen: seen.JournalRev, Timeout: time.Hour}); !errors.Is(err, dedupe.ErrNotInDoubt) {
			b.t.Errorf("a request that may be under way: %v", err)
		}
		if r := b.record(); r.State != dedupe.StateIntent || r.Attempt != 2 {
			b.t.Errorf("journal %+v, want the second intent", r)
		}
		b.ok(b.settle(no, nil))
		b.must(testOrder, true, dedupe.Ready)
	})
}
