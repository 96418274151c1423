package dedupe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotInDoubt refuses an operator's verdict on an order that is not in doubt.
var ErrNotInDoubt = errors.New("not in doubt")

// Known is what Redis and the journal know of an order; nil: nothing.
type Known struct {
	Redis      *Entry  `json:"redis"`
	Journal    *Record `json:"journal"`
	JournalRev uint64  `json:"journalRev,omitempty"`
}

// Look reads both stores and changes nothing. Where one cannot be read the
// other's half comes with the error.
func (s *Store) Look(ctx context.Context, outTradeNo string) (Known, error) {
	var k Known
	e, ok, redisErr := s.records.Look(ctx, outTradeNo)
	if redisErr == nil && ok {
		k.Redis = &e
	}
	r, rev, journalErr := s.journal.Read(ctx, outTradeNo)
	k.JournalRev = rev
	if journalErr == nil && r.State != "" {
		k.Journal = &r
	}
	if err := errors.Join(redisErr, journalErr); err != nil {
		return k, fmt.Errorf("look at %s: %w", outTradeNo, err)
	}
	return k, nil
}

// Settle writes an operator's verdict on an order in doubt into the journal:
// result (JSON) is its final result, nil says that it was not bought. The next
// claim finds it there. ErrNotInDoubt: there is no open attempt, or it may
// still be under way, or it is known to have bought; ErrLost: somebody wrote
// in between.
func (s *Store) Settle(ctx context.Context, outTradeNo string, result []byte) error {
	k, err := s.Look(ctx, outTradeNo)
	if err != nil {
		return err
	}
	was, why := k.settleable(time.Now(), result != nil)
	if why != "" {
		return fmt.Errorf("settle %s: %w: %s", outTradeNo, ErrNotInDoubt, why)
	}
	r := Record{
		State:       StateReady,
		Fingerprint: was.Fingerprint,
		Owner:       "operator-" + s.NewOwner(),
		Seq:         was.Seq,
		Attempt:     was.Attempt,
		Attempts:    was.Attempts,
		Waits:       was.Waits,
	}
	if result != nil {
		r.State = StateFinal
		if r.Result, err = compact(result); err != nil {
			return fmt.Errorf("settle %s: %w", outTradeNo, err)
		}
	}
	if _, err := s.journal.Write(ctx, outTradeNo, r, k.JournalRev); err != nil {
		return fmt.Errorf("settle %s: %w", outTradeNo, err)
	}
	return nil
}

// settleable returns the open intent that an operator may settle, or why there
// is none.
func (k Known) settleable(now time.Time, bought bool) (Record, string) {
	inRedis := k.Redis != nil && k.Redis.Phase == PhaseDoubt && k.Redis.Doubt != nil
	var r Record
	switch {
	case k.Journal != nil && k.Journal.State == StateIntent:
		r = *k.Journal
	case k.Journal == nil && inRedis: // the journal was lost, the doubt was not
		e := k.Redis
		r = Record{Fingerprint: e.Fingerprint, Seq: e.Seq, Attempt: e.Attempt, Attempts: e.Attempts, Waits: e.Waits, SendBy: e.Doubt.SendBy}
	default:
		return r, "no attempt of it is open"
	}
	switch {
	case now.Before(r.SendBy):
		return r, fmt.Sprintf("its request may leave until %v", r.SendBy)
	case k.Redis != nil && k.Redis.Owner != "" && k.Redis.Left > 0 && !inRedis:
		return r, fmt.Sprintf("a worker has it for %v more", k.Redis.Left)
	case !bought && (r.Bought || inRedis && k.Redis.Doubt.Bought):
		return r, "the vendor has said that it was bought"
	}
	return r, ""
}
