package dedupe

import "context"

// isForeign reports whether account is another one than the claim's. Not known
// on either side, it is the claim's: there was one account before records had it.
func (c *Claim) isForeign(account string) bool {
	return account != "" && c.Account != "" && account != c.Account
}

// foreign decides about an order that Redis has under e's account, which is not
// ours; we do not hold it. While an attempt of that account may have bought,
// nobody else may send or look it up: our account's lookup would not show the
// purchase, and its "not found" would be taken for a proof. Then nothing is
// written at all. Else our account takes the record over, and the verdict stays
// empty: ask Redis again.
func (s *Store) foreign(ctx context.Context, c *Claim, e Entry) error {
	r, _, err := s.journal.Read(ctx, c.OutTradeNo)
	if err != nil {
		return err
	}
	switch {
	case r.State == "":
		hold := HoldParked
		if e.Owner != "" {
			hold = HoldLapsed
		}
		err := s.unjournalled(ctx, c, hold, e)
		switch {
		case err != nil || !c.Verdict.open():
			return err
		case c.Verdict == InDoubt:
			c.Verdict, c.Doubt = Foreign, Doubt{}
			return nil
		}
		c.Verdict, c.unsent = "", false
	case r.Fingerprint != c.Fingerprint:
		c.Verdict, c.UsedWith = Conflict, r.Fingerprint
		return nil
	case r.State == StateIntent && c.isForeign(r.Account):
		c.Verdict = Foreign
		return nil
	}
	return s.cache.Adopt(ctx, c.Order, e.Account)
}

// giveBackForeign gives back what Redis did not know to be r's account's, under
// that account: from then on our own claims do not take it.
func (s *Store) giveBackForeign(ctx context.Context, c *Claim, e Entry, r Record) error {
	c.Verdict = Foreign
	o := c.owned()
	o.Account = r.Account
	e.Phase = PhaseClaimed
	e.Attempt, e.Refusals, e.Waits, e.Rev = r.Attempt, c.Refusals, c.Waits, c.revision()
	return s.cache.Park(ctx, o, c.Owner, e, 0)
}
