package dedupe

import (
	"cmp"
	"context"
	"time"
)

// clockSkew is how far the clocks of pods and servers may be apart.
//
// Source: DESIGN, "Assumptions", A4.
const clockSkew = 5 * time.Second

// remembers is how long the journal remembers a finished order; 0: for ever.
func (s *Store) remembers() time.Duration {
	return cmp.Or(s.cfg.JournalTTL, s.cfg.FinalTTL)
}

// journalLost says whether the journal is younger than the request: then it says
// nothing about what was sent before. (A stream that was purged looks like one
// whose records have all expired, so a purge is seen only where the cache notes a
// revision.)
func (s *Store) journalLost(ctx context.Context, o Order) (bool, error) {
	created, err := s.journal.Created(ctx)
	return !created.IsZero() && !o.Stored.IsZero() && created.After(o.Stored), err
}

// cacheLost says whether a cache that began at born may have had more to
// remember: then an order that is new to it may be finished, and its record in
// the journal, which the intent would meet, may have expired. What was finished
// longer ago than FinalTTL is forgotten anyway. Where nothing was ever written,
// nothing was lost; that is noted, so that it is asked once in a deployment.
func (s *Store) cacheLost(ctx context.Context, born time.Time) (bool, error) {
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

// neverSent asks, before a Fresh order is parked, what its first claim did not:
// whether anybody has worked on it. Later the journal may have forgotten. False:
// somebody has, or that is not known.
func (s *Store) neverSent(ctx context.Context, c *Claim) (bool, error) {
	switch {
	case c.tried:
		return false, nil
	case c.unsent:
		return true, nil
	case outlived(c.Order, s.remembers(), time.Now()):
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
	return c.Verdict == Fresh && !c.unsent && c.revision() == 0 && outlived(c.Order, s.remembers(), time.Now())
}
