package dedupe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNotCancellable is returned to an operator who cancels an order that may have been
// bought, or is finished.
var ErrNotCancellable = errors.New("cannot be cancelled")

// Cancellation is an operator's decision to end an order that was not bought.
type Cancellation struct {
	Request Order  // its request in the stream; only Account may be missing
	Seen    uint64 // Known.JournalRev that the operator decided on
	Result  []byte // the failed result, as JSON
}

// Cancel writes the result of a cancelled order into the journal, where the next claim
// finds it, over ready or nothing. It returns ErrNotCancellable as Known.Cancellable does,
// and ErrLost if the journal has changed since the operator looked: a worker that is about
// to send the order, and whose intent comes later, loses its compare-and-set instead.
// After any other error it may have been written.
func (s *Store) Cancel(ctx context.Context, c Cancellation) error {
	number := c.Request.OutTradeNo
	k, err := s.Look(ctx, number)
	if err != nil {
		return err
	}
	if err := k.Cancellable(c.Request, s.journalTTL(), time.Now()); err != nil {
		return fmt.Errorf("cancel %s: %w", number, err)
	}
	if k.JournalRev != c.Seen {
		return fmt.Errorf("cancel %s: %w", number, ErrLost)
	}
	final := Record{
		State:       StateFinal,
		Fingerprint: c.Request.Fingerprint,
		Owner:       operatorPrefix + s.NewOwner(),
		Seq:         c.Request.Seq,
		Expires:     storableTime(c.Request.Expires),
	}
	if j := k.Journal; j != nil {
		final.Account, final.Seq, final.Expires, final.Progress = j.Account, j.Seq, j.Expires, j.Progress
	}
	if final.Result, err = compact(c.Result); err != nil {
		return fmt.Errorf("cancel %s: %w", number, err)
	}
	if _, err := s.journal.Write(ctx, number, final, k.JournalRev); err != nil {
		return fmt.Errorf("cancel %s: %w", number, err)
	}
	return nil
}

// Cancellable returns nil if an operator may cancel the order of request o: it is
// certainly not bought, and nothing is being sent. Otherwise the error wraps
// ErrNotCancellable and says why. journalTTL is how long the journal keeps a final.
func (k Known) Cancellable(o Order, journalTTL time.Duration, now time.Time) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrNotCancellable, fmt.Sprintf(format, args...))
	}
	if err := k.unread(); err != nil { // what cannot be read may say that it was bought
		return refuse("not everything can be read: %v", err)
	}
	switch {
	case k.Journal != nil && k.Journal.Fingerprint != o.Fingerprint, k.Journal == nil && k.Cache != nil && k.Cache.Fingerprint != o.Fingerprint:
		return refuse("the number belongs to a request with other content")
	case k.Journal == nil && olderThanJournal(o, journalTTL, now):
		return refuse("its request is older than the journal remembers, so it may have been bought")
	}
	k.Stored, k.JournalTTL = o.Stored, journalTTL
	switch v := k.Verdict(now); {
	case v == Final, v == Done:
		return refuse("it has its final result")
	case k.Journal == nil && k.journalLost() && !k.doubtInCache(): // it does not know what was sent before, and Redis alone is not believed
		return refuse("its request is older than the journal, which was made anew, so it may have been bought")
	case v == InDoubt, v == Foreign:
		return refuse("a request may be under way or have bought it: only the vendor knows, see orderworker settle")
	case v == Fresh, v == Ready, v == Waiting:
		return nil
	default:
		return refuse("it is %s", v)
	}
}
