package dedupe

import (
	"testing"
	"time"
)

// TestJudge has one case for each combination of cache entry, journal record and final
// event that the rules tell apart.
func TestJudge(t *testing.T) {
	var (
		now     = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
		before  = now.Add(-time.Hour)
		day     = 24 * time.Hour
		notes   = Doubt{Attempt: 2, SendBy: before, Since: before, Bought: true, Exists: true, Asked: 3, Missing: true, Noticed: true}
		later   = Doubt{Attempt: 2, SendBy: now, Since: before, Bought: true, Exists: true, Noticed: true}
		unknown = Doubt{SendBy: now, Since: now}
		no, yes = false, true
	)
	// entry returns a cache entry of the order with that owner.
	entry := func(s State, owner string, change ...func(*Entry)) Entry {
		e := Entry{State: s, Fingerprint: "f1", Owner: owner, Account: "A"}
		for _, c := range change {
			c(&e)
		}
		return e
	}
	left := func(d time.Duration) func(*Entry) { return func(e *Entry) { e.Left = d } }
	rev := func(n uint64) func(*Entry) { return func(e *Entry) { e.Rev = n } }
	attempt := func(n int) func(*Entry) { return func(e *Entry) { e.Attempt = n } }
	doubt := func(d Doubt) func(*Entry) { return func(e *Entry) { e.Doubt = &d } }
	other := func(e *Entry) { e.Fingerprint, e.Seq = "f2", 9 }
	of := func(account string) func(*Entry) { return func(e *Entry) { e.Account = account } }
	record := func(s State, change ...func(*Record)) *Record {
		r := &Record{State: s, Fingerprint: "f1", Account: "A"}
		for _, c := range change {
			c(r)
		}
		return r
	}
	due := func(r *Record) { r.Due = now.Add(time.Minute) }
	none, event := &FinalEvent{}, &FinalEvent{Fingerprint: "f1"}

	for name, c := range map[string]struct {
		evidence
		age  time.Duration // of the request; 0: not known
		want judgement
	}{
		// What the cache says alone.
		"new: has the cache lost anything?": {evidence{}, time.Hour, judgement{needs: cacheHistory}},
		"new":                               {evidence{cacheLost: &no}, time.Hour, judgement{verdict: Fresh}},
		"new, delivered before":             {evidence{cacheLost: &no, redelivered: true}, time.Hour, judgement{needs: journalRecord}},
		"new, too old":                      {evidence{cacheLost: &no}, day, judgement{needs: journalRecord}},
		"new, the cache was lost":           {evidence{cacheLost: &yes}, time.Hour, judgement{needs: journalRecord}},
		"new, over an unreadable entry":     {evidence{cacheLost: &no, cache: Entry{Replaced: "why"}}, time.Hour, judgement{needs: journalRecord}},
		"parked unsent: lost anything?":     {evidence{cache: entry(StateReady, "")}, time.Hour, judgement{needs: cacheHistory}},
		"parked unsent":                     {evidence{cacheLost: &no, cache: entry(StateReady, "")}, time.Hour, judgement{verdict: Ready}},
		"parked unsent, the cache was lost": {evidence{cacheLost: &yes, cache: entry(StateReady, "")}, time.Hour, judgement{needs: journalRecord}},
		"parked ready, journalled":          {evidence{cache: entry(StateReady, "", rev(3))}, time.Hour, judgement{verdict: Ready}},
		"parked, not due":                   {evidence{cache: entry(StateReady, "", left(7))}, time.Hour, judgement{verdict: Waiting, left: 7}},
		"leased":                            {evidence{cache: entry(StateClaimed, "b", left(7))}, time.Hour, judgement{verdict: Busy, left: 7}},
		"leased by the claim's own owner":   {evidence{cache: entry(StateClaimed, "a", left(7))}, time.Hour, judgement{needs: journalRecord}},
		"final":                             {evidence{cache: entry(StateFinal, "")}, time.Hour, judgement{verdict: Done}},
		"died":                              {evidence{cache: entry(StateClaimed, "b")}, time.Hour, judgement{needs: journalRecord}},
		"parked in doubt":                   {evidence{cache: entry(StateInDoubt, "", doubt(notes))}, time.Hour, judgement{needs: journalRecord}},

		// The journal.
		"ready":              {evidence{cache: entry(StateClaimed, "b"), journal: record(StateReady), event: none}, time.Hour, judgement{verdict: Ready}},
		"ready, not due":     {evidence{cache: entry(StateClaimed, "b"), journal: record(StateReady, due), event: none}, time.Hour, judgement{verdict: Waiting, left: time.Minute}},
		"intent":             {evidence{cache: entry(StateClaimed, "b"), journal: record(StateIntent), event: none}, time.Hour, judgement{verdict: InDoubt}},
		"intent, not new":    {evidence{cacheLost: &yes, journal: record(StateIntent), event: none}, time.Hour, judgement{verdict: InDoubt}},
		"intent, found late": {evidence{cacheLost: &no, journal: record(StateIntent), event: none}, time.Hour, judgement{verdict: InDoubt}},
		"journal final":      {evidence{cache: entry(StateClaimed, "b"), journal: record(StateFinal)}, time.Hour, judgement{verdict: Final}},
		"journal of others":  {evidence{cache: entry(StateClaimed, "b"), journal: &Record{State: StateReady, Fingerprint: "f2"}}, time.Hour, judgement{verdict: Conflict, usedWith: "f2"}},

		// The event is read before the vendor is asked, and before the order is sent again.
		"intent: is there an event?":          {evidence{cache: entry(StateClaimed, "b"), journal: record(StateIntent)}, time.Hour, judgement{needs: finalEvent}},
		"intent in doubt: is there an event?": {evidence{cache: entry(StateInDoubt, "", doubt(notes)), journal: record(StateIntent)}, time.Hour, judgement{needs: finalEvent}},
		"ready: is there an event?":           {evidence{cache: entry(StateClaimed, "b"), journal: record(StateReady)}, time.Hour, judgement{needs: finalEvent}},
		"intent, and an event":                {evidence{cache: entry(StateClaimed, "b"), journal: record(StateIntent), event: event, published: true}, time.Hour, judgement{verdict: Done}},
		"intent in doubt, and an event":       {evidence{cache: entry(StateInDoubt, "", doubt(notes)), journal: record(StateIntent), event: event, published: true}, time.Hour, judgement{verdict: Done}},
		"intent after a loss, and an event":   {evidence{cacheLost: &yes, journal: record(StateIntent), event: event, published: true}, time.Hour, judgement{verdict: Done}},
		"ready, and an event":                 {evidence{cache: entry(StateClaimed, "b"), journal: record(StateReady), event: event, published: true}, time.Hour, judgement{verdict: Done}},
		"intent, and an event of others":      {evidence{cache: entry(StateClaimed, "b"), journal: record(StateIntent), event: &FinalEvent{Fingerprint: "f2"}, published: true}, time.Hour, judgement{verdict: Conflict, usedWith: "f2"}},
		"nothing after a loss, and an event":  {evidence{cacheLost: &yes, journal: &Record{}, event: event, published: true}, time.Hour, judgement{verdict: Done}},
		"foreign intent, and an event":        {evidence{cache: entry(StateClaimed, "", of("B")), journal: &Record{State: StateIntent, Fingerprint: "f1", Account: "B"}, event: event, published: true}, time.Hour, judgement{verdict: Done}},

		// The journal has nothing.
		"is there an event?":        {evidence{cache: entry(StateClaimed, "b"), journal: &Record{}}, time.Hour, judgement{needs: finalEvent}},
		"event":                     {evidence{cache: entry(StateClaimed, "b"), journal: &Record{}, event: event, published: true}, time.Hour, judgement{verdict: Done}},
		"event of another content":  {evidence{cache: entry(StateClaimed, "b"), journal: &Record{}, event: &FinalEvent{Fingerprint: "f2"}, published: true}, time.Hour, judgement{verdict: Conflict, usedWith: "f2"}},
		"nothing anywhere":          {evidence{redelivered: true, cacheLost: &no, journal: &Record{}, event: none}, time.Hour, judgement{verdict: Fresh}},
		"the same, too old":         {evidence{cacheLost: &no, journal: &Record{}, event: none}, day, judgement{verdict: InDoubt, doubt: unknown}},
		"died: journal lost?":       {evidence{cache: entry(StateClaimed, "b"), journal: &Record{}, event: none}, time.Hour, judgement{needs: journalBeginning}},
		"died early":                {evidence{cache: entry(StateClaimed, "b"), journal: &Record{}, event: none, journalLost: &no}, 23 * time.Hour, judgement{verdict: Fresh}},
		"died, journal lost":        {evidence{cache: entry(StateClaimed, "b"), journal: &Record{}, event: none, journalLost: &yes}, time.Hour, judgement{verdict: InDoubt, doubt: unknown}},
		"asks again, journal lost":  {evidence{cache: entry(StateClaimed, "a"), journal: &Record{}, event: none, journalLost: &yes}, time.Hour, judgement{verdict: InDoubt, doubt: unknown}},
		"died, older than a final":  {evidence{cache: entry(StateClaimed, "b"), journal: &Record{}, event: none, journalLost: &no}, day, judgement{verdict: InDoubt, doubt: unknown}},
		"died, age unknown":         {evidence{cache: entry(StateClaimed, "b"), journal: &Record{}, event: none, journalLost: &no}, 0, judgement{verdict: Fresh}},
		"died, refused before":      {evidence{cache: entry(StateReady, "b", func(e *Entry) { e.Refusals = 1 }), journal: &Record{}, event: none, journalLost: &no}, time.Hour, judgement{verdict: Ready}},
		"died, waited before":       {evidence{cache: entry(StateReady, "b", func(e *Entry) { e.Waits = 1 }), journal: &Record{}, event: none, journalLost: &no}, time.Hour, judgement{verdict: Ready}},
		"died, with a revision":     {evidence{cache: entry(StateReady, "b", rev(5), attempt(2)), journal: &Record{}, event: none}, time.Hour, judgement{verdict: InDoubt, doubt: Doubt{Attempt: 2, SendBy: now, Since: now}}},
		"parked in doubt, no event": {evidence{cache: entry(StateInDoubt, "", rev(5), attempt(2), doubt(notes)), journal: &Record{}, event: none}, time.Hour, judgement{verdict: InDoubt, doubt: notes}},
		"died in doubt":             {evidence{cache: entry(StateInDoubt, "b", rev(5), attempt(2), doubt(notes)), journal: &Record{}, event: none}, time.Hour, judgement{verdict: InDoubt, doubt: later}},
		"stepped aside":             {evidence{cache: entry(StateClaimed, "", attempt(2), doubt(notes)), journal: &Record{}, event: none}, time.Hour, judgement{verdict: InDoubt, doubt: later}},

		// The cache has another content under the number.
		"disputed":                   {evidence{cache: entry(StateClaimed, "b", other)}, time.Hour, judgement{needs: journalRecord}},
		"disputed, journal theirs":   {evidence{cache: entry(StateClaimed, "b", other), journal: &Record{State: StateReady, Fingerprint: "f2"}}, time.Hour, judgement{verdict: Conflict, usedWith: "f2"}},
		"disputed, journal ours":     {evidence{cache: entry(StateClaimed, "b", other), journal: record(StateReady)}, time.Hour, judgement{claimAgain: true}},
		"disputed, event?":           {evidence{cache: entry(StateClaimed, "b", other), journal: &Record{}}, time.Hour, judgement{needs: finalEvent}},
		"disputed, event ours":       {evidence{cache: entry(StateClaimed, "b", other), journal: &Record{}, event: event, published: true}, time.Hour, judgement{verdict: Done}},
		"disputed, leased":           {evidence{cache: entry(StateClaimed, "b", other, left(7)), journal: &Record{}, event: none}, time.Hour, judgement{verdict: Busy, left: 7}},
		"disputed, we are earlier":   {evidence{cache: entry(StateClaimed, "b", other), journal: &Record{}, event: none}, time.Hour, judgement{claimAgain: true}},
		"disputed, we are later":     {evidence{cache: entry(StateClaimed, "b", other, func(e *Entry) { e.Seq = 3 }), journal: &Record{}, event: none}, time.Hour, judgement{verdict: Conflict, usedWith: "f2"}},
		"disputed, they have sent":   {evidence{cache: entry(StateReady, "", other, attempt(1)), journal: &Record{}, event: none}, time.Hour, judgement{verdict: Conflict, usedWith: "f2"}},
		"disputed, they have a past": {evidence{cache: entry(StateReady, "", other, rev(1)), journal: &Record{}, event: none}, time.Hour, judgement{verdict: Conflict, usedWith: "f2"}},

		// Another account's.
		"foreign":                      {evidence{cache: entry(StateClaimed, "", of("B"))}, time.Hour, judgement{needs: journalRecord}},
		"foreign, intent":              {evidence{cache: entry(StateClaimed, "", of("B")), journal: &Record{State: StateIntent, Fingerprint: "f1", Account: "B"}, event: none}, time.Hour, judgement{verdict: Foreign}},
		"foreign, our intent":          {evidence{cache: entry(StateClaimed, "", of("B")), journal: record(StateIntent), event: none}, time.Hour, judgement{claimAgain: true}},
		"foreign, ready":               {evidence{cache: entry(StateReady, "", of("B")), journal: record(StateReady), event: none}, time.Hour, judgement{claimAgain: true}},
		"foreign, in doubt":            {evidence{cache: entry(StateInDoubt, "", of("B"), doubt(notes)), journal: &Record{}, event: none}, time.Hour, judgement{verdict: Foreign, doubt: notes}},
		"foreign, nothing sent":        {evidence{cache: entry(StateClaimed, "", of("B")), journal: &Record{}, event: none}, time.Hour, judgement{claimAgain: true}},
		"foreign, event":               {evidence{cache: entry(StateClaimed, "", of("B")), journal: &Record{}, event: event, published: true}, time.Hour, judgement{verdict: Done}},
		"foreign, other content":       {evidence{cache: entry(StateClaimed, "", of("B")), journal: &Record{State: StateReady, Fingerprint: "f2"}}, time.Hour, judgement{verdict: Conflict, usedWith: "f2"}},
		"foreign, leased":              {evidence{cache: entry(StateClaimed, "b", of("B"), left(7))}, time.Hour, judgement{verdict: Busy, left: 7}},
		"foreign intent, not in Redis": {evidence{cache: entry(StateClaimed, "b"), journal: &Record{State: StateIntent, Fingerprint: "f1", Account: "B"}, event: none}, time.Hour, judgement{verdict: Foreign}},
	} {
		t.Run(name, func(t *testing.T) {
			k := c.evidence
			k.order, k.owner, k.now, k.journalTTL = Order{OutTradeNo: "1", Fingerprint: "f1", Account: "A", Seq: 7}, "a", now, day
			if c.age > 0 {
				k.order.Stored = now.Add(-c.age)
			}
			if got := k.judge(); got != c.want {
				t.Errorf("judge = %+v\nwant    %+v", got, c.want)
			}
		})
	}
}

// TestOlderThanJournal: an order request counts as older than the journal's TTL a little
// early, since the clocks of workers and servers differ.
func TestOlderThanJournal(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		cfg  Config
		age  time.Duration
		want bool
	}{
		"JOURNAL_TTL":          {Config{FinalTTL: 720 * time.Hour, JournalTTL: 24 * time.Hour}, 24 * time.Hour, true},
		"within clock skew":    {Config{FinalTTL: 720 * time.Hour, JournalTTL: 24 * time.Hour}, 24*time.Hour - 4*time.Second, true},
		"younger":              {Config{FinalTTL: 720 * time.Hour, JournalTTL: 24 * time.Hour}, 23 * time.Hour, false},
		"finals as in Redis":   {Config{FinalTTL: 48 * time.Hour}, 47 * time.Hour, false},
		"older than those":     {Config{FinalTTL: 48 * time.Hour}, 48 * time.Hour, true},
		"finals stay for ever": {Config{}, 9999 * time.Hour, false},
	} {
		o := Order{Stored: now.Add(-c.age)}
		if got := olderThanJournal(o, New(nil, nil, nil, c.cfg).journalTTL(), now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
