package dedupe

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"
)

// Claim is one delivery's hold on an order, and what it knows of it. It
// belongs to one goroutine; only Store.Renew may run beside the others.
type Claim struct {
	Order
	Owner     string // unique per delivery; made by Store.NewOwner
	Verdict   Verdict
	Progress                // set Last, the vendor's newest refusal, before calling Wait or Doubt
	Left      time.Duration // Busy, Waiting
	Result    []byte        // Final, Done
	ResultSeq uint64        // Final, Done: stream sequence of the request whose result it is
	Operator  bool          // Final: the result is an operator's verdict, not the vendor's word
	ResultBy  string        // Final: the account under which the result was written; empty: not known
	First     uint64        // stream sequence of the request that the order belongs to: the earliest that is known, mostly this one
	Replaced  string        // Redis had something under the order's key that is no record, and why: log it; it is gone
	Doubt     Doubt         // InDoubt; after Intent: of that intent
	UsedWith  string        // Conflict: the fingerprint that the number was used with

	rev    *atomic.Uint64             // the journal revision that the next write must replace; Renew reads it
	until  *atomic.Pointer[time.Time] // the lease is over then, at the latest; Renew moves it. nil: made by hand, not checked
	held   bool                       // it was ours; never changes
	tried  bool                       // an intent of this claim may stand in the journal
	since  time.Time                  // when an intent of this claim was written down first
	sent   bool                       // an intent of this claim was granted
	bought bool                       // the journal knows of Doubt.Bought
	exists bool                       // and of Doubt.Exists
	unsent bool                       // Fresh: the journal and the results have nothing of it, and are not too young or too old to tell
}

// leased notes that the lease was asked for at, for so long.
func (c *Claim) leased(at time.Time, lease time.Duration) {
	if c.until != nil {
		until := at.Add(lease)
		c.until.Store(&until)
	}
}

// overdue says that the lease is over by our own clocks: by the monotonic one, and
// by the other, since that one may stand still while a machine is suspended. Then
// another may have had the order, finished it, and all that the stores knew of that may have expired:
// "nothing there" no longer means that nobody has sent.
func (c *Claim) overdue() bool {
	if c.until == nil {
		return false
	}
	now, until := time.Now(), *c.until.Load()
	return !now.Before(until) || !now.Round(0).Before(until)
}

func (c *Claim) revision() uint64 {
	if c.rev == nil { // made by hand
		c.rev = new(atomic.Uint64)
	}
	return c.rev.Load()
}

// record is what c knows, as the journal spells it. It holds no time of its
// own making: repeated, it is the same.
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

// entry is what c knows, as the cache keeps it.
func (c *Claim) entry(state State) Entry {
	e := Entry{State: state, Progress: c.Progress, Rev: c.revision()}
	if c.Verdict == InDoubt {
		d := c.Doubt
		e.Doubt = &d
	}
	return e
}

// owned is the order as the stores keep it: of its first request, whichever one
// drives it on.
func (c *Claim) owned() Order {
	o := c.Order
	o.Seq = c.First
	return o
}

// first notes that the order is known to be that of request seq; 0: not known. It
// expires then.
func (c *Claim) first(seq uint64, expires *time.Time) {
	switch {
	case seq != 0 && (c.First == 0 || seq < c.First):
		c.First, c.Expires = seq, expires
	case seq == c.First && c.Expires == nil: // one store may not know it
		c.Expires = expires
	}
}

// finish makes c the claim on an order whose result is r's.
func (c *Claim) finish(r Record, rev uint64) {
	c.Verdict, c.Result, c.ResultSeq, c.ResultBy = Final, r.Result, r.Seq, r.Account
	c.Operator = strings.HasPrefix(r.Owner, operatorPrefix)
	c.rev.Store(rev)
}

const (
	claimRounds = 3           // a wrong record in Redis is thrown away this often before we let others work
	claimPause  = time.Second // and then this long
)

// Claim asks for o in the name of owner (from NewOwner), and says what is
// known of it. redelivered: JetStream has handed this message out before, so
// that somebody may have worked on it whom Redis has forgotten.
//
// Asking again with the same owner renews the lease and gives the same
// verdict, so a reply that got lost locks nobody out. An error means that
// nothing is known; the lease may be ours: ask again with the same owner. Claim never
// guesses Fresh.
func (s *Store) Claim(ctx context.Context, o Order, owner string, redelivered bool) (*Claim, error) {
	if o.OutTradeNo == "" || owner == "" {
		return nil, errors.New("claim: no outTradeNo or no owner")
	}
	o.Expires = kept(o.Expires)
	for range claimRounds {
		c := &Claim{Order: o, Owner: owner, First: o.Seq, rev: new(atomic.Uint64), until: new(atomic.Pointer[time.Time])}
		err := s.claim(ctx, c, redelivered)
		if err != nil {
			return nil, wrap("claim", c, err)
		}
		if c.Verdict != "" {
			c.held = c.Verdict.Ours()
			return c, nil
		}
		redelivered = true // a record was thrown away: there is a history
	}
	return &Claim{Order: o, Owner: owner, First: o.Seq, Verdict: Busy, Left: claimPause}, nil
}

