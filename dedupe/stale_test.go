package dedupe_test

import (
	"context"
	"testing"
	"time"

	"orderworker/dedupe"
)

// staleJournal returns no record while it is stale, like a leader that was voted out. Its
// writes go to the new leader.
type staleJournal struct {
	dedupe.Journal
	stale *bool
}

func (j staleJournal) Read(ctx context.Context, outTradeNo string) (dedupe.Record, uint64, error) {
	if *j.stale {
		return dedupe.Record{}, 0, nil
	}
	return j.Journal.Read(ctx, outTradeNo)
}

// The cache has lost an order that was sent, and has a claim of another request with its
// number. A stale journal read must not make the order a conflict.
func TestStoreConflictByAStaleLeader(t *testing.T) {
	eachStore(t, func(b testEnv) {
		stale := false
		b = newEnv(b.t, b.cache, staleJournal{b.journal, &stale}, nil, b.cfg, b.wipe)
		sent, wrong := testOrder, otherF
		wrong.Seq = sent.Seq - 1
		b.park(b.sentBy(sent))
		b.wipe()
		stale = true
		c := b.must(wrong, false, dedupe.Fresh)
		if busy := b.must(sent, true, dedupe.Busy); busy.Left <= 0 || busy.Left > dedupe.ClaimPause {
			t.Errorf("left %v", busy.Left)
		}
		stale = false
		b.lost(b.Intent(b.ctx(), c, time.Now(), time.Now()))
		b.must(sent, true, dedupe.InDoubt)
		b.must(wrong, true, dedupe.Conflict)

		// What Redis knows to be more than a claim is one at once, and so is a claim
		// that nobody holds.
		b.wipe()
		for _, e := range []dedupe.Entry{{State: dedupe.StateInDoubt}, {State: dedupe.StateClaimed, Rev: 5}, {State: dedupe.StateReady}} {
			other := wrong
			other.OutTradeNo += "-" + string(e.State)
			b.ok(b.cache.Park(b.ctx(), other, "gone", e, 0))
			late := other
			late.Fingerprint, late.Seq = "f3", other.Seq+1
			b.must(late, true, dedupe.Conflict)
		}
	})
}
