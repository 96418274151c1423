package app

import (
	"context"
	"crypto/rand"
	"os"
	"runtime/debug"
	"time"

	"github.com/redis/go-redis/v9"

	"orderworker/cmd/internal/vitals"
	"orderworker/upstream/pause"
	"orderworker/worker"
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
	before, at := w.Vitals(), started
	vitals.Publish(ctx, rdb, deployment, host+"-"+rand.Text()[:8], func() vitals.Figures {
		now, v := time.Now(), w.Vitals()
		f := vitals.Figures{Host: host, Version: version, Started: started, InProgress: v.InProgress}
		if since := now.Sub(at).Seconds(); since > 0.1 {
			f.Rate = float64(v.Requests-before.Requests) / since
		}
		if v.Spacing > 0 {
			f.Limit = 1 / v.Spacing.Seconds()
		}
		if p := v.Pause; p.Paused {
			f.Pause = &vitals.Pause{Since: p.Since.UTC(), Cause: p.Cause, Why: p.Why, Code: p.Code, Message: p.Message, NextProbe: p.NextProbe.UTC()}
		}
		f.Unclear, f.Unproven = faultOf(v.Pause.Unclear), faultOf(v.Unproven)
		if err := w.HaltUnread(ctx); err != nil {
			f.Unread = err.Error()
		}
		before, at = v, now
		return f
	})
}

// faultOf returns f as other programs read it; nil: nothing is wrong.
func faultOf(f pause.Fault) *vitals.Fault {
	if f == (pause.Fault{}) {
		return nil
	}
	return &vitals.Fault{Since: f.Since.UTC(), Last: f.Last.UTC(), What: f.What}
}
