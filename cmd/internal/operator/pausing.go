package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orderworker/worker"
	"orderworker/worker/halt"
	"orderworker/worker/natsio"
)

func timeOf(t time.Time) worker.Time { return worker.Time{Time: t} }

// Word returns the operator's word in force and its revision, which Pause and Resume take.
// A zero word means that none is stored: nobody has paused, it was deleted, or the bucket was
// made anew.
func (d *Desk) Word(ctx context.Context) (word halt.State, revision uint64, err error) {
	err = d.about(ctx, natsio.ControlStream, func(ctx context.Context, l *link) (err error) {
		word, revision, err = l.control.Read(ctx)
		return err
	})
	return word, revision, err
}

// Before is what an operator finds who wants to pause or to resume.
type Before struct {
	halt.State        // the word in force
	Seen       uint64 // its revision, which Pause and Resume take
	Unread     error  // why it is not known, although it can be replaced; nil: it is
}

// String says in words what was said before.
func (b *Before) String() string {
	if b.Unread != nil {
		return fmt.Sprintf("what was said before is not known; workers that cannot read it, or have read it before it was lost, send nothing (%v)", b.Unread)
	}
	return Said(b.State)
}

// Before returns what there is before a pause or a resume. The error says why there can
// be none: the deployment does not exist, or, for a pause that is to end by itself, this
// host's clock is not the workers'. A word that cannot be read, or was lost, can be replaced.
func (d *Desk) Before(ctx context.Context, ends bool) (*Before, error) {
	timed, cancel := context.WithTimeout(ctx, 2*time.Second) // a stream without a leader is no reason not to pause
	defer cancel()
	fault, err := d.clockFault(timed)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("there is no deployment %s: ORDERS_STREAM must be the workers' own: %w", d.OrdersStream, err)
	case fault != "" && ends:
		return nil, fmt.Errorf("the pause would not end when you say: %s", fault)
	}
	word, seen, err := d.Word(ctx)
	if errors.Is(err, halt.ErrUnreadable) || errors.Is(err, natsio.ErrWordLost) {
		return &Before{Seen: seen, Unread: err}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was said before: %w", err)
	}
	return &Before{State: word, Seen: seen}, nil
}

// Replaced says what a pause replaces that lasts for d (0: until somebody resumes);
// "": nothing.
func (b *Before) Replaced(d time.Duration, now time.Time) string {
	switch {
	case b.Unread != nil:
		return "Yours replaces what there is: " + b.String() + "."
	case !b.Lasts(now):
		return ""
	}
	return strings.TrimSpace("It is paused already: " + b.String() + ". Yours replaces that. " + b.Shortened(d, now))
}

// Shortened says that a pause which lasts for d ends sooner than the one before; "": it
// does not.
func (b *Before) Shortened(d time.Duration, now time.Time) string {
	end := now.Add(d)
	if d == 0 || b.Unread != nil || !b.Lasts(now) || !b.Until.IsZero() && !end.Before(b.Until) {
		return ""
	}
	return "It ends sooner than the pause before: orders are bought again at " + clock(end, now) + "."
}

// clockFault returns what is wrong between this host's clock and that of NATS, which is
// the workers'; "": nothing.
func (d *Desk) clockFault(ctx context.Context) (string, error) {
	before := time.Now()
	info, err := d.info(ctx, d.OrdersStream)
	if err != nil {
		return "", err
	}
	return clockApart(before, info), nil
}

// clockApart is clockFault for an answer about a stream that was asked for at before.
func clockApart(before time.Time, info *jetstream.StreamInfo) string {
	clock := worker.Clock{Server: "NATS"}
	return clock.Compare(before, info.TimeStamp, time.Now())
}

// Words returns all words that the bucket has kept, newest last.
func (d *Desk) Words(ctx context.Context) (words []natsio.Word, err error) {
	err = d.about(ctx, natsio.ControlStream, func(ctx context.Context, l *link) (err error) {
		words, err = l.control.History(ctx)
		return err
	})
	return words, err
}

// PauseRequest is what an operator says to stop the buying.
type PauseRequest struct {
	Reason string
	By     string
	For    time.Duration // 0: until somebody resumes
	Seen   uint64        // the revision that the operator has seen
}

// Pause stops the sending of orders in the whole fleet within a second. The error says
// who was faster, if another operator has spoken since the revision that was seen.
func (d *Desk) Pause(ctx context.Context, p PauseRequest) (halt.State, error) {
	now := time.Now().UTC()
	word := halt.State{Paused: true, Reason: p.Reason, By: p.By, At: now}
	if p.For > 0 {
		word.Until = now.Add(p.For)
	}
	return word, d.say(ctx, "pause", word, p.Seen)
}

// Resume ends a pause. seen is the revision that the operator has seen; its errors are
// those of Pause.
func (d *Desk) Resume(ctx context.Context, by string, seen uint64) (halt.State, error) {
	word := halt.State{By: by, At: time.Now().UTC()}
	return word, d.say(ctx, "resume", word, seen)
}

// say writes a word in place of the one that was seen.
func (d *Desk) say(ctx context.Context, what string, word halt.State, seen uint64) error {
	err := d.about(ctx, natsio.ControlSubject(d.OrdersStream), func(ctx context.Context, l *link) error {
		return l.control.Write(ctx, word, seen)
	})
	switch {
	case err == nil:
		return nil
	case notWritten(err) && !errors.Is(err, natsio.ErrChanged):
		return fmt.Errorf("%s: %w: nothing was changed", what, err)
	case !errors.Is(err, natsio.ErrChanged):
		return fmt.Errorf("%s: %w: it may have been stored, look with orderworker list", what, err)
	}
	now, _, readErr := d.Word(ctx)
	if readErr != nil {
		return fmt.Errorf("%s: %w, nothing was changed; what was said cannot be read: %w", what, err, readErr)
	}
	return fmt.Errorf("%s: %w, nothing was changed: %s", what, err, Said(now))
}

// Said says in words what an operator has said.
func Said(s halt.State) string {
	by := Shown(s.By, 100)
	if by == "" {
		by = "somebody"
	}
	switch {
	case s == halt.State{}:
		return "nobody has ever paused, or what was said was deleted or lost"
	case !s.Paused:
		return fmt.Sprintf("%s resumed at %s", by, timeOf(s.At))
	case s.Until.IsZero():
		return fmt.Sprintf("%s paused at %s, until somebody resumes: %s", by, timeOf(s.At), Shown(s.Reason, 300))
	}
	return fmt.Sprintf("%s paused at %s, until %s: %s", by, timeOf(s.At), timeOf(s.Until), Shown(s.Reason, 300))
}

// Examine looks at an order in doubt that an operator wants to settle: see Case.
func (d *Desk) Examine(ctx context.Context, outTradeNo string, timeout time.Duration, verdict Verdict) (*Case, error) {
	return Examine(ctx, d.order(outTradeNo, timeout), verdict)
}
