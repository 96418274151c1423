package dedupe

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// settle rules on the order as it stands.
func (b bench) settle(outTradeNo string, result []byte) error {
	b.t.Helper()
	k, _ := b.Look(b.ctx(), outTradeNo) // Settle looks again, and fails as this does
	return b.Settle(b.ctx(), outTradeNo, Ruling{Seen: k.JournalRev, Result: result})
}

func TestKnownOpen(t *testing.T) {
	now := time.Now()
	intent := func(sendBy time.Time) *Record {
		return &Record{State: StateIntent, Fingerprint: "f1", Seq: 7, Progress: Progress{Attempt: 2, Refusals: 1}, SendBy: sendBy}
	}
	old := now.Add(-time.Minute)
	over := func(sendBy, over time.Time) *Record {
		r := intent(sendBy)
		r.Over = over
		return r
	}
	bought := intent(old)
	bought.Bought = true
	for name, c := range map[string]struct {
		known     Known
		notBought bool   // what the operator says
		refused   string // empty: it is open
		attempts  int
	}{
		"nothing":                 {refused: "nothing is known of it"},
		"claimed":                 {known: Known{Cache: &Entry{State: StateClaimed}}, refused: "never sent"},
		"history without journal": {known: Known{Cache: &Entry{State: StateClaimed, Rev: 5}}, refused: "no attempt of it is known to be open"},
		"refusals, no journal":    {known: Known{Cache: &Entry{State: StateReady, Progress: Progress{Attempt: 1, Refusals: 1}}}, refused: "no attempt of it is known to be open"},
		"ready":                   {known: Known{Journal: &Record{State: StateReady}}, refused: "waits for its next attempt"},
		"ready, doubt in Redis":   {known: Known{Journal: &Record{State: StateReady}, Cache: &Entry{State: StateInDoubt, Doubt: &Doubt{SendBy: old}}}, refused: "waits"},
		"final":                   {known: Known{Journal: &Record{State: StateFinal}}, refused: "final result"},
		"final in Redis alone":    {known: Known{Cache: &Entry{State: StateFinal}}, refused: "final result"},
		"final, old intent":       {known: Known{Journal: intent(old), Cache: &Entry{State: StateFinal}}, refused: "final result"},
		"may leave":               {known: Known{Journal: intent(now.Add(time.Second))}, refused: "may leave until"},
		"may be under way":        {known: Known{Journal: intent(now.Add(-time.Second))}, refused: "may be under way until"},
		"another's time-out":      {known: Known{Journal: over(old, now.Add(time.Second))}, refused: "under way until"},
		"a shorter time-out":      {known: Known{Journal: over(now.Add(-2*time.Second), now.Add(-time.Second))}, attempts: 1},
		"under way, in Redis":     {known: Known{Cache: &Entry{State: StateInDoubt, Doubt: &Doubt{SendBy: old, Over: now.Add(time.Second)}}}, refused: "under way until"},
		"a worker has it":         {known: Known{Journal: intent(old), Cache: &Entry{State: StateReady, Owner: "a", Left: time.Second}}, refused: "a worker has it"},
		"its lease is over":       {known: Known{Journal: intent(old), Cache: &Entry{State: StateReady, Owner: "a"}}, attempts: 1},
		"a worker asks about it":  {known: Known{Journal: intent(old), Cache: &Entry{State: StateInDoubt, Doubt: &Doubt{}, Owner: "a", Left: time.Second}}, attempts: 1},
		"intent":                  {known: Known{Journal: intent(old)}, attempts: 1},
		"refused since":           {known: Known{Journal: intent(old), Cache: &Entry{State: StateInDoubt, Doubt: &Doubt{}, Fingerprint: "f1", Progress: Progress{Refusals: 3}}}, attempts: 3},
		"another in Redis":        {known: Known{Journal: intent(old), Cache: &Entry{State: StateReady, Fingerprint: "f2", Progress: Progress{Refusals: 3}}}, attempts: 1},
		"doubt in Redis alone":    {known: Known{Cache: &Entry{State: StateInDoubt, Doubt: &Doubt{SendBy: old}, Progress: Progress{Refusals: 2}}}, attempts: 2},
		"bought":                  {known: Known{Journal: bought}, attempts: 1},
		"bought, they say not":    {known: Known{Journal: bought}, notBought: true, refused: "the vendor has said that it was bought"},
		"bought, Redis knows":     {known: Known{Journal: intent(old), Cache: &Entry{State: StateInDoubt, Doubt: &Doubt{Bought: true}}}, notBought: true, refused: "the vendor has said"},
	} {
		r, err := c.known.Open(now, 10*time.Second, !c.notBought)
		switch {
		case c.refused == "" && (err != nil || r.Refusals != c.attempts):
			t.Errorf("%s: %d refusals, %v, want %d", name, r.Refusals, err, c.attempts)
		case c.refused != "" && (!errors.Is(err, ErrNotInDoubt) || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s: %v, want %q", name, err, c.refused)
		}
	}
}

// A ruling counts for the state that the operator saw, and no other.
func TestStoreSettleWhatWasSeen(t *testing.T) {
	eachStore(t, func(b bench) {
		no := testOrder.OutTradeNo
		c := b.must(testOrder, false, Fresh)
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Time{}))
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		seen, err := b.Look(b.ctx(), no)
		b.ok(err)
		c = b.must(testOrder, true, InDoubt)
		b.ok(b.Intent(b.ctx(), c, time.Now().Add(-time.Second), time.Time{})) // sent again
		b.ok(b.Doubt(b.ctx(), c, c.Doubt, soon))
		b.lost(b.Settle(b.ctx(), no, Ruling{Seen: seen.JournalRev}))
		if err := b.Settle(b.ctx(), no, Ruling{Seen: seen.JournalRev, Call: time.Hour}); !errors.Is(err, ErrNotInDoubt) {
			b.t.Errorf("a request that may be under way: %v", err)
		}
		if r := b.record(); r.State != StateIntent || r.Attempt != 2 {
			b.t.Errorf("journal %+v, want the second intent", r)
		}
		b.ok(b.settle(no, nil))
		b.must(testOrder, true, Ready)
	})
}
