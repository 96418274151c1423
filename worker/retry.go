package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"orderworker/dedupe"
)

// storeBackoff returns the waits between two tries of a store operation: 50 ms growing
// to 2 s, without an end.
func storeBackoff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second),
		backoff.WithMaxElapsedTime(0))
}

// retry calls do, the operation named op, until it succeeds, fails with an error that
// trying again does not help, or ctx ends. So while a store is unavailable, an order in flight
// waits in place: nothing is pulled instead of it, nothing is sent, and no order fails.
func (u *unavailable) retry(ctx context.Context, op string, do func() error) error {
	var pace *backoff.ExponentialBackOff // nil until the first try has failed
	for {
		err := do()
		answered := err == nil || errors.Is(err, dedupe.ErrLost) || unrecoverable(err) || haltError(err) != nil
		if pace != nil && (answered || ctx.Err() != nil) {
			u.leave(op, answered)
		}
		switch {
		case answered:
			return err
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), err)
		case pace == nil:
			pace = storeBackoff()
			u.enter(op, err)
		}
		u.logger.Debug().Err(err).Str("op", op).Msg("retrying")
		select {
		case <-time.After(pace.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

// retryClaims retries each call of claims until its context ends, except Renew, which
// the next heartbeat repeats anyway.
type retryClaims struct {
	claims
	*unavailable
	halts halts
}

func (r retryClaims) Claim(ctx context.Context, o dedupe.Order, owner string, redelivered bool) (c *dedupe.Claim, err error) {
	err = r.retry(ctx, "claim", func() error {
		c, err = r.claims.Claim(ctx, o, owner, redelivered)
		return err
	})
	return c, err
}

// Intent asks the operator's word before each try: a pause may have begun while the
// journal was unavailable.
func (r retryClaims) Intent(ctx context.Context, c *dedupe.Claim, sendBy, over time.Time) (sent *dedupe.Sent, err error) {
	err = r.retry(ctx, "intent", func() error {
		if err := r.halts.Allows(); err != nil {
			return err
		}
		sent, err = r.claims.Intent(ctx, c, sendBy, over)
		return err
	})
	return sent, err
}

func (r retryClaims) Wait(ctx context.Context, c *dedupe.Claim, refusals int, delay time.Duration) error {
	return r.retry(ctx, "wait", func() error { return r.claims.Wait(ctx, c, refusals, delay) })
}

func (r retryClaims) Doubt(ctx context.Context, c *dedupe.Claim, d dedupe.Doubt, next time.Duration) error {
	return r.retry(ctx, "doubt", func() error { return r.claims.Doubt(ctx, c, d, next) })
}

func (r retryClaims) Disprove(ctx context.Context, c *dedupe.Claim) error {
	return r.retry(ctx, "disprove", func() error { return r.claims.Disprove(ctx, c) })
}

func (r retryClaims) Finish(ctx context.Context, c *dedupe.Claim, result []byte, succeeded bool) (written []byte, err error) {
	err = r.retry(ctx, "finish", func() error {
		written, err = r.claims.Finish(ctx, c, result, succeeded)
		return err
	})
	return written, err
}

func (r retryClaims) Remember(ctx context.Context, c *dedupe.Claim, result []byte) error {
	return r.retry(ctx, "remember", func() error { return r.claims.Remember(ctx, c, result) })
}

func (r retryClaims) Release(ctx context.Context, c *dedupe.Claim) error {
	return r.retry(ctx, "release", func() error { return r.claims.Release(ctx, c) })
}

// retryPublisher retries each call of publisher until its context ends.
type retryPublisher struct {
	publisher
	*unavailable
}

func (r retryPublisher) Publish(ctx context.Context, e Event) (existing []byte, err error) {
	err = r.retry(ctx, "publish", func() error {
		existing, err = r.publisher.Publish(ctx, e)
		return err
	})
	return existing, err
}

func (r retryPublisher) PublishDead(ctx context.Context, l DeadLetter) error {
	return r.retry(ctx, "dead_letter", func() error { return r.publisher.PublishDead(ctx, l) })
}

// unavailable counts the callers that wait for a store, by operation. However many
// wait, the log has one line when the first begins to wait for an operation, and one
// when none waits for it any more.
type unavailable struct {
	logger zerolog.Logger

	mu    sync.Mutex
	waits map[string]*storeWait
}

// storeWait is the wait of all callers for one operation.
type storeWait struct {
	callers int
	since   time.Time
}

// enter begins the wait of a caller for op, which failed with err.
func (u *unavailable) enter(op string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waits == nil {
		u.waits = make(map[string]*storeWait)
	}
	if u.waits[op] == nil {
		u.waits[op] = &storeWait{since: time.Now()}
		u.logger.Warn().Err(err).Str("op", op).Msg("store unavailable, retrying")
	}
	u.waits[op].callers++
}

// leave ends the wait of a caller. Answered says whether the store has answered.
func (u *unavailable) leave(op string, answered bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.waits[op]
	w.callers--
	if w.callers == 0 && answered {
		u.logger.Info().Str("op", op).Int64("waited_ms", time.Since(w.since).Milliseconds()).Msg("store available again")
		delete(u.waits, op)
	}
}
