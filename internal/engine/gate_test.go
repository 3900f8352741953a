package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A gate lets few in while they wait for a quota, widens while they do not, and never lets in more than its most.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waiting := true
		is := func() bool { return waiting }
		g := newGate(3, 10)
		in := func(d time.Duration) (n int) { // how many get in within d
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			for g.enter(ctx, is) {
				n++
			}
			return n
		}
		if n := in(time.Minute); n != 3 {
			t.Errorf("%d while they wait for a quota", n)
		}
		waiting = false
		if n := in(3*widenAfter + time.Millisecond); n != 3 {
			t.Errorf("%d more in three steps", n)
		}
		if n := in(time.Hour); n != 4 {
			t.Errorf("%d more at the most", n)
		}
		for range 10 {
			g.leave()
		}
		waiting = true
		if n := in(time.Hour); n != 10 { // what was found useful stays
			t.Errorf("%d again", n)
		}
		if g := newGate(64, 10); g.spare != 0 {
			t.Error(g.spare)
		}
	})
}
