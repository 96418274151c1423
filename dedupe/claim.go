package dedupe

import (
	"context"
	"errors"
	"fmt"
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
	Left      time.Duration // Busy, Waiting
	Refusals  int           // refusals so far
	Waits     int           // waits so far, refused or not: the exponent of the next backoff
	Result    []byte        // Final, Done
	ResultSeq uint64        // Final, Done: stream sequence of the request whose result it is
	Operator  bool          // Final: the result is an operator's verdict, not the vendor's word
	ResultBy  string        // Final: the account under which the result was written; empty: not known
	First     uint64        // stream sequence of the request that the order belongs to: the earliest that is known, mostly this one
	Replaced  string        // Redis had something under the order's key that is no record, and why: log it; it is gone
	Doubt     Doubt         // InDoubt; after Intent: of that intent
	UsedWith  string        // Conflict: the fingerprint that the number was used with
	Last      Answer        // the vendor's last refusal; set it before calling Wait or Doubt

	rev     *atomic.Uint64             // the journal revision that the next write must replace; Renew reads it
	until   *atomic.Pointer[time.Time] // the lease is over then, at the latest; Renew moves it. nil: made by hand, not checked
	held    bool                       // it was ours; never changes
	attempt int                        // number of the newest intent
	tried   bool                       // an intent of this claim may stand in the journal
	since   time.Time                  // when an intent of this claim was written down first
	sent    bool                       // an intent of this claim was granted
	bought  bool                       // the journal knows of Doubt.Bought
	exists  bool                       // and of Doubt.Exists
	unsent  bool                       // Fresh: the journal and the results have nothing of it, and are not too young or too old to tell
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
		Attempt:     c.attempt,
		Refusals:    c.Refusals,
		Waits:       c.Waits,
		Last:        c.Last,
	}
}

// entry is what c knows, as Redis keeps it.
func (c *Claim) entry(phase Phase) Entry {
	e := Entry{Phase: phase, Attempt: c.attempt, Refusals: c.Refusals, Waits: c.Waits, Rev: c.revision(), Last: c.Last}
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

// claim asks Redis, and the journal where Redis cannot know. It leaves the
// verdict empty where a wrong record was thrown away, and Redis is to be asked
// again.
func (s *Store) claim(ctx context.Context, c *Claim, redelivered bool) error {
	c.leased(time.Now(), s.cfg.Lease)
	hold, e, err := s.cache.Claim(ctx, c.Order, c.Owner, s.cfg.Lease)
	if err != nil {
		return err
	}
	c.Refusals, c.Waits, c.attempt, c.Last = e.Refusals, e.Waits, e.Attempt, e.Last
	if hold != HoldOther {
		c.first(e.Seq, e.Expires)
	}
	c.Replaced = e.Replaced
	c.rev.Store(e.Rev)
	lost := false
	if hold == HoldNew || hold == HoldParked && e.Phase == PhaseReady && e.Rev == 0 {
		if lost, err = s.recordsLost(ctx, e.Born); err != nil {
			return err
		}
	}
	switch {
	case hold == HoldNew && e.Replaced != "", lost:
		return s.consult(ctx, c, hold, e) // somebody may have worked on it
	case hold == HoldBusy:
		c.Verdict, c.Left = Busy, e.Left
	case hold == HoldEarly:
		c.Verdict, c.Left = Waiting, e.Left
	case hold == HoldFinal:
		c.Verdict, c.Result, c.ResultSeq = Done, e.Result, e.Seq
	case hold == HoldOther:
		return s.dispute(ctx, c, e)
	case hold == HoldForeign:
		return s.foreign(ctx, c, e)
	case hold == HoldNew && !redelivered && !s.outlived(c.Order, time.Now()):
		c.Verdict = Fresh // if that is wrong, Intent finds out
	case hold == HoldParked && e.Phase == PhaseReady:
		c.Verdict = Ready // the same
	case hold == HoldNew, hold == HoldParked, hold == HoldLapsed, hold == HoldAgain:
		return s.consult(ctx, c, hold, e)
	default:
		return fmt.Errorf("redis found %q", hold)
	}
	return nil
}

// dispute decides whether the number belongs to c's request or to the other one,
// whose fingerprint Redis has. The journal decides. Where it has no record, the
// number is the other's, unless Redis has no more of that than a claim: the other
// may be a request that was rejected, and claimed again after Redis had lost the
// record of ours. So the request that was stored earlier gets the number once the
// lease of such a claim is over; else both could be rejected. While that lease
// runs, c is Busy: a journal without a record may be the answer of a leader that
// was voted out a moment ago, and the other's intent, a compare-and-set, will show
// whose number it is.
func (s *Store) dispute(ctx context.Context, c *Claim, e Entry) error {
	r, _, err := s.journal.Read(ctx, c.OutTradeNo)
	if err == nil && r.State == "" {
		if found, err := s.published(ctx, c); found || err != nil {
			return err
		}
	}
	mere := (e.Phase == PhaseClaimed || e.Phase == PhaseReady) && e.Rev == 0 && e.Attempt == 0
	switch {
	case err != nil:
		return err
	case r.State == "" && mere && e.Owner != "" && e.Left > 0:
		c.Verdict, c.Left = Busy, min(e.Left, claimPause)
		return nil
	case r.State == "" && (c.Seq >= e.Seq || !mere):
		c.Verdict, c.UsedWith = Conflict, e.Fingerprint
		return nil
	case r.State != "" && r.Fingerprint != c.Fingerprint:
		c.Verdict, c.UsedWith = Conflict, r.Fingerprint
		return nil
	}
	left, err := s.cache.Forget(ctx, c.Order, c.Owner)
	if left > 0 { // the other will meet the journal soon
		c.Verdict, c.Left = Busy, min(left, claimPause)
	}
	return err
}

// consult gives the verdict by the journal, and by Redis's e where that knows
// more. Redis has the order down as ours already.
func (s *Store) consult(ctx context.Context, c *Claim, hold Hold, e Entry) error {
	r, rev, err := s.journal.Read(ctx, c.OutTradeNo)
	if err != nil {
		return err
	}
	c.rev.Store(rev)
	if r.State == "" {
		return s.unjournalled(ctx, c, hold, e)
	}
	if r.Fingerprint != c.Fingerprint {
		c.Verdict, c.UsedWith = Conflict, r.Fingerprint
		_, err := s.cache.Forget(ctx, c.Order, c.Owner) // or the true order would meet our fingerprint
		return err
	}
	c.first(r.Seq, r.Expires)
	c.attempt, c.Refusals, c.Waits = r.Attempt, max(r.Refusals, e.Refusals), max(r.Waits, e.Waits)
	if e.Refusals <= r.Refusals {
		c.Last = r.Last
	}
	switch r.State {
	case StateFinal:
		c.finish(r, rev)
	case StateIntent:
		if c.isForeign(r.Account) {
			return s.giveBackForeign(ctx, c, e, r)
		}
		c.Verdict, c.Doubt = InDoubt, doubtOf(r, e.Doubt)
		c.bought, c.exists = r.Bought, r.Exists
	case StateReady:
		c.Verdict = Ready
		if left := time.Until(r.Due); left > 0 {
			c.Verdict, c.Left = Waiting, left
			return s.cache.Park(ctx, c.owned(), c.Owner, c.entry(PhaseReady), left)
		}
	}
	return nil
}

// doubtOf is the doubt about intent r, with what Redis has noted. Notes on an
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
