package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"adsync/internal/report"
)

// stopWithin is how long an orderly stop may take. The contract allows 10 seconds.
const stopWithin = 9500 * time.Millisecond

// Signals gives a context that the first SIGINT or SIGTERM ends, with a *report.Stopped as its cause. A second signal, or a stop that takes too
// long, ends the process at once. stop gives the signals back.
//
// SIGPIPE is ignored: a reader of our output that goes away is an error of that write, and no reason to drop a sync.
func Signals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2)
	done := make(chan struct{})
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		var why *report.Stopped
		select {
		case s := <-ch:
			why = stopped(s)
			cancel(why)
		case <-done:
			return
		}
		late := time.NewTimer(stopWithin)
		defer late.Stop()
		select {
		case s := <-ch:
			os.Exit(stopped(s).Code)
		case <-late.C:
			os.Exit(why.Code)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		close(done)
		cancel(nil)
	}
}

func stopped(s os.Signal) *report.Stopped {
	if s == syscall.SIGTERM {
		return &report.Stopped{Signal: "SIGTERM", Code: 143}
	}
	return &report.Stopped{Signal: "SIGINT", Code: 130}
}
