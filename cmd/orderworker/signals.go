package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// softContext is cancelled by the first SIGTERM or SIGINT, with the signal as
// its cause: stop taking orders. The second calls exit with status 1: whoever
// sends it does not want to wait. stop gives the signals back and frees the
// context.
func softContext(exit func(status int)) (soft context.Context, stop func()) {
	soft, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	stopped, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for first := true; ; first = false {
			select {
			case <-stopped:
				return
			case s := <-signals:
				if !first {
					exit(statusFailed)
					return
				}
				cancel(signalError{s})
			}
		}
	}()
	return soft, func() {
		signal.Stop(signals)
		close(stopped)
		<-gone
		cancel(nil)
	}
}

// signalError is a signal as the cause of a cancelled context.
type signalError struct{ os.Signal }

// Error names the signal.
func (e signalError) Error() string { return "signal: " + e.String() }
