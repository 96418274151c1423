package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

func TestWaitFor(t *testing.T) {
	down, stopped := errors.New("down"), errors.New("stopped")
	for name, c := range map[string]struct {
		answers []error // of one try after the other; then down for ever
		stop    time.Duration
		want    error
		after   time.Duration
		told    int
	}{
		"there":      {[]error{nil}, time.Hour, nil, 0, 0},
		"comes up":   {[]error{down, down, nil}, time.Hour, nil, 750 * time.Millisecond, 2},
		"refused":    {[]error{down, fmt.Errorf("no: %w", ErrRefused)}, time.Hour, ErrRefused, 250 * time.Millisecond, 1},
		"stopped":    {nil, time.Minute, stopped, time.Minute, 16},
		"never more": {[]error{down, down, down, down, down, down, nil}, time.Hour, nil, (250 + 500 + 1000 + 2000 + 4000 + 5000) * time.Millisecond, 6},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer time.AfterFunc(c.stop, func() { cancel(stopped) }).Stop()
				start, told, tries := time.Now(), 0, 0
				var log bytes.Buffer
				err := WaitFor(ctx, "nats", zerolog.New(&log).Level(zerolog.InfoLevel), func(error) { told++ }, func(context.Context) error {
					tries++
					if tries > len(c.answers) {
						return down
					}
					return c.answers[tries-1]
				})
				if d := time.Since(start); !errors.Is(err, c.want) || d != c.after || told != c.told {
					t.Errorf("got %v after %v, told %d, want %v after %v, told %d", err, d, told, c.want, c.after, c.told)
				}
				if lines := strings.Count(log.String(), "\n"); lines != min(c.told, 1) {
					t.Errorf("%d lines, want one for one reason:\n%s", lines, &log)
				}
			})
		})
	}
}

func TestWaitForEndsWithATry(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := WaitFor(ctx, "redis", zerolog.Nop(), func(error) { t.Error("told") }, func(context.Context) error {
		cancel()
		return errors.New("interrupted")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
