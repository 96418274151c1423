package dedupe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Claim is what one delivery knows of an order, and its right to work on it. It
// belongs to one goroutine; only Store.Renew may be called from another one.
type Claim struct {
	Order
	Owner     string // name of this claim, made by Store.NewOwner
	Verdict   Verdict
	Progress                // set Last, the newest answer that did not sell, before Wait and Doubt
	Left      time.Duration // Busy, Waiting: how much longer
	Result    []byte        // Final, Done: the result, as JSON
	ResultSeq uint64        // Final, Done: stream sequence of the order request that the result ends
	Operator  bool          // Final: an operator settled the order, the vendor did not confirm it
	ResultBy  string        // Final, Done: the account that the order was sent under; "": not known
	First     uint64        // stream sequence of the earliest known order request of the order
	Replaced  string        // why the cache's entry could not be read and was deleted; "": it could be read
	Doubt     Doubt         // InDoubt: the open attempt
	UsedWith  string        // Conflict: the fingerprint that the number was used with

	rev            *atomic.Uint64             // journal revision that the next write replaces; Renew reads it
	leaseEnd       *atomic.Pointer[time.Time] // end of the lease by the local clock; Renew moves it; nil: not checked
	ownedAtClaim   bool                       // Verdict.Owned when the claim was made
	intentAt       time.Time                  // when Intent was called first; zero: it was not
	known          Record                     // the journal's record of revision rev; zero: c has not read or written it
	parkedAt       time.Time                  // when Doubt was called first
	confirmedFresh bool                       // Fresh: the journal and the results were read, and have nothing of the order
}

// setLease notes a lease that was requested at that time.
func (c *Claim) setLease(at time.Time, lease time.Duration) {
	if c.leaseEnd != nil {
		end := at.Add(lease)
		c.leaseEnd.Store(&end)
	}
}

// leaseExpired reports whether the lease is over by the local clock. The monotonic
// clock may stand still while a machine is suspended, so the wall clock counts too.
// After the lease another worker may have finished the order, and everything that
// the stores knew of that may have expired: an empty journal proves nothing then.
func (c *Claim) leaseExpired() bool {
	if c.leaseEnd == nil {
		return false
	}
	now, end := time.Now(), *c.leaseEnd.Load()
	return !now.Before(end) || !now.Round(0).Before(end)
}

func (c *Claim) revision() uint64 {
	if c.rev == nil { // a claim that a test made
		c.rev = new(atomic.Uint64)
	}
	return c.rev.Load()
}

// record returns what c knows as a journal record. It reads no clock: a repeated
// write has the same bytes.
func (c *Claim) record(state State) Record {
	return Record{
		State:       state,
		Fingerprint: c.Fingerprint,
		Account:     c.Account,
		Owner:       c.Owner,
		Seq:         c.First,
		Expires:     c.Expires,
		Progress:    c.Progress,
	}
}

// entry returns what c knows as a cache entry.
func (c *Claim) entry(state State) Entry {
	e := Entry{State: state, Progress: c.Progress, Rev: c.revision()}
	if c.Verdict == InDoubt {
		d := c.Doubt
		e.Doubt = &d
	}
	return e
}

// storedOrder returns the order with the sequence of its first request, as the
// stores have it.
func (c *Claim) storedOrder() Order {
	o := c.Order
	o.Seq = c.First
	return o
}

// setFirst notes that the order has an order request seq (0: not known) that
// expires then. The earliest one counts.
func (c *Claim) setFirst(seq uint64, expires *time.Time) {
	switch {
	case seq != 0 && (c.First == 0 || seq < c.First):
		c.First, c.Expires = seq, expires
	case seq == c.First && c.Expires == nil: // one store may not know it
		c.Expires = expires
	}
}

// setFinal makes c a claim on an order that has the result of record r.
func (c *Claim) setFinal(r Record, rev uint64) {
	c.Verdict, c.Result, c.ResultSeq, c.ResultBy = Final, r.Result, r.Seq, r.Account
	c.Operator = r.ByOperator()
	c.rev.Store(rev)
}

const (
	claimRounds = 3           // how often Claim replaces a wrong cache entry before it returns Busy
	claimPause  = time.Second // Claim.Left of that Busy
)

// Claim claims o for owner, which NewOwner made, and returns what is known of the
// order. redelivered says that JetStream has delivered the order request before, so
// a worker that the cache has forgotten may have worked on it.
//
// Claim may be repeated with the same owner: that renews the lease and returns the
// same verdict, so a lost reply does not lock the order. After an error nothing is
// known, and owner may have the lease: call Claim again with the same owner. Claim
// never guesses Fresh.
func (s *Store) Claim(ctx context.Context, o Order, owner string, redelivered bool) (*Claim, error) {
	if o.OutTradeNo == "" || owner == "" {
		return nil, errors.New("claim: no outTradeNo or no owner")
	}
	o.Expires = storableTime(o.Expires)
	for range claimRounds {
		c := &Claim{Order: o, Owner: owner, First: o.Seq, rev: new(atomic.Uint64), leaseEnd: new(atomic.Pointer[time.Time])}
		err := s.claim(ctx, c, redelivered)
		if err != nil {
			return nil, wrap("claim", c, err)
		}
		if c.Verdict != "" {
			c.ownedAtClaim = c.Verdict.Owned()
			return c, nil
		}
		redelivered = true // an entry was replaced, so the order has a history
	}
	return &Claim{Order: o, Owner: owner, First: o.Seq, Verdict: Busy, Left: claimPause}, nil
}

