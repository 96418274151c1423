package dedupe

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// Config has the durations of a Store.
type Config struct {
	Lease      time.Duration // how long a claim lasts unless it is renewed; if it is too short, a slow order becomes in doubt
	FinalTTL   time.Duration // DEDUPE_TTL: how long the cache keeps a final; 0: for ever
	JournalTTL time.Duration // JOURNAL_TTL, see Record.Lifetime; 0: FinalTTL
}

// Store reads and writes what is known of orders. It is safe for concurrent use; a
// Claim is not.
type Store struct {
	cache   Cache
	journal Journal
	results Results // nil: events are not read, so every success is journalled
	cfg     Config
	process string // random part of every owner of this process
	claims  atomic.Uint64
	used    atomic.Bool // the journal or the results have been written to; once true, it stays true
}

// New returns a Store over the three sources; results may be nil.
func New(cache Cache, journal Journal, results Results, cfg Config) *Store {
	var id [8]byte
	rand.Read(id[:]) // crypto/rand.Read never fails
	return &Store{cache: cache, journal: journal, results: results, cfg: cfg, process: hex.EncodeToString(id[:])}
}

// NewOwner returns an owner for one claim of one delivery. It must not be used for
// another claim: a journal record of the same owner counts as this claim's own write
// whose reply was lost, so an intent that was sent would be sent again.
func (s *Store) NewOwner() string {
	return s.process + "-" + strconv.FormatUint(s.claims.Add(1), 10)
}

// Renew extends the lease of c to a full lease from now. It may run beside another
// method with the same claim, and should be called at least every third of the lease.
// It recreates a missing cache entry. ErrLost means that another owner has the order,
// or that it was parked or finished.
func (s *Store) Renew(ctx context.Context, c *Claim) error {
	if !c.ownedAtClaim { // not c.Verdict, which the other method may be writing
		return misuse("renew", c, "never owned the order")
	}
	asked := time.Now()
	err := s.cache.Renew(ctx, c.storedOrder(), c.Owner, c.revision(), s.cfg.Lease)
	if err == nil {
		c.setLease(asked, s.cfg.Lease)
	}
	return wrap("renew", c, err)
}

// Wait parks the order for delay. It follows an attempt that is known not to have
// bought (refused, throttled, not sent), or none. refusals is the new number of
// refusals. An order in doubt cannot Wait, since a refusal says nothing about the
// earlier attempt: use Doubt.
func (s *Store) Wait(ctx context.Context, c *Claim, refusals int, delay time.Duration) error {
	if c.Verdict != Fresh && c.Verdict != Ready {
		return misuse("wait", c, "may have been bought")
	}
	r := c.record(StateReady)
	r.Refusals, r.Waits = refusals, c.Waits+1
	r.Due = floorMillis(time.Now().Add(delay))
	if err := s.writeOwned(ctx, c, r); err != nil {
		return wrap("wait", c, err)
	}
	e := c.entry(StateReady)
	e.Refusals, e.Waits = r.Refusals, r.Waits
	return wrap("wait", c, s.cache.Park(ctx, c.storedOrder(), c.Owner, e, delay))
}

// Disprove turns InDoubt into Ready, after lookups have proved that no attempt
// bought. The claim goes on owning the order.
func (s *Store) Disprove(ctx context.Context, c *Claim) error {
	switch {
	case c.Verdict != InDoubt:
		return misuse("disprove", c, "is not in doubt")
	case c.Doubt.Sold():
		return misuse("disprove", c, "was bought, or exists at the vendor")
	case c.hasIntent():
		return misuse("disprove", c, "has sent since")
	}
	if err := s.writeOwned(ctx, c, c.record(StateReady)); err != nil {
		return wrap("disprove", c, err)
	}
	c.Verdict, c.Doubt = Ready, Doubt{}
	return nil
}

