package dedupe

import (
	"context"
	"testing"
	"time"
)

// staleJournal answers reads like a leader that was voted out before anything was
// written, until it is told to stop. Its writes go through the new one.
type staleJournal struct {
	Journal
	stale *bool
}

func (j staleJournal) Read(ctx context.Context, outTradeNo string) (Record, uint64, error) {
	if *j.stale {
		return Record{}, 0, nil
	}
	return j.Journal.Read(ctx, outTradeNo)
}

// An order that was sent is not rejected for one that merely has the number in
// Redis, which has lost the first, where the journal's answer is an old one.
func TestStoreConflictByAStaleLeader(t *testing.T) {
	eachStore(t, func(b bench) {
		stale := false
		b.journal = staleJournal{b.journal, &stale}
		sent, wrong := testOrder, otherF
		wrong.Seq = sent.Seq - 1
		b.ok(b.Doubt(b.ctx(), b.sentBy(sent), Doubt{}, soon))
		b.wipe()
		stale = true
		c := b.must(wrong, false, Fresh)
		if busy := b.must(sent, true, Busy); busy.Left <= 0 || busy.Left > claimPause {
			t.Errorf("left %v", busy.Left)
		}
		stale = false
		b.lost(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.must(sent, true, InDoubt)
		b.must(wrong, true, Conflict)

		// What Redis knows to be more than a claim is one at once, and so is a claim
		// that nobody holds.
		b.wipe()
		for _, e := range []Entry{{State: StateInDoubt}, {State: StateClaimed, Rev: 5}, {State: StateReady}} {
			other := wrong
			other.OutTradeNo += "-" + string(e.State)
			b.ok(b.cache.Park(b.ctx(), other, "gone", e, 0))
			late := other
			late.Fingerprint, late.Seq = "f3", other.Seq+1
			b.must(late, true, Conflict)
		}
	})
}
