//go:build !unix

package cli

import "context"

// hangups never gives a value: this system has no SIGHUP.
func hangups(ctx context.Context) <-chan struct{} {
	out := make(chan struct{})
	context.AfterFunc(ctx, func() { close(out) })
	return out
}