// Doubt parks the order in doubt for delay. d is Sent.Doubt after a request, otherwise
// c.Doubt, with what was learned; the cache keeps it with c.Progress. Doubt writes the journal if d.Bought or d.Exists is new, if the
// journal's record of the attempt would expire, and if there is no record, since what only
// the cache knows can be lost. Bought and Exists are facts: they are written even if another
// owner has the order, and Doubt then returns ErrLost.
func (s *Store) Doubt(ctx context.Context, c *Claim, d Doubt, delay time.Duration) error {
	switch {
	case !c.Verdict.unfinished():
		return misuse("doubt", c, "does not own an unfinished order")
	case d.SendBy.IsZero():
		return misuse("doubt", c, "names no attempt")
	}
	if c.parkedAt.IsZero() { // a repeated write is the same record
		c.parkedAt = floorMillis(time.Now())
	}
	var err error
	switch {
	case d.Bought && !c.known.Bought, d.Exists && !c.known.Exists:
		err = s.writeSold(ctx, c, d)
	case s.expires(c.known):
		err = s.parkIntent(ctx, c, d)
	}
	if err != nil {
		return wrap("doubt", c, err)
	}
	c.Verdict, c.Doubt = InDoubt, d
	return wrap("doubt", c, s.cache.Park(ctx, c.storedOrder(), c.Owner, c.entry(StateInDoubt), delay))
}

// Finish journals result, which is JSON, and returns what the caller has to publish: result
// in compact form, or the result that the journal already has. A success for
// which Sent.EventSuffices reports true is journalled only if its event is refused.
//
// A success is a fact: it is written even if another owner has the order, unless the journal
// has a final. A failure is a conclusion from what the owner knows: only the compare-and-set
// over that proves that nobody has sent since, so Finish returns ErrLost if another owner has
// written, or the lease is over. A final never changes: if there is one, Finish returns its
// result, and sets c.ResultSeq to its order request.
func (s *Store) Finish(ctx context.Context, c *Claim, result []byte, succeeded bool) ([]byte, error) {
	switch {
	case c.Verdict == Final:
		return c.Result, nil
	case !c.Verdict.unfinished():
		return nil, misuse("finish", c, "does not own the order")
	case !succeeded && c.Verdict == InDoubt:
		return nil, misuse("finish", c, "may have been bought")
	case !succeeded && c.leaseExpired():
		return nil, wrap("finish", c, errLeaseExpired)
	}
	result, err := compact(result)
	if err != nil {
		return nil, wrap("finish", c, err)
	}
	r := c.record(StateFinal)
	r.Result = result
	write := s.writeOwned
	if succeeded {
		write = s.writeSuccess
	}
	err = write(ctx, c, r)
	if err == nil {
		c.setFinal(r, c.revision())
		return c.Result, nil
	}
	if existing, ok := errors.AsType[*finalError](err); ok && (succeeded || existing.record.Owner == c.Owner) {
		c.setFinal(existing.record, existing.rev)
		return c.Result, nil
	}
	return nil, wrap("finish", c, err)
}

// Remember writes the final result to the cache, for Config.FinalTTL, even if another owner
// has the order, once its event is stored. A final in the cache never changes.
func (s *Store) Remember(ctx context.Context, c *Claim, result []byte) error {
	o := c.storedOrder()
	o.Account = cmp.Or(c.ResultBy, c.Account)
	if c.ResultSeq != 0 {
		o.Seq = c.ResultSeq
	}
	return wrap("remember", c, s.cache.Remember(ctx, o, result, s.cfg.FinalTTL))
}

// Release gives the order back at once. Nothing may have been sent under this claim;
// an intent that was journalled is revoked. Release does nothing if the claim does not
// own the order.
func (s *Store) Release(ctx context.Context, c *Claim) error {
	if !c.Verdict.Owned() {
		return nil
	}
	state := StateClaimed // the next claim reads the journal
	switch c.Verdict {
	case InDoubt:
		state = StateInDoubt
	case Ready:
		state = StateReady
	case Fresh:
		never, err := s.neverSent(ctx, c)
		if err != nil {
			return wrap("release", c, err)
		}
		if never {
			state = StateReady // the cache keeps that, even when the order request is older than the journal's TTL
		}
	}
	if c.mayHaveIntent() && (c.Verdict == Fresh || c.Verdict == Ready) {
		if err := s.writeOwned(ctx, c, c.record(StateReady)); err != nil {
			return wrap("release", c, err)
		}
		state = StateReady
	}
	return wrap("release", c, s.cache.Park(ctx, c.storedOrder(), c.Owner, c.entry(state), 0))
}

// wrap adds the operation and the order to err; nil stays nil.
func wrap(op string, c *Claim, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, c.OutTradeNo, err)
}

// misuse returns the error of a call that a correct caller does not make: going on
// could buy twice.
func misuse(op string, c *Claim, why string) error {
	return fmt.Errorf("%s %s: %w: the claim (%s) %s", op, c.OutTradeNo, ErrBroken, c.Verdict, why)
}
