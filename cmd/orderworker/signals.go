package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// softContext returns a context that the first SIGTERM or SIGINT cancels, with the
// signal as its cause: stop taking orders. The second signal calls exit with status 1,
// because whoever sends it does not want to wait. stop ends both and waits for it.
func softContext(exit func(status int)) (soft context.Context, stop func()) {
	soft, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if first, ok := <-signals; ok {
			cancel(fmt.Errorf("signal: %v", first))
		}
		if _, ok := <-signals; ok {
			exit(statusFailed)
		}
	})
	return soft, func() {
		signal.Stop(signals) // no signal is sent to the channel after this
		close(signals)
		waiting.Wait()
		cancel(nil)
	}
}
