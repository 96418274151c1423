package halt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readEvery is the time between two reads of the bucket while orders are in flight.
	readEvery = 200 * time.Millisecond

	// readIdle is the same while there are none: then the word is only shown.
	readIdle = time.Second

	// keptWithin is how soon after a pause was stored no request leaves any more.
	keptWithin = time.Second

	// validFor is for how long after its question an answer allows sending. What is left
	// is for the intent and the request that follow the look at the answer.
	validFor = 800 * time.Millisecond

	// readTimeout bounds one read of the bucket: an answer that comes later is too old to
	// allow anything.
	readTimeout = validFor

	// patience is how long Enter waits for an answer before the order is handed back.
	patience = 2 * time.Second

	// MaxReturn is the longest time for which an order is handed back.
	MaxReturn = 5 * time.Second

	// retryUnread is the time for which an order is handed back while the bucket cannot
	// be read.
	retryUnread = time.Second
)

// Error says that no order is sent, and why.
type Error struct {
	For time.Duration // how long to hand the order back for
	Why string
}

func (e *Error) Error() string { return "no order is sent: " + e.Why }

// ErrUnasked says that the operator's word was not read since the start: the first answer
// has not come yet.
var ErrUnasked = errors.New("it has not answered yet")

// Status is what a worker knows of the operator's word.
type Status struct {
	State
	Lasts bool  // a pause lasts
	Err   error // why the bucket could not be read; nil: the last read succeeded
}

// Stops reports whether orders are handed back, judged by the last read, however old.
func (s Status) Stops() bool { return s.Lasts || s.Err != nil }

// reading is an answer of the bucket.
type reading struct {
	State
	asked time.Time // before the question was sent: the answer is at least as new
}

// fresh reports whether the answer is new enough to send by. The monotonic clock may
// stand still while a machine is suspended, so the wall clock counts too.
func (r *reading) fresh(now time.Time) bool {
	return fresh(now.Sub(r.asked), now.Round(0).Sub(r.asked.Round(0)))
}

// fresh is the same for the time that has passed by the two clocks.
func fresh(monotonic, wall time.Duration) bool {
	return monotonic < validFor && wall < validFor
}

// Watch keeps a worker to the operator's word. Run must run, or nothing is ever sent.
// It is safe for concurrent use.
type Watch struct {
	read   func(context.Context) (State, error)
	busy   func() bool
	notify func(Status)

	latest atomic.Pointer[reading] // nil: there was no answer yet
	wanted chan struct{}           // has an element after an order has asked

	mu      sync.Mutex
	err     error         // of the last read
	changed chan struct{} // closed when there is another answer
	told    told
}

// told is what notify was called with last.
type told struct {
	lasts bool
	state State
	err   bool
	at    time.Time
}

// NewWatch returns a Watch of the bucket that read reads, more often while busy reports
// that orders are in flight. It calls notify when a pause begins, changes, lasts for
// another minute, or ends, and when the bucket cannot be read any more or can be read again.
func NewWatch(read func(context.Context) (State, error), busy func() bool, notify func(Status)) *Watch {
	return &Watch{read: read, busy: busy, notify: notify, wanted: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Run reads the bucket until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	for {
		asked := time.Now()
		w.readOnce(ctx)
		wait := readIdle
		if w.busy() {
			wait = readEvery - time.Since(asked)
		}
		select {
		case <-time.After(wait):
		case <-w.wanted:
			sleep(ctx, readEvery-time.Since(asked))
		case <-ctx.Done():
			return
		}
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// readOnce reads the bucket once. After a read that failed the last answer still counts
// until it is too old.
func (w *Watch) readOnce(ctx context.Context) {
	asked := time.Now()
	reading := &reading{asked: asked}
	timed, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var err error
	reading.State, err = w.read(timed)
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	if err == nil {
		w.latest.Store(reading)
		close(w.changed)
		w.changed = make(chan struct{})
	}
	w.tell(time.Now())
}

// tell calls notify if there is something new to tell.
func (w *Watch) tell(now time.Time) {
	s := w.status(now)
	next := told{lasts: s.Lasts, state: s.State, err: s.Err != nil, at: now}
	same := next.lasts == w.told.lasts && next.err == w.told.err && (!next.lasts || next.state == w.told.state)
	if same && !((next.lasts || next.err) && now.Sub(w.told.at) >= time.Minute) {
		return
	}
	w.told = next
	w.notify(s)
}

// Status returns what is known of the operator's word.
func (w *Watch) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status(time.Now())
}

func (w *Watch) status(now time.Time) Status {
	r := w.latest.Load()
	var s Status
	if r != nil {
		s.State, s.Lasts = r.State, r.Lasts(now)
	}
	switch {
	case r == nil && w.err == nil:
		s.Err = ErrUnasked
	case r == nil || !r.fresh(now):
		s.Err = w.err // nil: the answer is old only because nothing is in flight
	}
	return s
}

// Allows returns nil if an order may be sent now, and otherwise an *Error. It costs no
// lock, so that it can be asked right before a request is written.
func (w *Watch) Allows() error {
	_, err := w.Until()
	return err
}

// Until is Allows, and returns until when the request may be written: a second after the
// question whose answer allows it. A process may be frozen after it has looked.
func (w *Watch) Until() (time.Time, error) {
	now := time.Now()
	r := w.latest.Load()
	switch {
	case r != nil && r.Lasts(now): // an answer that is too old still says that much
		return time.Time{}, &Error{For: r.handBack(now), Why: r.why()}
	case r == nil || !r.fresh(now):
		return time.Time{}, &Error{For: retryUnread, Why: w.unread()}
	}
	return r.asked.Add(keptWithin), nil
}

// Enter is Allows for an order that can wait: while the bucket has not answered lately,
// it waits for an answer for up to two seconds.
func (w *Watch) Enter(ctx context.Context) error {
	select {
	case w.wanted <- struct{}{}: // the next answer comes soon
	default:
	}
	err := w.Allows()
	if err == nil {
		return nil
	}
	give := time.NewTimer(patience)
	defer give.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if err = w.Allows(); err == nil || w.latest.Load() != nil && w.latest.Load().Lasts(time.Now()) {
			return err
		}
		select {
		case <-changed:
		case <-give.C:
			return err
		case <-ctx.Done():
			return fmt.Errorf("wait for the operator's word: %w", context.Cause(ctx))
		}
	}
}

// handBack returns how long an order is handed back for while the pause lasts.
func (s State) handBack(now time.Time) time.Duration {
	if s.Until.IsZero() {
		return MaxReturn
	}
	return min(max(s.Until.Sub(now), 100*time.Millisecond), MaxReturn)
}

func (s State) why() string {
	return fmt.Sprintf("paused by the operator %s: %s", s.By, s.Reason)
}

// unread says why the bucket was not read lately.
func (w *Watch) unread() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		return "the operator's word was not read yet"
	}
	return fmt.Sprintf("the operator's word cannot be read: %v", w.err)
}
