package dedupe

import (
	"cmp"
	"context"
	"time"
)

// clockSkew is how far apart the clocks of workers, Redis and NATS may be.
//
// Source: DESIGN, "Assumptions", A4.
const clockSkew = 5 * time.Second

// journalTTL returns how long the journal keeps a final; 0: for ever.
func (s *Store) journalTTL() time.Duration {
	return cmp.Or(s.cfg.JournalTTL, s.cfg.FinalTTL)
}

// journalLost reports whether the journal is younger than the order request, so that
// it cannot say what was sent before. A purged stream looks like one whose records
// have expired: a purge is noticed only if the cache has a revision.
func (s *Store) journalLost(ctx context.Context, o Order) (bool, error) {
	created, err := s.journal.Created(ctx)
	return younger(created, o.Stored), err
}

// younger reports whether a journal was created after a request was stored, so that it may
// not know what was sent. A zero time is not known.
func younger(created, stored time.Time) bool {
	return !created.IsZero() && !stored.IsZero() && created.After(stored)
}

// cacheLost reports whether a cache that began at born may have lost something that
// it would still have to remember. Then an order that is new to the cache may be
// finished, and its journal record may have expired. Where the journal and the results
// were never written to, nothing was lost; the cache notes that, so that a deployment
// finds out once.
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

// neverSent reports whether it is certain that no worker has sent a Fresh order. Its
// claim may not have read the journal and the results; before the order is parked they
// are read, since the journal may have dropped a final later.
func (s *Store) neverSent(ctx context.Context, c *Claim) (bool, error) {
	switch {
	case c.mayHaveIntent():
		return false, nil
	case c.confirmedFresh:
		return true, nil
	case olderThanJournal(c.Order, s.journalTTL(), time.Now()):
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

// tooOld reports whether a Fresh claim has become unreliable: the journal was not read
// when the order request was young, and by now it may have dropped a final.
func (s *Store) tooOld(c *Claim) bool {
	return c.Verdict == Fresh && !c.confirmedFresh && c.revision() == 0 && olderThanJournal(c.Order, s.journalTTL(), time.Now())
}