// claim asks the cache, and then whatever else judge wants to know. It leaves the
// verdict empty where the cache is to be asked again.
func (s *Store) claim(ctx context.Context, c *Claim, redelivered bool) error {
	c.leased(time.Now(), s.cfg.Lease)
	e, taken, err := s.cache.Claim(ctx, c.Order, c.Owner, s.cfg.Lease)
	if err != nil {
		return err
	}
	k := evidence{order: c.Order, owner: c.Owner, redelivered: redelivered, remembers: s.remembers(), cache: e}
	k.now = time.Now()
	j := k.judge()
	for j.missing != nothing {
		if err := s.read(ctx, &k, j.missing); err != nil {
			return err
		}
		k.now = time.Now() // after the reading: an unknown attempt is not later than this
		j = k.judge()
	}
	c.know(k, taken)
	c.Verdict, c.Left, c.Doubt, c.UsedWith = j.verdict, j.left, j.doubt, j.usedWith
	return s.settleClaim(ctx, c, k, j, taken)
}

// read gets one piece of evidence.
func (s *Store) read(ctx context.Context, k *evidence, what source) error {
	var err error
	switch what {
	case theJournal:
		var r Record
		if r, k.rev, err = s.journal.Read(ctx, k.order.OutTradeNo); err == nil {
			k.journal = &r
		}
	case theResults:
		k.event = new(FinalEvent)
		if s.results != nil {
			*k.event, k.published, err = s.results.Final(ctx, k.order.OutTradeNo)
		}
	case theCachesPast:
		var lost bool
		lost, err = s.cacheLost(ctx, k.cache.Born)
		k.cacheLost = &lost
	case theJournalsPast:
		var lost bool
		lost, err = s.journalLost(ctx, k.order)
		k.journalLost = &lost
	}
	return err
}

// know takes over what the stores know of the order.
func (c *Claim) know(k evidence, taken bool) {
	c.Progress, c.Replaced = k.cache.Progress, k.cache.Replaced
	if k.cache.Fingerprint == c.Fingerprint {
		c.first(k.cache.Seq, k.cache.Expires)
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
	c.first(r.Seq, r.Expires)
	last := c.Last
	if k.cache.Refusals <= r.Refusals {
		last = r.Last
	}
	c.Progress = Progress{Attempt: r.Attempt, Refusals: max(r.Refusals, c.Refusals), Waits: max(r.Waits, c.Waits), Last: last}
}

// settleClaim does what j asks for beside its verdict.
func (s *Store) settleClaim(ctx context.Context, c *Claim, k evidence, j judgement, taken bool) error {
	switch {
	case j.askAgain && k.cache.Fingerprint != c.Fingerprint: // the cache has the number under the other's content
		left, err := s.cache.Forget(ctx, c.Order, c.Owner)
		if left > 0 { // the other will meet the journal soon
			c.Verdict, c.Left = Busy, min(left, claimPause)
		}
		return err
	case j.askAgain:
		return s.cache.Adopt(ctx, c.Order, k.cache.Account)
	case j.verdict == Done && k.published:
		c.first(k.event.Seq, nil)
		c.Result, c.ResultSeq = k.event.Result, cmp.Or(k.event.Seq, c.First)
		return s.Remember(ctx, c, c.Result)
	case j.verdict == Done:
		c.Result, c.ResultSeq = k.cache.Result, k.cache.Seq
	case j.verdict == Final:
		c.finish(*k.journal, k.rev)
	case j.verdict == Fresh:
		c.unsent = k.journal != nil
	case j.verdict == InDoubt && k.journal.State != "":
		c.bought, c.exists = k.journal.Bought, k.journal.Exists
	case j.verdict == Conflict && taken: // or the true order would meet our fingerprint
		_, err := s.cache.Forget(ctx, c.Order, c.Owner)
		return err
	case j.verdict == Waiting && taken:
		return s.cache.Park(ctx, c.owned(), c.Owner, c.entry(StateReady), j.left)
	case j.verdict == Foreign && taken:
		return s.giveBackForeign(ctx, c, k)
	}
	return nil
}

// giveBackForeign gives back what the cache did not know to be another account's,
// under that account: from then on our own claims do not take it.
func (s *Store) giveBackForeign(ctx context.Context, c *Claim, k evidence) error {
	o := c.owned()
	o.Account = k.journal.Account
	e := c.entry(StateClaimed)
	e.Doubt = k.cache.Doubt
	return s.cache.Park(ctx, o, c.Owner, e, 0)
}
