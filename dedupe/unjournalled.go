package dedupe

import (
	"cmp"
	"context"
	"time"
)

// clockSkew is how far the clocks of pods and servers may be apart.
//
// Source: design, section 10, A4.
const clockSkew = 5 * time.Second

// outlived says whether o is so old that it may have had a final whose TTL in
// the journal is over, without Redis ever learning of it.
func (s *Store) outlived(o Order, now time.Time) bool {
	ttl := s.cfg.JournalTTL
	if ttl == 0 {
		ttl = s.cfg.FinalTTL
	}
	return ttl > 0 && !o.Stored.IsZero() && now.Sub(o.Stored) > ttl-min(clockSkew, ttl/10)
}

// unjournalled gives the verdict on an order of which the journal has nothing,
// though somebody may have worked on it.
func (s *Store) unjournalled(ctx context.Context, c *Claim, hold Hold, e Entry) error {
	if found, err := s.published(ctx, c); found || err != nil {
		return err
	}
	now := time.Now()
	v, d := unwritten(hold, e, s.outlived(c.Order, now), now)
	if v != InDoubt && (hold == HoldLapsed || hold == HoldAgain) { // its owner may have been sending
		lost, err := s.journalLost(ctx, c.Order)
		switch {
		case err != nil:
			return err
		case lost:
			v, d = InDoubt, unknownAttempt(e, now)
		}
	}
	c.Verdict, c.Doubt, c.unsent = v, d, v == Fresh
	return nil
}

// journalLost says whether the journal is younger than the request: then it says
// nothing about what was sent before. (A stream that was purged looks like one
// whose records have all expired, so a purge is seen only where Redis notes a
// revision.)
func (s *Store) journalLost(ctx context.Context, o Order) (bool, error) {
	created, err := s.journal.Created(ctx)
	return !created.IsZero() && !o.Stored.IsZero() && created.After(o.Stored), err
}

// recordsLost says whether records that began at born may have had more to
// remember: then an order that is new to them may be finished, and its record in
// the journal, which the intent would meet, may have expired. What was finished
// longer ago than FinalTTL is forgotten anyway. Where nothing was ever written,
// nothing was lost; that is noted, so that it is asked once in a deployment.
func (s *Store) recordsLost(ctx context.Context, born time.Time) (bool, error) {
	ttl := s.cfg.FinalTTL
	switch {
	case born.IsZero(), ttl > 0 && time.Since(born) > ttl+clockSkew:
		return false, nil
	case s.used.Load():
		return true, nil
	}
	used, err := s.journal.Used(ctx)
	if err == nil && !used && s.results != nil {
		used, err = s.results.Used(ctx)
	}
	switch {
	case err != nil:
		return false, err
	case used:
		s.used.Store(true)
		return true, nil
	}
	return false, s.cache.Complete(ctx, born)
}

// published looks for the order's final event, which may be all that is left of
// it: the journal forgets a final after its TTL, and Redis may never have learned
// of it. What is found is remembered, and so Done; of another request with the
// number, it is a Conflict.
func (s *Store) published(ctx context.Context, c *Claim) (bool, error) {
	if s.results == nil {
		return false, nil
	}
	f, ok, err := s.results.Final(ctx, c.OutTradeNo)
	if err != nil || !ok {
		return false, err
	}
	if f.Fingerprint != "" && f.Fingerprint != c.Fingerprint {
		c.Verdict, c.UsedWith = Conflict, f.Fingerprint
		_, err := s.cache.Forget(ctx, c.Order, c.Owner)
		return true, err
	}
	c.first(f.Seq, nil)
	c.Verdict, c.Result, c.ResultSeq = Done, f.Result, cmp.Or(f.Seq, c.First)
	return true, s.Remember(ctx, c, f.Result)
}

// neverSent asks, before a Fresh order is parked, what its first claim did not:
// whether anybody has worked on it. Later the journal may have forgotten. False:
// somebody has, or that is not known.
func (s *Store) neverSent(ctx context.Context, c *Claim) (bool, error) {
	switch {
	case c.tried:
		return false, nil
	case c.unsent:
		return true, nil
	case s.outlived(c.Order, time.Now()):
		return false, nil
	}
	r, _, err := s.journal.Read(ctx, c.OutTradeNo)
	if err != nil || r.State != "" {
		return false, err
	}
	found := false
	if s.results != nil {
		_, found, err = s.results.Final(ctx, c.OutTradeNo)
	}
	return !found, err
}

// forgotten says that c knows of no attempt only because nobody was asked, and
// that by now the journal may have forgotten one: it was first claimed when it
// was young, and has waited since.
func (s *Store) forgotten(c *Claim) bool {
	return c.Verdict == Fresh && !c.unsent && c.revision() == 0 && s.outlived(c.Order, time.Now())
}

// unwritten is the verdict on an order of which the journal has nothing, though
// somebody may have worked on it.
//
// Redis may know better. A revision that is gone from the journal was a final
// that lived out its TTL before it was published, or the journal was lost; and
// a request that is older than that TTL may have had such a final without
// Redis ever learning of it. In all of these the order may have been bought.
// Notes that were parked and not touched since are exact; else there may have
// been a later attempt, of which all we know is that it is not later than now.
func unwritten(hold Hold, e Entry, outlived bool, now time.Time) (Verdict, Doubt) {
	switch {
	case e.Doubt != nil && e.Phase == PhaseDoubt && hold == HoldParked:
		return InDoubt, *e.Doubt
	case e.Doubt != nil || e.Rev != 0 || outlived:
		return InDoubt, unknownAttempt(e, now)
	case e.Refusals > 0 || e.Waits > 0:
		return Ready, Doubt{}
	}
	return Fresh, Doubt{}
}

// unknownAttempt is the doubt about an attempt later than Redis' notes e, of
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
