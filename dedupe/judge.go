package dedupe

import "time"

// evidence is what is known of one order at one moment. A nil pointer means that
// the source was not read yet.
type evidence struct {
	order       Order  // the order request being claimed
	owner       string // the claim's owner
	redelivered bool   // JetStream has delivered the order request before
	now         time.Time
	journalTTL  time.Duration // how long the journal keeps a final; 0: for ever

	cache       Entry // before this claim
	cacheLost   *bool // whether the cache may have lost something about the order
	journal     *Record
	rev         uint64 // revision of journal
	journalLost *bool  // whether the journal is younger than the order request
	event       *FinalEvent
	published   bool // event was found; false: there is none
}

// source is a piece of evidence that is read only when judge needs it.
type source int

const (
	noSource         source = iota
	journalRecord           // evidence.journal
	finalEvent              // evidence.event
	cacheHistory            // evidence.cacheLost
	journalBeginning        // evidence.journalLost
)

// judgement is what judge returns: a source to read first, an order to claim again, or a
// verdict.
type judgement struct {
	needs      source
	claimAgain bool // after the cache has forgotten a wrong entry, or given the entry to our account
	verdict    Verdict
	left       time.Duration // Busy, Waiting
	doubt      Doubt         // InDoubt; Foreign, if only the cache knows of the attempt
	usedWith   string        // Conflict
}

// judge decides what state the order is in. It is pure: every rule that combines
// the stores is in this file. It asks for a source only if that can change the
// verdict, so that a new order costs one script of the cache.
func (k *evidence) judge() judgement {
	e := &k.cache
	switch {
	case e.State != "" && e.Fingerprint != k.order.Fingerprint:
		return k.judgeOtherContent()
	case e.State == StateFinal:
		return judgement{verdict: Done}
	case e.Owner == "" && e.Left > 0:
		return judgement{verdict: Waiting, left: e.Left}
	case e.Owner != k.owner && e.Left > 0:
		return judgement{verdict: Busy, left: e.Left}
	case e.Owner != k.owner && OtherAccount(e.Account, k.order.Account):
		return k.judgeOtherAccount()
	}
	parked := e.State == StateReady && e.Owner == ""
	if e.State != "" && !parked {
		return k.judgeByJournal()
	}
	if (e.State == "" || e.Rev == 0) && k.cacheLost == nil {
		return judgement{needs: cacheHistory}
	}
	lost := k.cacheLost != nil && *k.cacheLost
	switch {
	case parked && !lost:
		return judgement{verdict: Ready} // if this is wrong, the compare-and-set of Intent fails
	case !lost && k.journal == nil && e.Replaced == "" && !k.redelivered && !k.olderThanJournal():
		return judgement{verdict: Fresh} // likewise
	}
	return k.judgeByJournal()
}

// judgeByJournal decides by the journal; where that has no final, by the final event; and
// where there is neither record nor event, by the cache. It ignores the lease and the due
// time of the cache.
//
// A success that was bought at once has no final in the journal: it leaves its intent and its
// event. So the event is read before the vendor is asked about an open intent, and before
// the order is sent again.
func (k *evidence) judgeByJournal() judgement {
	switch r := k.journal; {
	case r == nil:
		return judgement{needs: journalRecord}
	case r.State != "" && r.Fingerprint != k.order.Fingerprint:
		return judgement{verdict: Conflict, usedWith: r.Fingerprint}
	case r.State == StateFinal:
		return judgement{verdict: Final}
	case k.event == nil || k.published:
		return k.judgeByEvent()
	case r.State == "":
		return k.judgeWithoutRecord()
	case r.State == StateIntent && OtherAccount(r.Account, k.order.Account):
		return judgement{verdict: Foreign}
	case r.State == StateIntent:
		return judgement{verdict: InDoubt, doubt: doubtOf(*r, k.cache.Doubt)}
	case r.Due.After(k.now):
		return judgement{verdict: Waiting, left: r.Due.Sub(k.now)}
	default:
		return judgement{verdict: Ready}
	}
}

// judgeByEvent decides by the final event, which says that the order is finished. It asks
// for the event if that was not read yet.
func (k *evidence) judgeByEvent() judgement {
	switch f := k.event; {
	case f == nil:
		return judgement{needs: finalEvent}
	case f.Fingerprint != "" && f.Fingerprint != k.order.Fingerprint:
		return judgement{verdict: Conflict, usedWith: f.Fingerprint}
	}
	return judgement{verdict: Done}
}