// claim makes one round of Claim: it claims o in the cache and reads the sources
// that judge needs. It leaves c.Verdict empty if the cache must be claimed again.
func (s *Store) claim(ctx context.Context, c *Claim, redelivered bool) error {
	c.setLease(time.Now(), s.cfg.Lease)
	e, taken, err := s.cache.Claim(ctx, c.Order, c.Owner, s.cfg.Lease)
	if err != nil {
		return err
	}
	k := evidence{order: c.Order, owner: c.Owner, redelivered: redelivered, journalTTL: s.journalTTL(), cache: e}
	k.now = time.Now()
	j := k.judge()
	for j.needs != noSource {
		if err := s.read(ctx, &k, j.needs); err != nil {
			return err
		}
		k.now = time.Now() // after the read: an unknown attempt is not later than this
		j = k.judge()
	}
	if j.verdict.Owned() && !taken {
		return fmt.Errorf("judged %s, but the cache did not give the lease", j.verdict)
	}
	c.learn(k, taken)
	c.Verdict, c.Left, c.Doubt, c.UsedWith = j.verdict, j.left, j.doubt, j.usedWith
	return s.apply(ctx, c, k, j, taken)
}

// read reads one source into k.
func (s *Store) read(ctx context.Context, k *evidence, from source) error {
	var err error
	switch from {
	case journalRecord:
		var r Record
		if r, k.rev, err = s.journal.Read(ctx, k.order.OutTradeNo); err == nil {
			k.journal = &r
		}
	case finalEvent:
		k.event = new(FinalEvent)
		if s.results != nil {
			*k.event, k.published, err = s.results.Final(ctx, k.order.OutTradeNo)
		}
	case cacheHistory:
		var lost bool
		lost, err = s.cacheLost(ctx, k.cache.Born)
		k.cacheLost = &lost
	case journalBeginning:
		var lost bool
		lost, err = s.journalLost(ctx, k.order)
		k.journalLost = &lost
	}
	return err
}

// learn copies what the stores know of the order into c. The journal's record counts
// only if the claim took the order, since another owner may be changing it.
func (c *Claim) learn(k evidence, taken bool) {
	c.Progress, c.Replaced = k.cache.Progress, k.cache.Replaced
	if k.cache.Fingerprint == c.Fingerprint {
		c.setFirst(k.cache.Seq, k.cache.Expires)
	}
	c.rev.Store(k.cache.Rev)
	r := k.journal
	if r == nil || !taken {
		return
	}
	c.rev.Store(k.rev)
	if r.State == "" || r.Fingerprint != c.Fingerprint {
		return
	}
	c.known = *r
	c.setFirst(r.Seq, r.Expires)
	last := c.Last
	if k.cache.Refusals <= r.Refusals {
		last = r.Last
	}
	c.Progress = Progress{Attempt: r.Attempt, Refusals: max(r.Refusals, c.Refusals), Waits: max(r.Waits, c.Waits), Last: last,
		Endings: newerEndings(c.Endings, r.Endings)}
}

// apply completes c by judgement j, and makes the writes to the cache that belong
// to it.
func (s *Store) apply(ctx context.Context, c *Claim, k evidence, j judgement, taken bool) error {
	switch {
	case j.claimAgain && k.cache.Fingerprint != c.Fingerprint:
		left, err := s.cache.Forget(ctx, c.Order, c.Owner)
		if left > 0 { // another owner took it meanwhile: its next journal write decides
			c.Verdict, c.Left = Busy, min(left, claimPause)
		}
		return err
	case j.claimAgain:
		return s.cache.Adopt(ctx, c.Order, k.cache.Account)
	case j.verdict == Done && k.published:
		c.setFirst(k.event.Seq, nil)
		c.Result, c.ResultSeq, c.ResultBy = k.event.Result, cmp.Or(k.event.Seq, c.First), k.event.Account
		return s.Remember(ctx, c, c.Result)
	case j.verdict == Done:
		c.Result, c.ResultSeq, c.ResultBy = k.cache.Result, k.cache.Seq, k.cache.Account
	case j.verdict == Final:
		c.setFinal(*k.journal, k.rev)
	case j.verdict == Fresh:
		c.confirmedFresh = k.journal != nil
	case j.verdict == Conflict && taken: // otherwise the true order would find our fingerprint
		_, err := s.cache.Forget(ctx, c.Order, c.Owner)
		return err
	case j.verdict == Waiting && taken:
		return s.cache.Park(ctx, c.storedOrder(), c.Owner, c.entry(StateReady), j.left)
	case j.verdict == Foreign:
		return s.returnToAccount(ctx, c, k, taken)
	}
	return nil
}

// returnToAccount makes the open intent of another account last as long as the doubt, since
// there may be no worker of that account left to do it. If the claim took the order, because
// the cache did not know the account, the order is parked under that account, so that later
// claims of ours do not take it.
func (s *Store) returnToAccount(ctx context.Context, c *Claim, k evidence, taken bool) error {
	open := *k.journal
	if open.State == "" {
		open = c.openIntent(c.Doubt)
		open.Account = k.cache.Account
	}
	if s.expires(open) {
		open.Parked = floorMillis(k.now)
		if _, err := s.journal.Write(ctx, c.OutTradeNo, open, k.rev); err != nil && !errors.Is(err, ErrLost) {
			return err
		}
	}
	if !taken {
		return nil
	}
	o := c.storedOrder()
	o.Account = k.journal.Account
	e := c.entry(StateClaimed)
	e.Doubt = k.cache.Doubt
	return s.cache.Park(ctx, o, c.Owner, e, 0)
}
