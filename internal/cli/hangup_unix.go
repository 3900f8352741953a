//go:build unix

package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// hangups gives a value for each SIGHUP, until ctx ends. Several at once count as one.
func hangups(ctx context.Context) <-chan struct{} {
	in, out := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(in, syscall.SIGHUP)
	go func() {
		defer close(out)
		defer signal.Stop(in)
		for {
			select {
			case <-in:
			case <-ctx.Done():
				return
			}
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
