package dedupe

import "time"

// evidence is what is known of one order at one moment. A pointer is nil where
// that was not read yet.
type evidence struct {
	order       Order  // as the request has it that asks
	owner       string // who asks
	redelivered bool   // JetStream has handed the request out before
	now         time.Time
	remembers   time.Duration // how long the journal remembers a finished order; 0: for ever

	cache       Entry       // as it was before the claim
	cacheLost   *bool       // the cache may have known more once
	journal     *Record     // without a State: there is none
	rev         uint64      // of journal
	journalLost *bool       // the journal is younger than the request
	event       *FinalEvent // of the results
	published   bool        // there is an event
}

// source is a piece of evidence that has to be read.
type source int

const (
	nothing source = iota
	theJournal
	theResults
	theCachesPast
	theJournalsPast
)

// judgement is what the evidence says: what is missing, or that the cache has to
// be asked again, or a verdict.
type judgement struct {
	missing  source
	askAgain bool // once the cache has forgotten a wrong entry, or has given us another account's
	verdict  Verdict
	left     time.Duration // Busy, Waiting
	doubt    Doubt         // InDoubt
	usedWith string        // Conflict
}

// judge says what state the order is in for the one who asks. It is pure: each
// rule about what the stores say together is in this file. What is missing is
// asked for only where it can make a difference, so that a new order costs one
// script of the cache.
func (k *evidence) judge() judgement {
	e := &k.cache
	switch {
	case e.State != "" && e.Fingerprint != k.order.Fingerprint:
		return k.disputed()
	case e.State == StateFinal:
		return judgement{verdict: Done}
	case e.Owner == "" && e.Left > 0:
		return judgement{verdict: Waiting, left: e.Left}
	case e.Owner != k.owner && e.Left > 0:
		return judgement{verdict: Busy, left: e.Left}
	case e.Owner != k.owner && otherAccount(e.Account, k.order.Account):
		return k.foreign()
	}
	parked := e.State == StateReady && e.Owner == ""
	if e.State != "" && !parked {
		return k.byRecord()
	}
	if (e.State == "" || e.Rev == 0) && k.cacheLost == nil {
		return judgement{missing: theCachesPast}
	}
	lost := k.cacheLost != nil && *k.cacheLost
	switch {
	case parked && !lost:
		return judgement{verdict: Ready} // if that is wrong, Intent finds out
	case !lost && e.Replaced == "" && !k.redelivered && !k.outlived():
		return judgement{verdict: Fresh} // the same
	}
	return k.byRecord() // somebody may have worked on it
}

// byRecord judges by the journal, and by the cache where that knows more. Leases
// and due times of the cache are not looked at.
func (k *evidence) byRecord() judgement {
	switch r := k.journal; {
	case r == nil:
		return judgement{missing: theJournal}
	case r.State == "":
		return k.unjournalled()
	case r.Fingerprint != k.order.Fingerprint:
		return judgement{verdict: Conflict, usedWith: r.Fingerprint}
	case r.State == StateFinal:
		return judgement{verdict: Final}
	case r.State == StateIntent && otherAccount(r.Account, k.order.Account):
		return judgement{verdict: Foreign}
	case r.State == StateIntent:
		return judgement{verdict: InDoubt, doubt: doubtOf(*r, k.cache.Doubt)}
	case r.Due.After(k.now):
		return judgement{verdict: Waiting, left: r.Due.Sub(k.now)}
	default:
		return judgement{verdict: Ready}
	}
}

// unjournalled judges an order of which the journal has nothing, though somebody
// may have worked on it.
//
// The final event may be all that is left of it: the journal forgets a final
// after its TTL, and the cache may never have learned of it. Without an event the
// cache may know better. A revision that is gone from the journal was a final
// that lived out its TTL before it was published, or the journal was lost; a
// request that is older than that TTL may have had such a final without the cache
// ever learning of it; and a claim that was not given back may have been sending
// when the journal was lost. In all of these the order may have been bought. An
// entry that was parked in doubt and not touched since is exact; else there may
// have been a later attempt, of which all we know is that it is not later than now.
func (k *evidence) unjournalled() judgement {
	e := &k.cache
	switch f := k.event; {
	case f == nil:
		return judgement{missing: theResults}
	case k.published && f.Fingerprint != "" && f.Fingerprint != k.order.Fingerprint:
		return judgement{verdict: Conflict, usedWith: f.Fingerprint}
	case k.published:
		return judgement{verdict: Done}
	}
	switch {
	case e.Doubt != nil && e.State == StateInDoubt && e.Owner == "":
		return judgement{verdict: InDoubt, doubt: *e.Doubt}
	case e.Doubt != nil, e.Rev != 0, k.outlived():
		return judgement{verdict: InDoubt, doubt: unknownAttempt(*e, k.now)}
	case e.Owner != "" && k.journalLost == nil:
		return judgement{missing: theJournalsPast}
	case e.Owner != "" && *k.journalLost:
		return judgement{verdict: InDoubt, doubt: unknownAttempt(*e, k.now)}
	case e.Refusals > 0 || e.Waits > 0:
		return judgement{verdict: Ready}
	}
	return judgement{verdict: Fresh}
}

