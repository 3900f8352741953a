package sqlite

import (
	"context"
	"slices"
	"sync"
	"time"
)

// turns lets one writer of a Store write at a time, in the order in which they came. What is urgent goes first: a lease that is renewed too late,
// because many runs commit, would cost those runs their locks.
type turns struct {
	mu             sync.Mutex
	taken          bool
	urgent, others []chan struct{} // closed when its turn has come
}

// take waits for a turn. It says whether it came before ctx and the limit ended.
func (t *turns) take(ctx context.Context, urgent bool, limit time.Duration) bool {
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return true
	}
	queue := &t.others
	if urgent {
		queue = &t.urgent
	}
	mine := make(chan struct{})
	*queue = append(*queue, mine)
	t.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-mine:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	t.mu.Lock()
	if at := slices.Index(*queue, mine); at >= 0 {
		*queue = slices.Delete(*queue, at, at+1)
		t.mu.Unlock()
		return false
	}
	t.mu.Unlock()
	t.give() // it came in the same moment
	return false
}

// give ends a turn.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, queue := range []*[]chan struct{}{&t.urgent, &t.others} {
		if len(*queue) > 0 {
			close((*queue)[0])
			*queue = slices.Delete(*queue, 0, 1)
			return
		}
	}
	t.taken = false
}
