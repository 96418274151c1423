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

// Intent journals that the next attempt may be sent, and describes it in c.Doubt. No
// byte of the request may leave after sendBy. The request has ended by over; the
// journal keeps that time, so that other processes need not know this one's settings.
//
// Bytes may leave only after Intent has returned nil, and a claim gets one intent:
// after the vendor's answer call Wait, Doubt or Finish. ErrLost means that another
// owner has written, or that the lease is over: claim again. The lease is checked
// before and after the write, since a machine may be suspended in between. After any
// other error the intent may have been written: call Intent again, or Release.
//
// Intent leaves c.Verdict as it is: the new attempt says nothing about an earlier one
// that is open.
func (s *Store) Intent(ctx context.Context, c *Claim, sendBy, over time.Time) error {
	switch {
	case !c.Verdict.unfinished():
		return misuse("intent", c, "does not own an unfinished order")
	case c.Doubt.Bought:
		return misuse("intent", c, "was already bought")
	case c.Doubt.Exists:
		return misuse("intent", c, "exists at the vendor")
	case c.intentGranted:
		return misuse("intent", c, "already has an intent")
	case c.leaseExpired():
		return wrap("intent", c, errLeaseExpired)
	}
	if !c.mayHaveIntent { // a repeated intent is the same record, which the journal recognizes
		c.intentAt = floorMillis(time.Now())
	}
	r := c.intent(sendBy, over)
	c.mayHaveIntent = true
	if err := s.writeOwned(ctx, c, r); err != nil {
		return wrap("intent", c, err)
	}
	if c.leaseExpired() { // the intent stays: whoever claims the order next finds it in doubt
		return wrap("intent", c, errLeaseExpired)
	}
	c.intentGranted = true
	c.Attempt = r.Attempt
	c.Doubt = Doubt{Attempt: r.Attempt, SendBy: r.SendBy, Over: r.Over, Since: r.Since, Noticed: c.Doubt.Noticed}
	return nil
}

// intent returns the record of c's next attempt. Where an earlier attempt is open,
// Since is that attempt's, and Over the later of the two.
func (c *Claim) intent(sendBy, over time.Time) Record {
	r := c.record(StateIntent)
	r.Attempt++
	r.SendBy, r.Over, r.Since = ceilMillis(sendBy), ceilMillis(over), c.intentAt
	r.EarlierOpen = c.Verdict == InDoubt
	if r.EarlierOpen && !c.Doubt.Since.IsZero() {
		r.Since = c.Doubt.Since
	}
	if r.EarlierOpen && c.Doubt.Over.After(r.Over) {
		r.Over = c.Doubt.Over
	}
	return r
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
	case c.Doubt.Bought:
		return misuse("disprove", c, "was bought")
	case c.Doubt.Exists:
		return misuse("disprove", c, "exists at the vendor")
	case c.intentGranted:
		return misuse("disprove", c, "has sent since")
	}
	if err := s.writeOwned(ctx, c, c.record(StateReady)); err != nil {
		return wrap("disprove", c, err)
	}
	c.Verdict, c.Doubt = Ready, Doubt{}
	return nil
}

// Doubt parks the order in doubt for delay. d is c.Doubt with what was learned; the cache
// keeps it with c.Progress. Doubt writes the journal if d.Bought or d.Exists is new, if the
// journal's record of the attempt would expire, and if there is no record, since what only
// the cache knows can be lost. Bought and Exists are facts: they are written even if another
// owner has the order, and Doubt then returns ErrLost.
func (s *Store) Doubt(ctx context.Context, c *Claim, d Doubt, delay time.Duration) error {
	if !c.Verdict.unfinished() {
		return misuse("doubt", c, "does not own an unfinished order")
	}
	d.Attempt = cmp.Or(d.Attempt, c.Attempt)
	if d.SendBy.IsZero() {
		d.SendBy, d.Over = c.Doubt.SendBy, c.Doubt.Over
	}
	d.Since = cmp.Or(d.Since, c.Doubt.Since)
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

// Finish returns the result that the caller has to publish: result in compact form, or the
// one that the journal already has. result is JSON.
//
// A success that answers the claim's own request is not journalled: its event is its record,
// and the intent makes whoever claims the order later read the event. Every other result is
// journalled first:
//   - a success that was looked up, because the record of a doubt does not expire by itself,
//   - a success after the end of the lease, because another worker may be about to conclude
//     something else,
//   - a failure, because only the compare-and-set over what the owner knows proves that
//     nobody has sent since.
//
// A success is a fact: it is written even if another owner has the order, unless the journal
// has a final. A failure is a conclusion from what the owner knows: Finish returns ErrLost if
// another owner has written, or the lease is over. A final never changes: if there is one,
// Finish returns its result, and sets c.ResultSeq to its order request.
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
	if succeeded && s.eventSuffices(c) {
		c.setFinal(r, c.revision())
		c.Recorded = false
		return c.Result, nil
	}
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

// Record journals the success of which Finish said that its event would be the record, for
// a caller that cannot store the event. It changes nothing if the journal has a final.
func (s *Store) Record(ctx context.Context, c *Claim) error {
	if c.Verdict != Final {
		return misuse("record", c, "has no result")
	}
	if c.Recorded {
		return nil
	}
	r := c.record(StateFinal)
	r.Result = c.Result
	err := s.writeSuccess(ctx, c, r)
	if _, final := errors.AsType[*finalError](err); err == nil || final {
		c.Recorded = true
		return nil
	}
	return wrap("record", c, err)
}

// eventSuffices reports whether a success of c need not be journalled: the rules are those
// of Finish.
func (s *Store) eventSuffices(c *Claim) bool {
	return s.results != nil && c.intentGranted && c.Verdict != InDoubt && !c.leaseExpired()
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
	if c.mayHaveIntent && (c.Verdict == Fresh || c.Verdict == Ready) {
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
