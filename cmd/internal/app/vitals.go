package app

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"runtime/debug"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/vitals"
	"orderworker/worker"
	"orderworker/worker/halt"
)

const (
	rateSpan    = 30 * time.Second // over which requests are counted for the rate
	startWithin = 10 * time.Second // how long a worker may take to read the operator's word for the first time
)

// PublishVitals tells Redis every few seconds how the worker fares, until ctx ends.
func PublishVitals(ctx context.Context, rdb redis.UniversalClient, deployment string, w *worker.Worker) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	started := time.Now().UTC()
	requests := rate{span: rateSpan}
	vitals.Publish(ctx, rdb, deployment, host+"-"+rand.Text()[:8], func() vitals.Figures {
		now, v := time.Now(), w.Vitals()
		f := vitals.Figures{Host: host, Version: version, Started: started, InProgress: v.InProgress}
		f.Rate = requests.add(now, v.Requests)
		if v.Spacing > 0 {
			f.Limit = 1 / v.Spacing.Seconds()
		}
		if p := v.Pause; p.Paused {
			f.Pause = &vitals.Pause{Since: p.Since.UTC(), Cause: p.Cause, Why: p.Why, Code: p.Code, Message: p.Message, NextProbe: p.NextProbe.UTC()}
		}
		f.Orders, f.Lookups = &v.Pause.Answers, &v.Proofs
		switch err := w.HaltUnread(ctx); {
		case errors.Is(err, halt.ErrUnasked) && now.Sub(started) < startWithin:
			f.Starting = true
		case err != nil:
			f.Unread = err.Error()
		}
		return f
	})
}