// disputed judges whether the number belongs to the request that asks or to
// another one, whose fingerprint the cache has. The journal decides. Where it has
// no record, the number is the other's, unless the cache has no more of that than
// a claim: the other may be a request that was rejected, and claimed again after
// the cache had lost the entry of ours. So the request that was stored earlier
// gets the number once the lease of such a claim is over; else both could be
// rejected. While that lease runs the order is Busy: a journal without a record
// may be the answer of a leader that was voted out a moment ago, and the other's
// intent, a compare-and-set, will show whose number it is.
func (k *evidence) disputed() judgement {
	e, r := &k.cache, k.journal
	switch {
	case r == nil:
		return judgement{missing: theJournal}
	case r.State != "" && r.Fingerprint != k.order.Fingerprint:
		return judgement{verdict: Conflict, usedWith: r.Fingerprint}
	case r.State != "":
		return judgement{askAgain: true}
	case k.event == nil, k.published:
		return k.unjournalled()
	}
	onlyClaimed := (e.State == StateClaimed || e.State == StateReady) && e.Rev == 0 && e.Attempt == 0
	switch {
	case onlyClaimed && e.Owner != "" && e.Left > 0:
		return judgement{verdict: Busy, left: min(e.Left, claimPause)}
	case !onlyClaimed || k.order.Seq >= e.Seq:
		return judgement{verdict: Conflict, usedWith: e.Fingerprint}
	}
	return judgement{askAgain: true}
}

// foreign judges an order that the cache has under another account; the lease is
// not ours. While an attempt of that account may have bought, nobody else may send
// the order or look it up: our account's lookup would not show the purchase, and
// its "not found" would be taken for a proof. Else our account takes the entry over.
func (k *evidence) foreign() judgement {
	j := k.byRecord()
	switch {
	case j.missing != nothing, j.verdict == Conflict, j.verdict == Done, j.verdict == Foreign:
		return j
	case j.verdict == InDoubt && k.journal.State == "":
		return judgement{verdict: Foreign}
	}
	return judgement{askAgain: true}
}

// otherAccount reports whether theirs is another account than ours. Not known on
// either side, it is the same: there was one account before records had it.
func otherAccount(theirs, ours string) bool {
	return theirs != "" && ours != "" && theirs != ours
}

// outlived says whether the request is so old that it may have had a final whose
// TTL in the journal is over, without the cache ever learning of it.
func (k *evidence) outlived() bool { return outlived(k.order, k.remembers, k.now) }

func outlived(o Order, remembers time.Duration, now time.Time) bool {
	return remembers > 0 && !o.Stored.IsZero() && now.Sub(o.Stored) > remembers-min(clockSkew, remembers/10)
}

// doubtOf is the doubt about intent r, with what the cache has noted. Notes on an
// older attempt say nothing about this one, but while the older is still open
// the notice was published, and what was bought or exists stays so.
func doubtOf(r Record, notes *Doubt) Doubt {
	d := Doubt{Attempt: r.Attempt, SendBy: r.SendBy, Over: r.Over, Since: r.Since, Bought: r.Bought, Exists: r.Exists}
	if notes == nil {
		return d
	}
	if notes.Attempt == r.Attempt {
		d.Asked, d.Missing = notes.Asked, notes.Missing
	}
	if notes.Attempt == r.Attempt || r.Open {
		d.Bought = d.Bought || notes.Bought
		d.Exists = d.Exists || notes.Exists
		d.Noticed = notes.Noticed
	}
	return d
}

// unknownAttempt is the doubt about an attempt later than the cache's entry e, of
// which all we know is that it is not later than now.
func unknownAttempt(e Entry, now time.Time) Doubt {
	d := Doubt{Attempt: e.Attempt, SendBy: ceilMillis(now), Since: floorMillis(now)}
	if n := e.Doubt; n != nil {
		d.Bought, d.Exists, d.Noticed = n.Bought, n.Exists, n.Noticed
		if !n.Since.IsZero() {
			d.Since = n.Since
		}
	}
	return d
}
