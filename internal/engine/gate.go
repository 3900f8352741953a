package engine

import (
	"context"
	"time"
)

// gate bounds the follow-up calls that are out. It begins narrow and widens, up to its most, while all calls are out and none of them waits for a
// quota: where a quota is what holds things up, more calls would only wait beside the others, and each costs memory.
type gate struct {
	places chan struct{}
	spare  int // places kept closed so far
}

// widenAfter is how long all calls must have been out for one more to be let in.
const widenAfter = 20 * time.Millisecond

// newGate lets first calls in to begin with; 0 or too many: most.
func newGate(first, most int) *gate {
	g := &gate{places: make(chan struct{}, most)}
	if first > 0 && first < most {
		g.spare = most - first
	}
	for range g.spare {
		g.places <- struct{}{}
	}
	return g
}

// enter waits for a place. It reports false when ctx has ended. One goroutine at a time may enter.
func (g *gate) enter(ctx context.Context, waiting func() bool) bool {
	if g.spare == 0 {
		select {
		case g.places <- struct{}{}:
			return true
		case <-ctx.Done():
			return false
		}
	}
	t := time.NewTimer(widenAfter)
	defer t.Stop()
	for {
		select {
		case g.places <- struct{}{}:
			return true
		case <-ctx.Done():
			return false
		case <-t.C:
		}
		if g.spare > 0 && !waiting() {
			g.spare--
			return true // in one of the spare places
		}
		t.Reset(widenAfter)
	}
}

func (g *gate) leave() { <-g.places }