// judgeWithoutRecord decides about an order that has no journal record and no final
// event, although a worker may have worked on it.
//
// The journal forgets finals and intents. The order may have been bought in each of these
// cases:
//   - The cache has doubt. An entry that was parked in doubt and not claimed since
//     is exact; otherwise there may have been a later attempt.
//   - The cache has a journal revision, which is gone: its record has expired, or the
//     journal was lost.
//   - The order request is older than the journal's TTL: its record may have expired.
//   - A claim was not given back, and the journal was lost: it may have been sending.
func (k *evidence) judgeWithoutRecord() judgement {
	e := &k.cache
	switch {
	case e.Doubt != nil && e.State == StateInDoubt && e.Owner == "":
		return judgement{verdict: InDoubt, doubt: *e.Doubt}
	case e.Doubt != nil, e.Rev != 0, k.olderThanJournal():
		return judgement{verdict: InDoubt, doubt: unknownDoubt(*e, k.now)}
	case e.Owner != "" && k.journalLost == nil:
		return judgement{needs: journalBeginning}
	case e.Owner != "" && *k.journalLost:
		return judgement{verdict: InDoubt, doubt: unknownDoubt(*e, k.now)}
	case e.Refusals > 0 || e.Waits > 0:
		return judgement{verdict: Ready}
	}
	return judgement{verdict: Fresh}
}

// judgeOtherContent decides whether the number belongs to this order request or to
// another one, whose fingerprint the cache has.
//
// The journal decides. Where it has no record, the number belongs to the other
// request, unless the cache knows no more of that than a claim: the other request
// may be one that was rejected, and was claimed again after the cache had lost our
// entry. Then the request that was stored first gets the number, or both could be
// rejected. It has to wait for the end of the other's lease (Busy): a missing record
// may come from a leader that was just voted out, and the intent of the other
// request will show who has the number.
func (k *evidence) judgeOtherContent() judgement {
	e, r := &k.cache, k.journal
	switch {
	case r == nil:
		return judgement{needs: journalRecord}
	case r.State != "" && r.Fingerprint != k.order.Fingerprint:
		return judgement{verdict: Conflict, usedWith: r.Fingerprint}
	case r.State != "":
		return judgement{claimAgain: true}
	case k.event == nil, k.published:
		return k.judgeByEvent()
	}
	onlyClaimed := (e.State == StateClaimed || e.State == StateReady) && e.Rev == 0 && e.Attempt == 0
	switch {
	case onlyClaimed && e.Owner != "" && e.Left > 0:
		return judgement{verdict: Busy, left: min(e.Left, claimPause)}
	case !onlyClaimed || k.order.Seq >= e.Seq:
		return judgement{verdict: Conflict, usedWith: e.Fingerprint}
	}
	return judgement{claimAgain: true}
}

// judgeOtherAccount decides about an entry of another account that nobody owns.
// While an attempt of that account may have bought, this account may neither send
// the order nor look it up: its lookup would not show the purchase, and the "not
// found" would count as a proof. Otherwise this account takes the entry over.
func (k *evidence) judgeOtherAccount() judgement {
	j := k.judgeByJournal()
	switch {
	case j.needs != noSource, j.verdict == Conflict, j.verdict == Done, j.verdict == Foreign:
		return j
	case j.verdict == InDoubt && k.journal.State == "":
		return judgement{verdict: Foreign, doubt: j.doubt}
	}
	return judgement{claimAgain: true}
}

// OtherAccount reports whether a and b are two different accounts. An empty account
// is not known and matches every other: old records have none.
func OtherAccount(a, b string) bool {
	return a != "" && b != "" && a != b
}

// olderThanJournal reports whether the order request is so old that the journal may
// have had its final and dropped it.
func (k *evidence) olderThanJournal() bool {
	return olderThanJournal(k.order, k.journalTTL, k.now)
}

func olderThanJournal(o Order, journalTTL time.Duration, now time.Time) bool {
	return journalTTL > 0 && !o.Stored.IsZero() && now.Sub(o.Stored) > journalTTL-min(clockSkew, journalTTL/10)
}

// doubtOf returns the doubt about intent r, with the notes of the cache. Notes on an
// older attempt do not count for r. But while that attempt is open too, Bought and
// Exists remain true, and the in_doubt event was published.
func doubtOf(r Record, notes *Doubt) Doubt {
	d := Doubt{Attempt: r.Attempt, SendBy: r.SendBy, Over: r.Over, Since: r.Since, Bought: r.Bought, Exists: r.Exists}
	if notes == nil {
		return d
	}
	if notes.Attempt == r.Attempt {
		d.Asked, d.Missing, d.AskedAt, d.Answer = notes.Asked, notes.Missing, notes.AskedAt, notes.Answer
	}
	if notes.Attempt == r.Attempt || r.EarlierOpen {
		d.Bought = d.Bought || notes.Bought
		d.Exists = d.Exists || notes.Exists
		d.Noticed = notes.Noticed
	}
	return d
}

// unknownDoubt returns the doubt about an attempt that may have followed entry e.
// It is not known when that attempt was made, except that it was before now.
func unknownDoubt(e Entry, now time.Time) Doubt {
	d := Doubt{Attempt: e.Attempt, SendBy: ceilMillis(now), Since: floorMillis(now)}
	if n := e.Doubt; n != nil {
		d.Bought, d.Exists, d.Noticed = n.Bought, n.Exists, n.Noticed
		if !n.Since.IsZero() {
			d.Since = n.Since
		}
	}
	return d
}
